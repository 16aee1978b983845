//! Writes TorchScript files.

// Calls script.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::path::Path;

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::ffi::{take_c_string, to_c_string};
use crate::error::{Error, Result};

/// A tensor of a module, with its name.
#[derive(Debug)]
pub struct NamedTensor {
    /// Dotted path through the modules: `layer1.0.conv1.weight`.
    pub name: String,
    pub tensor: Tensor,
    /// True for a buffer, false for a parameter.
    pub is_buffer: bool,
}

/// A [`NamedTensor`] as the C++ side reads it: `maskmaker_tensor_entry`.
#[repr(C)]
struct TensorEntry {
    name: *const c_char,
    tensor: *const C_tensor,
    is_buffer: bool,
}

// ffi.h asserts the same size of `maskmaker_tensor_entry`.
const _: () = assert!(size_of::<TensorEntry>() == 24);

/// Statuses of `maskmaker_write_torchscript`, as `maskmaker_write_status` in ffi.h numbers them.
const WRITTEN: c_int = 0;
/// Status of a file that could not be written: `NOT_WRITABLE` in ffi.h.
const NOT_WRITABLE: c_int = 2;

unsafe extern "C" {
    fn maskmaker_write_torchscript(
        path: *const c_char,
        class_name: *const c_char,
        source: *const c_char,
        entries: *const TensorEntry,
        count: usize,
        error_message: *mut *mut c_char,
    ) -> c_int;
}

/// Writes a module that holds `tensors` and the methods in `source` (TorchScript text), in
/// evaluation mode. Every module has an attribute `training`, as Python expects. `class_name` is an
/// identifier.
///
/// Tensors are written from the CPU in the order of their indices, whatever their memory layout is,
/// so that the file's bytes depend on its content alone.
pub fn write_torchscript(
    path: &Path,
    class_name: &str,
    source: &str,
    tensors: &[NamedTensor],
) -> Result<()> {
    let path_text = to_c_string(path.as_os_str().as_encoded_bytes(), "path")?;
    let class_name = to_c_string(class_name, "class name")?;
    let source = to_c_string(source, "source")?;
    let mut owned_tensors = Vec::with_capacity(tensors.len());
    for NamedTensor { name, tensor, is_buffer } in tensors {
        let name = to_c_string(name.as_str(), "tensor's name")?;
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        owned_tensors.push((name, tensor, *is_buffer));
    }
    let mut entries = Vec::with_capacity(owned_tensors.len());
    for (name, tensor, is_buffer) in &owned_tensors {
        let (name, tensor) = (name.as_ptr(), tensor.as_ptr());
        entries.push(TensorEntry { name, tensor, is_buffer: *is_buffer });
    }
    let mut error_message = std::ptr::null_mut();
    // SAFETY: all that the pointers name lives in `owned_tensors`, `entries` and the strings above
    // until the call is over. tch's pointers point to `at::Tensor`. The C++ side reads
    // `entries.len()` entries of the layout that `repr(C)` gives them, keeps none, and lets no
    // exception out.
    let status = unsafe {
        maskmaker_write_torchscript(
            path_text.as_ptr(),
            class_name.as_ptr(),
            source.as_ptr(),
            entries.as_ptr(),
            entries.len(),
            &raw mut error_message,
        )
    };
    let message = take_c_string(error_message);
    match status {
        WRITTEN => Ok(()),
        NOT_WRITABLE => Err(Error::input(format!("cannot write {}: {message}", path.display()))),
        _ => Err(tch::TchError::Torch(message).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: &str = "def forward(self, x: Tensor) -> Tensor:\n    return x * \
                         getattr(self.a, \"0\").weight + self.offset\n";

    fn tensors() -> Vec<NamedTensor> {
        let named = |name: &str, value: f32, is_buffer| NamedTensor {
            name: name.to_owned(),
            tensor: Tensor::from(value),
            is_buffer,
        };
        vec![named("a.0.weight", 3.0, false), named("offset", 1.0, true)]
    }

    #[test]
    fn a_written_module_computes_and_its_bytes_do_not_depend_on_where_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one.pt", "other"].map(|name| folder.path().join(name));
        write_torchscript(&one, "Scale", SCALE, &tensors()).unwrap();
        write_torchscript(&other, "Scale", SCALE, &tensors()).unwrap();
        assert!(std::fs::read(&one).unwrap() == std::fs::read(&other).unwrap());
        let module = tch::CModule::load(&one).unwrap();
        let answer = module.forward_ts(&[Tensor::from(2.0f32)]).unwrap();
        assert!(answer.equal(&Tensor::from(7.0f32)));
        let names: Vec<_> =
            module.named_parameters().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.0.weight"], "the offset is a buffer");
    }

    #[test]
    fn exceptions_become_errors_that_say_whose_fault_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        let error = write_torchscript(&path, "M", "def forward(self):\n    return y\n", &[]);
        let error = error.unwrap_err();
        assert!(error.to_string().contains("undefined value y"), "{error}");
        assert_eq!(error.exit_code(), 1);
        assert!(!path.exists());
        let twice: Vec<NamedTensor> = tensors().into_iter().chain(tensors()).collect();
        assert_eq!(write_torchscript(&path, "M", SCALE, &twice).unwrap_err().exit_code(), 1);

        let absent = folder.path().join("absent/model.pt");
        let error = write_torchscript(&absent, "Scale", SCALE, &tensors()).unwrap_err();
        assert!(error.to_string().contains("absent/model.pt: No such file"), "{error}");
        assert_eq!(error.exit_code(), 3);
        let full = write_torchscript(Path::new("/dev/full"), "Scale", SCALE, &tensors());
        let error = full.unwrap_err();
        assert_eq!(error.to_string(), "cannot write /dev/full: No space left on device");
        assert!(write_torchscript(&path, "Zero", "\0", &[]).is_err());
    }
}
