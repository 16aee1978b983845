//! Turns errors of libtorch into the crate's own error type.

use tch::TchError;

use crate::error::Error;

/// Cuts tch's prefix and the C++ backtrace off a message; neither helps a user.
fn cut_reason(message: &str) -> &str {
    let message = message.trim_start_matches("Internal torch error: ");
    let mut end = message.len();
    for marker in ["\nException raised from", "\nframe #"] {
        end = end.min(message.find(marker).unwrap_or(end));
    }
    message[..end].trim()
}

/// Returns true if the processor's or a GPU's memory ran out. Only the message tells: tch does not
/// keep the type of the C++ exception.
fn is_out_of_memory(reason: &str) -> bool {
    reason.contains("out of memory") || reason.contains("can't allocate memory")
}

/// Returns an error in the words of this program's settings, if libtorch refused a computation of
/// deterministic training in those of its own.
fn determinism_error(reason: &str) -> Option<Error> {
    if reason.contains("CUBLAS_WORKSPACE_CONFIG") {
        return Some(Error::input(
            "with deterministic True the variable CUBLAS_WORKSPACE_CONFIG must be :4096:8 or :16:8; \
             unset it, or set deterministic to False",
        ));
    }
    let (operation, _) = reason.split_once(" does not have a deterministic implementation")?;
    Some(Error::input(format!(
        "deterministic is True, and libtorch has no deterministic {operation} on this GPU; set \
         deterministic to False"
    )))
}

/// Makes an error of libtorch an internal error, unless memory ran out. A caller that knows better
/// makes its own error.
impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        let message = error.to_string();
        let reason = cut_reason(&message);
        if is_out_of_memory(reason) {
            return Self::out_of_memory(reason);
        }
        determinism_error(reason).unwrap_or_else(|| Self::internal(format!("libtorch: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorchs_frames_stay_out_and_running_out_of_memory_is_told_apart() {
        let text = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate \
                    memory: you tried to allocate 99 bytes.\nframe #0: c10::ThrowEnforceNotMet";
        let error = Error::from(TchError::Torch(text.to_owned()));
        let error = error.with_memory_advice("; take less");
        let message = error.to_string();
        assert!(
            message.starts_with("not enough memory (") && message.ends_with("; take less"),
            "{message}"
        );
        assert!(!message.contains("frame"), "{message}");
        assert_eq!(error.exit_code(), 3);

        let refused =
            "cumsum_cuda_kernel does not have a deterministic implementation, but you set";
        let message = Error::from(TchError::Torch(refused.to_owned())).to_string();
        assert!(message.ends_with("cumsum_cuda_kernel on this GPU; set deterministic to False"));

        let other = "bad shape\nException raised from f at x.cpp:1\nframe #0: g";
        let error = Error::from(TchError::Torch(other.to_owned())).with_memory_advice("; no");
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("libtorch: bad shape", 1));
    }
}
