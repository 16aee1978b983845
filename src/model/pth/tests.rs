use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::PthFile;

/// Reads a file that `tests/golden/make_weights.py` made.
fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights");
    std::fs::read(folder.join(name)).unwrap()
}

/// Reads type, shape and checksum of every tensor, by name.
fn read_contents(bytes: &[u8]) -> BTreeMap<String, (String, Vec<usize>, u32)> {
    let pth = PthFile::open(bytes).unwrap();
    pth.tensors()
        .map(|(name, dtype, shape)| {
            let elements = pth.tensor_bytes(name).unwrap().unwrap();
            let description = (format!("{dtype:?}"), shape.to_vec(), crc32fast::hash(&elements));
            (name.to_owned(), description)
        })
        .collect()
}

fn failure(bytes: &[u8]) -> String {
    PthFile::open(bytes).unwrap_err().to_string()
}

#[test]
fn every_tensor_of_every_form_is_what_pytorch_says() {
    let golden = include_str!("../../../tests/golden/weights.json");
    let golden: BTreeMap<String, (String, Vec<usize>, f64, u32)> =
        serde_json::from_str(golden).unwrap();
    let expected: BTreeMap<_, _> = golden
        .into_iter()
        .map(|(name, (dtype, shape, _, checksum))| (name, (dtype, shape, checksum)))
        .collect();
    assert_eq!(expected.len(), 22);
    for name in [
        "zip.pth",
        "legacy.pth",
        "wrapped.pth",
        "wrapped_legacy.pth",
        "protocol_4.pth",
        "without_checksums.pth",
    ] {
        assert_eq!(read_contents(&fixture(name)), expected, "{name}");
    }
}

#[test]
fn a_file_that_wants_to_run_something_is_refused_by_its_name() {
    for (name, wish) in [
        ("harmful.pth", "the file wants to run posix.system"),
        ("harmful_legacy.pth", "the file wants to run posix.system"),
        ("module.pth", "the file wants to run torch.nn.modules.linear.Linear"),
    ] {
        let said = failure(&fixture(name));
        assert!(said.contains(wish) && said.contains("model.state_dict()"), "{name}: {said}");
    }
}

#[test]
fn what_holds_no_weights_is_told_apart() {
    for (name, what) in [
        ("list.pth", "no dict of tensors"),
        ("no_tensors.pth", "a dict without tensors (found: epoch)"),
        ("torchscript.pth", "a TorchScript program"),
    ] {
        let said = failure(&fixture(name));
        assert!(said.contains(what) && said.contains("model.state_dict()"), "{name}: {said}");
    }
    assert!(failure(b"hello").contains("not a file of torch.save"));
    assert!(failure(b"").contains("not a file of torch.save"));
    assert!(failure(b"\x80\x02K\x01.").contains("its magic number is missing"));
}

#[test]
fn a_cut_file_is_an_error_wherever_it_is_cut() {
    for name in ["zip.pth", "legacy.pth", "wrapped_legacy.pth"] {
        let bytes = fixture(name);
        for length in 0..bytes.len() {
            assert!(PthFile::open(&bytes[..length]).is_err(), "{name} cut at {length}");
        }
    }
}

/// Returns the start of a legacy file, followed by one pickle.
fn legacy_file(pickle: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let protocol = b"\x80\x02M\xe9\x03.";
    [magic, &protocol[..], b"\x80\x02}.", pickle].concat()
}

/// Returns a legacy file with `{"x": tensor}`, whose storage holds 2 floats. The parameters are
/// pickled.
fn tensor_file(offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let storage = b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0aX\x03\0\0\0cpuK\x02tQ";
    let start = b"\x80\x02}X\x01\0\0\0xctorch._utils\n_rebuild_tensor_v2\n";
    let end = b"\x89}tRs.";
    let file = legacy_file(&[start, &storage[..], offset, shape, strides, end].concat());
    // The keys of the storages follow, then the one storage of 2 elements.
    [&file[..], b"\x80\x02]X\x01\0\0\0aa.", &2_u64.to_le_bytes(), &[0; 8]].concat()
}

/// Returns the pickle of a dict with text keys, whose values are pickled.
fn dict(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let mut pickle = b"}(".to_vec();
    for (key, value) in pairs {
        pickle.extend([b"X", &(key.len() as u32).to_le_bytes()[..], key.as_bytes()].concat());
        pickle.extend(*value);
    }
    pickle.push(b'u');
    pickle
}

/// Returns a file of this pickle, whose tensors are views of storage `a` of 2 floats.
fn file_of(pickle: &[u8]) -> Vec<u8> {
    let file = legacy_file(&[b"\x80\x02", pickle, b"."].concat());
    [&file[..], b"\x80\x02]X\x01\0\0\0aa.", &2_u64.to_le_bytes(), &[0; 8]].concat()
}

