//! Fuzzes `.pth` files: any bytes are tensors or an error, and no tensor is larger than 8 times the
//! file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maskmaker::model::pth::PthFile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(pth) = PthFile::open(bytes) else { return };
    for (name, _, shape) in pth.tensors() {
        let elements = pth.tensor_bytes(name).expect("it is listed").expect("it was checked");
        assert!(elements.len() <= 8 * bytes.len());
        assert!(elements.len() >= shape.iter().product());
    }
});
