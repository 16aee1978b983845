//! Admission: how much work the server takes on at once, by measured time and by memory.

pub(in crate::serve) mod limiter;
pub(in crate::serve) mod memory;
pub(in crate::serve) mod time_estimate;