#[test]
fn a_state_dict_is_found_at_any_key_and_an_average_is_taken_and_told() {
    let tensor: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n\
        FloatStorage\nX\x01\0\0\0aX\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89}tR";
    let weights = dict(&[("x", tensor), ("y", tensor)]);
    let other = dict(&[("z", tensor), ("w", tensor)]);
    let found = |pairs: &[(&str, &[u8])]| {
        let bytes = file_of(&dict(pairs));
        let pth = PthFile::open(&bytes).map_err(|error| error.to_string())?;
        let names: Vec<&str> = pth.tensors().map(|(name, ..)| name).collect();
        Ok::<_, String>(format!("{}: {}", names.join(" "), pth.origin()))
    };
    let nested = dict(&[("state_dict", &weights)]);
    for (pairs, expected) in [
        (&[("x", tensor)][..], "x: "),
        (&[("state_dict", &weights), ("epoch", b"K\x01")], "x y: state_dict"),
        (&[("model_state_dict", &weights), ("best_acc1", tensor)], "x y: model_state_dict"),
        (&[("anything", &weights)], "x y: anything"),
        (&[("ema", &nested)], "x y: ema.state_dict"),
        (
            &[("state_dict", &other), ("state_dict_ema", &weights)],
            "x y: state_dict_ema, and not state_dict",
        ),
        (&[("model_ema", &weights), ("model", &other)], "x y: model_ema, and not model"),
        (&[("model", &weights), ("discriminator", &other)], "x y: model, and not discriminator"),
        // Settings beside the weights are passed over.
        (
            &[
                ("state_dict", &weights),
                ("args", b"cargparse\nNamespace\n)\x81}X\x01\0\0\0aK\x01sb"),
                (
                    "hparams",
                    b"cpytorch_lightning.utilities.parsing\nAttributeDict\n)\x81X\x01\0\0\0aK\x01s",
                ),
                ("path", b"cpathlib\nPosixPath\n(X\x01\0\0\0atR"),
            ],
            "x y: state_dict",
        ),
    ] {
        assert_eq!(found(pairs).unwrap(), expected);
    }
    let said = found(&[("generator", &weights), ("critic", &other)]).unwrap_err();
    assert!(said.contains("several dicts of tensors, generator, critic, and which"), "{said}");
}

#[test]
fn tensors_outside_their_storage_are_refused() {
    assert_eq!(read_contents(&tensor_file(b"K\0", b"K\x02\x85", b"K\x01\x85")).len(), 1);
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85";
    for (offset, shape, strides, what) in [
        (&b"K\x01"[..], &b"K\x02\x85"[..], &b"K\x01\x85"[..], "reaches past its storage"),
        (b"K\0", b"K\x02\x85", b"K\x02\x85", "reaches past its storage"),
        (b"K\0", b"K\x02\x85", &huge[..], "reaches past its storage"),
        (b"K\0", &huge[..], b"K\0\x85", "more elements than the file has bytes"),
        (b"J\xff\xff\xff\xff", b"K\x01\x85", b"K\x01\x85", "not numbers from 0"),
        (b"K\0", b"K\x01\x85", b")", "not numbers from 0"),
    ] {
        let said = failure(&tensor_file(offset, shape, strides));
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn a_short_pickle_cannot_make_the_machine_hold_much_or_go_deep() {
    // These are a list in a list in a list ..., and a dict that holds itself.
    let deep = [&b"]"[..].repeat(200_000), &b"a".repeat(199_999)[..], b"."].concat();
    assert!(failure(&legacy_file(&deep)).contains("no dict of tensors"));
    assert!(failure(&legacy_file(b"}q\0X\x05\0\0\0modelh\0s.")).contains("a dict without tensors"));
    assert!(failure(&legacy_file(&b"N".repeat(600_000))).contains("more than 500000 opcodes"));
}

#[test]
fn lengths_that_a_pickle_only_claims_are_not_believed() {
    for claim in [&b"X\xff\xff\xff\x7f"[..], b"X\xff\xff\xff\xff", b"\x8c\xff", b"\x8a\xff"] {
        let said = failure(&legacy_file(&[b"\x80\x04}", claim, b"abc"].concat()));
        assert!(said.contains("bytes") && said.len() < 300, "{claim:x?}: {said}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = PthFile::open(&bytes);
        let _ = PthFile::open(&legacy_file(&bytes));
        let _ = PthFile::open(&[&b"PK\x03\x04"[..], &bytes].concat());
    }

    #[test]
    fn changed_files_are_an_error_or_tensors_of_bounded_size(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes =
            fixture(["zip.pth", "legacy.pth", "wrapped.pth", "protocol_4.pth"][which]);
        for (place, byte) in &changes {
            let place = place.index(bytes.len());
            bytes[place] = *byte;
        }
        if let Ok(pth) = PthFile::open(&bytes) {
            let names: Vec<_> = pth.tensors().map(|(name, ..)| name.to_owned()).collect();
            for name in names {
                if let Some(Ok(elements)) = pth.tensor_bytes(&name) {
                    prop_assert!(elements.len() <= 8 * bytes.len());
                }
            }
        }
    }
}
