//! Fuzzes RecordIO: any bytes are records or an error, and all records together are no larger than
//! the bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maskmaker::data::recordio::RecordIoReader;

/// Largest record, in bytes, so small that the fuzzer reaches the limit too.
const MAX_RECORD: usize = 1024;

fuzz_target!(|bytes: &[u8]| {
    let mut records = RecordIoReader::new(bytes, MAX_RECORD);
    let mut total = 0;
    while let Ok(Some(record)) = records.read() {
        assert!(record.len() <= MAX_RECORD);
        // A claimed length without its bytes reserves no memory.
        assert!(record.capacity() <= 2 * bytes.len() + (1 << 14));
        total += record.len();
    }
    assert!(total <= bytes.len());
});
