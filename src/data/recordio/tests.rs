use super::*;

fn part(kind: u32, payload: &[u8]) -> Vec<u8> {
    let word = kind << 29 | payload.len() as u32;
    let mut bytes = [MAGIC.to_le_bytes(), word.to_le_bytes()].concat();
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Writes a record as dmlc does: split wherever its payload holds the magic number at a multiple of
/// 4.
fn encode(payload: &[u8]) -> Vec<u8> {
    let magic = MAGIC.to_le_bytes();
    let mut parts = vec![Vec::new()];
    for word in payload.chunks(4) {
        if word == magic {
            parts.push(Vec::new());
        } else {
            parts.last_mut().unwrap().extend(word);
        }
    }
    let last = parts.len() - 1;
    let kind = |i| match i {
        _ if last == 0 => 0,
        0 => 1,
        i if i == last => 3,
        _ => 2,
    };
    parts.iter().enumerate().flat_map(|(i, payload)| part(kind(i), payload)).collect()
}

fn decode(bytes: &[u8], max_record: usize) -> Result<Vec<Vec<u8>>, String> {
    let mut records = RecordIoReader::new(bytes, max_record);
    let mut all = Vec::new();
    loop {
        match records.read() {
            Ok(Some(record)) => all.push(record),
            Ok(None) => return Ok(all),
            Err(RecordIoError::Malformed(what)) => return Err(what),
            Err(RecordIoError::Io(cause)) => panic!("{cause}"),
        }
        assert_eq!(records.record_count(), all.len() as u64);
    }
}

#[test]
fn the_bytes_of_a_known_record_are_read() {
    // As sagemaker-python-sdk's and dmlc's writers frame them.
    let bytes = b"\x0a\x23\xd7\xce\x05\0\0\0hello\0\0\0\x0a\x23\xd7\xce\0\0\0\0";
    assert_eq!(decode(bytes, 9).unwrap(), [b"hello".to_vec(), Vec::new()]);
    assert_eq!(decode(b"", 9).unwrap(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_payload_with_the_magic_number_comes_back_from_its_parts() {
    let magic = MAGIC.to_le_bytes();
    let payload = [b"four", &magic[..], &magic, b"more", &magic, b"ab"].concat();
    let bytes = encode(&payload);
    // Three numbers are three borders, so four parts; the second is empty.
    assert_eq!(bytes.len(), 4 * 8 + 4 + 4 + 4);
    assert_eq!(decode(&bytes, payload.len()).unwrap(), [payload]);
}

#[test]
fn what_is_broken_is_named_by_record_and_byte() {
    let good = encode(b"first");
    let said = |bytes: &[u8]| decode(&[&good[..], bytes].concat(), 99).unwrap_err();
    assert_eq!(
        said(b"\xff\xd8\xff\xe0\0\x10JFIF"),
        "record 2 (read up to byte 24): it begins with [ff, d8, ff, e0] (a JPEG) and not with \
         RecordIO's magic number [0a, 23, d7, ce]"
    );
    let second = encode(b"second");
    for (cut, what) in [
        (3, "ends after 3 of the 8 bytes of a header"),
        (8, "ends after 0 of a payload of 6 bytes"),
        (13, "ends after 5 of a payload of 6 bytes"),
        (15, "ends after 1 of 2 bytes of padding"),
    ] {
        let found = said(&second[..cut]);
        assert!(found.contains(what) && found.starts_with("record 2 "), "{found}");
    }
    for (bytes, what) in [
        (part(2, b"abcd"), "a part of kind 2 where a record begins"),
        (part(3, b"abcd"), "a part of kind 3 where a record begins"),
        (
            [part(1, b"abcd"), part(0, b"abcd")].concat(),
            "a part of kind 0 where the record goes on",
        ),
        (
            [part(1, b"abcd"), part(1, b"abcd")].concat(),
            "a part of kind 1 where the record goes on",
        ),
        (part(1, b"abcd"), "ends after 0 of the 8 bytes of a header"),
        (part(4, b"abcd"), "kind 4; defined are 0 to 3"),
    ] {
        let found = said(&bytes);
        assert!(found.contains(what), "{found}");
    }
}

#[test]
fn a_record_over_the_limit_is_refused_before_its_bytes_are_read() {
    let long = [MAGIC.to_le_bytes(), 0x1fff_ffff_u32.to_le_bytes()].concat();
    let found = decode(&long, 1000).unwrap_err();
    assert!(found.contains("536870911 bytes or more, and a record may have 1000"), "{found}");
    let parts = [part(1, &[7; 600]), part(3, &[7; 600])].concat();
    assert!(decode(&parts, 1000).unwrap_err().contains("1204 bytes or more"));
    assert!(decode(&parts, 1204).is_ok());
}

#[test]
fn memory_grows_with_the_bytes_that_come_and_not_with_the_length_that_is_claimed() {
    let mut records = RecordIoReader::new(&b""[..], MAX_RECORD_BYTES);
    let mut buffer = Vec::new();
    assert_eq!(records.read_up_to(&mut buffer, MAX_RECORD_BYTES).unwrap(), 0);
    let mut records = RecordIoReader::new(&[1; 5000][..], MAX_RECORD_BYTES);
    assert_eq!(records.read_up_to(&mut buffer, MAX_RECORD_BYTES).unwrap(), 5000);
    assert!(buffer.capacity() < 1 << 16, "{}", buffer.capacity());
}

/// Generates words of which many are the magic number.
fn payloads() -> impl proptest::strategy::Strategy<Value = Vec<Vec<u8>>> {
    use proptest::prelude::*;
    let word =
        prop_oneof![Just(MAGIC.to_le_bytes().to_vec()), proptest::collection::vec(any::<u8>(), 4)];
    let payload =
        (proptest::collection::vec(word, 0..9), proptest::collection::vec(any::<u8>(), 0..4))
            .prop_map(|(words, rest)| [words.concat(), rest].concat());
    proptest::collection::vec(payload, 0..6)
}

proptest::proptest! {
    #[test]
    fn what_is_encoded_comes_back(records in payloads()) {
        let bytes: Vec<u8> = records.iter().flat_map(|record| encode(record)).collect();
        proptest::prop_assert_eq!(decode(&bytes, 99).unwrap(), records);
    }

    #[test]
    fn a_cut_stream_gives_whole_records_and_then_an_error(records in payloads(), cut: proptest::sample::Index) {
        let ends: Vec<usize> = records
            .iter()
            .scan(0, |end, record| { *end += encode(record).len(); Some(*end) })
            .collect();
        let bytes: Vec<u8> = records.iter().flat_map(|record| encode(record)).collect();
        let cut = cut.index(bytes.len() + 1);
        let found = decode(&bytes[..cut], 99);
        if cut == 0 || ends.contains(&cut) {
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            proptest::prop_assert_eq!(found.unwrap(), &records[..whole]);
        } else {
            proptest::prop_assert!(found.is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, kind in 0..8_u32, length in 0..1_u32 << 29) {
        let _ = decode(&bytes, 64);
        // Neither a wrong length nor combined parts yield more bytes than there are.
        let mut all = RecordIoReader::new(&bytes[..], MAX_RECORD_BYTES);
        while let Ok(Some(record)) = all.read() {
            proptest::prop_assert!(record.capacity() <= 2 * bytes.len() + (1 << 14));
        }
        let header = [MAGIC.to_le_bytes(), (kind << 29 | length).to_le_bytes()].concat();
        let _ = decode(&[&header[..], &bytes].concat(), 64);
    }
}
