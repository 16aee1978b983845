//! Fuzzes `inputdataconfig.json`: any bytes are channels or problems.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maskmaker::sagemaker::channels::{Mode, modes};

fuzz_target!(|bytes: &[u8]| {
    let Ok(channels) = modes(bytes) else { return };
    for (name, mode) in channels {
        assert!(mode == Mode::Folder || ["train", "validation"].contains(&name.as_str()));
    }
});
