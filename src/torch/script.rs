//! Writing TorchScript files.

// The border to script.cpp: each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int};
use std::path::Path;

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::c_string::take_c_string;
use crate::error::{Error, Result};

/// A tensor of a module.
#[derive(Debug)]
pub struct NamedTensor {
    /// Where it lies, with dots between the modules on the way: `layer1.0.conv1.weight`.
    pub name: String,
    /// Its elements.
    pub tensor: Tensor,
    /// Whether it is a buffer, and else a parameter.
    pub is_buffer: bool,
}

/// As `maskmaker_entry` in script.cpp.
#[repr(C)]
struct TensorEntry {
    name: *const c_char,
    tensor: *const C_tensor,
    is_buffer: bool,
}

/// The file could not be written: `NOT_WRITABLE` in script.cpp.
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

/// Writes a module that holds `tensors` and the methods in `source` (TorchScript text), in evaluation
/// mode. Every module has an attribute `training`, as Python expects. `class_name` is an identifier.
/// Tensors are written from the CPU in the usual order of elements, whatever their memory is like, so
/// that the file's bytes depend on its content alone.
pub fn write_torchscript(
    path: &Path,
    class_name: &str,
    source: &str,
    tensors: &[NamedTensor],
) -> Result<()> {
    let to_contiguous_cpu = |tensor: &Tensor| -> Result<Tensor> {
        Ok(tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?)
    };
    let path_bytes =
        CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| zero_byte_error("path"))?;
    let class_name = CString::new(class_name).map_err(|_| zero_byte_error("class name"))?;
    let source = CString::new(source).map_err(|_| zero_byte_error("source"))?;
    let mut owned_tensors = Vec::with_capacity(tensors.len());
    for NamedTensor { name, tensor, is_buffer } in tensors {
        let name = CString::new(name.as_str()).map_err(|_| zero_byte_error("tensor's name"))?;
        owned_tensors.push((name, to_contiguous_cpu(tensor)?, *is_buffer));
    }
    let entries: Vec<TensorEntry> = owned_tensors
        .iter()
        .map(|(name, tensor, is_buffer)| TensorEntry {
            name: name.as_ptr(),
            tensor: tensor.as_ptr(),
            is_buffer: *is_buffer,
        })
        .collect();
    let mut error_message = std::ptr::null_mut();
    // Sound: all that the pointers name lives in `owned`, `entries` and the strings above until the
    // call is over, an `at::Tensor` is what tch's pointers point to, the other side reads `count`
    // entries of the layout that `repr(C)` gives them and keeps none of them, and lets no exception out.
    let status = unsafe {
        maskmaker_write_torchscript(
            path_bytes.as_ptr(),
            class_name.as_ptr(),
            source.as_ptr(),
            entries.as_ptr(),
            entries.len(),
            &raw mut error_message,
        )
    };
    let message = take_c_string(error_message);
    match status {
        0 => Ok(()),
        NOT_WRITABLE => Err(Error::input(format!("cannot write {}: {message}", path.display()))),
        _ => Err(tch::TchError::Torch(message).into()),
    }
}

fn zero_byte_error(subject: &str) -> Error {
    Error::input(format!("the {subject} holds a zero byte"))
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
