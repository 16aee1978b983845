//! Prints what the program reads from a weights file, for comparison with Python (`make
//! check-weights`): per tensor its name, type, shape and the CRC-32 of its elements.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

use maskmaker::model::state_dict::StateDict;

fn main() {
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("usage: tensor_checksums FILE");
        std::process::exit(2);
    };
    let bytes = std::fs::read(file).unwrap();
    let file = StateDict::open(&bytes).unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(3);
    });
    for entry in file.entries() {
        let tensor = file.tensor(entry).unwrap();
        let count = tensor.numel();
        let mut elements = vec![0; count * tensor.kind().elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut elements, count).unwrap();
        let checksum = crc32fast::hash(&elements);
        println!("{} {:?} {:?} {checksum:08x}", entry.name, entry.dtype, entry.shape);
    }
}
