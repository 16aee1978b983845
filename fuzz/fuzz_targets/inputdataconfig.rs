//! Fuzzes `inputdataconfig.json`: any bytes are channels or problems.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maskmaker::sagemaker::channels::{InputMode, parse_input_modes};

fuzz_target!(|bytes: &[u8]| {
    let Ok(channels) = parse_input_modes(bytes) else { return };
    for (name, mode) in channels {
        assert!(mode == InputMode::Folder || ["train", "validation"].contains(&name.as_str()));
    }
});
