//! The device that this process computes on. libtorch's GPU libraries are not linked, so that one
//! program runs with and without them; where they lie beside libtorch, they are opened before
//! libtorch is used.

use std::env;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use tch::{Cuda, Device};

use super::dynamic_library::DynamicLibrary;
use super::process::set_variable_at_start;
use crate::error::{Error, Result};

/// Variable by which NVIDIA's libraries are told which GPUs to use.
pub const VISIBLE_GPUS: &str = "CUDA_VISIBLE_DEVICES";

/// libtorch's GPU part.
pub(super) const LIBTORCH_CUDA: &std::ffi::CStr = c"libtorch_cuda.so";

/// Device that the user wants to compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// GPUs where libtorch can use them, else the processor.
    #[default]
    Auto,
    Cpu,
    /// The GPU of this number, or all.
    Cuda(Option<usize>),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(None)),
            _ => {}
        }
        let number = text.strip_prefix("cuda:").and_then(|number| number.parse::<u16>().ok());
        match number {
            Some(number) => Ok(Self::Cuda(Some(usize::from(number)))),
            None => Err("give auto, cpu, cuda, or cuda:N for GPU N, from 0".to_owned()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(number)) => write!(f, "cuda:{number}"),
        }
    }
}

/// The choice of this process, once it is made.
static CHOICE: OnceLock<DeviceChoice> = OnceLock::new();

/// Chooses what this process computes on, before libtorch is used and before a second thread runs.
/// A GPU with a number is from then on the only one that the process sees, so its number is 0.
///
/// # Errors
///
/// `CUDA_VISIBLE_DEVICES` shows no GPU of that number.
pub fn choose_device(choice: DeviceChoice) -> Result<()> {
    if let DeviceChoice::Cuda(Some(number)) = choice {
        let visible = env::var(VISIBLE_GPUS).ok();
        let Some(gpu) = find_visible_gpu(visible.as_deref(), number) else {
            return Err(Error::input(format!(
                "device is {choice}, and {VISIBLE_GPUS} is {:?}, which does not show GPU {number}: \
                 give a smaller number, from 0, or unset the variable",
                visible.unwrap_or_default()
            )));
        };
        if !set_variable_at_start(VISIBLE_GPUS, &gpu) {
            return Err(Error::internal(format!(
                "{VISIBLE_GPUS} cannot be set, because a second thread runs already; set it to \
                 {gpu} and the device to cuda"
            )));
        }
    }
    let _ = CHOICE.set(choice);
    Ok(())
}

/// Returns the choice of this process, `Auto` if none was made.
pub fn device_choice() -> DeviceChoice {
    CHOICE.get().copied().unwrap_or_default()
}

/// Returns the name of a GPU by its position among those that this process sees
/// (`CUDA_VISIBLE_DEVICES`), if it sees so many.
pub fn visible_gpu(position: usize) -> Option<String> {
    find_visible_gpu(env::var(VISIBLE_GPUS).ok().as_deref(), position)
}

fn find_visible_gpu(visible: Option<&str>, position: usize) -> Option<String> {
    let Some(list) = visible else { return Some(position.to_string()) };
    // NVIDIA's libraries end the list at the first name that stands for no GPU.
    let is_gpu = |name: &&str| !name.is_empty() && !name.starts_with('-');
    let mut names = list.split(',').map(str::trim).take_while(is_gpu);
    names.nth(position).map(str::to_owned)
}

/// Returns the device to compute on: the first GPU that libtorch can use, else the processor.
/// `CUDA_VISIBLE_DEVICES` chooses another GPU, or none when it is empty.
///
/// The first call must come before any other use of libtorch in the process, which looks for its
/// GPU part only once.
pub fn default_device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    *DEVICE.get_or_init(|| {
        let may_use_gpu = device_choice() != DeviceChoice::Cpu;
        let has_cuda_library =
            may_use_gpu && DynamicLibrary::open_for_others(LIBTORCH_CUDA).is_ok();
        if has_cuda_library && Cuda::is_available() { Device::Cuda(0) } else { Device::Cpu }
    })
}

/// Returns the number of GPUs that libtorch can use.
pub fn gpu_count() -> usize {
    match default_device() {
        Device::Cuda(_) => usize::try_from(Cuda::device_count()).unwrap_or_default(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_back_as_they_are_written() {
        for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:15"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:1.5", "CPU"] {
            let problem = text.parse::<DeviceChoice>().unwrap_err();
            assert!(problem.contains("cuda:N"), "{problem}");
        }
    }

    #[test]
    fn gpus_are_numbered_among_those_that_are_visible() {
        let find = |visible, position| find_visible_gpu(visible, position);
        assert_eq!(find(None, 3).as_deref(), Some("3"));
        assert_eq!(find(Some("4, 5,GPU-8932f937"), 1).as_deref(), Some("5"));
        assert_eq!(find(Some("4,5,GPU-8932f937"), 2).as_deref(), Some("GPU-8932f937"));
        for (visible, position) in [("4,5", 2), ("", 0), ("-1", 0), ("4,-1,5", 1)] {
            assert_eq!(find(Some(visible), position), None, "{visible}");
        }
    }
}
