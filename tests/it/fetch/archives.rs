//! Archives on the web.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use rawzip::{CompressionMethod, ZipArchiveWriter};

use sha2::{Digest, Sha256};

use super::fake_label_studio::FakeLabelStudio;
use super::*;

fn tar_gz(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // By hand: the builder refuses names that lead out of the folder.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = ZipArchiveWriter::new(&mut bytes);
    for (name, content) in entries {
        let builder = archive.new_file(name).compression_method(CompressionMethod::DEFLATE);
        let (mut entry, config) = builder.start().unwrap();
        let encoder = DeflateEncoder::new(&mut entry, Compression::default());
        let mut writer = config.wrap(encoder);
        writer.write_all(content).unwrap();
        let (encoder, descriptor) = writer.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

/// Changes all names of an archive, which its writer would not take so.
fn rename(mut bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from.as_bytes()) {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

#[test]
fn archives_are_unpacked_and_not_fetched_again() {
    let server = FakeLabelStudio::start();
    let output = Output::new();
    let entries: [(&str, &[u8]); 4] = [
        ("annotations/a.json", b"[]"),
        ("images/é.png", b"pixels"),
        ("__MACOSX/._x", b""),
        ("images/.DS_Store", b""),
    ];
    server.put("/files/a.zip", &zip(&entries));
    server.put("/files/b.tgz", &tar_gz(&[("./images/b.png", b"more")]));
    let (first, second) =
        (format!("{}/files/a.zip?token=x", server.url()), format!("{}/files/b.tgz", server.url()));
    let arguments = [&first, &second, "--allow-private-addresses"];
    let run = output.fetch(&arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.starts_with("3 files fetched"), "{}", run.stdout);
    let expected = ["annotations/a.json", "images/b.png", "images/é.png"];
    assert_eq!(output.files(""), expected);
    assert_eq!(fs::read(output.path("images/é.png")).unwrap(), b"pixels");
    assert!(!fs::read_to_string(output.ledger()).unwrap().contains("token=x"));
    assert_eq!(server.take_files().len(), 2);
    let run = output.fetch(&arguments);
    assert!(run.stdout.starts_with("0 files fetched (0.0 MB), 3 there already"), "{}", run.stdout);
    assert!(server.take_files().is_empty());
    // A file that was removed is unpacked again.
    fs::remove_file(output.path("images/b.png")).unwrap();
    let run = output.fetch(&[&second, "--allow-private-addresses", "--into", ""]);
    assert!(run.stdout.starts_with("1 file fetched"), "{}", run.stdout);
}

#[test]
fn an_archive_that_was_cut_off_goes_on_where_it_was() {
    let server = FakeLabelStudio::start();
    let output = Output::new();
    let content = vec![7; 100_000];
    let archive = zip(&[("a.png", &content)]);
    server.put("/files/a.zip", &archive);
    let url = format!("{}/files/a.zip", server.url());
    let etag = format!("\"{:08x}\"", crc32fast::hash(&archive));
    let part = part_of(&output, &url, "images");
    let half = archive.len() / 2;
    for (known, length, bytes) in [
        (etag.as_str(), None, half),
        ("\"of another version\"", None, half),
        // The whole, whose size its server did not state: it has no more.
        (etag.as_str(), None, archive.len()),
        // The whole, which was not unpacked.
        (etag.as_str(), Some(archive.len()), archive.len()),
    ] {
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        fs::write(&part, &archive[..bytes]).unwrap();
        let description = serde_json::json!({"etag": known, "length": length}).to_string();
        fs::write(part.with_extension("json"), description).unwrap();
        let run = output.fetch(&[&url, "--allow-private-addresses", "--into", "images"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(fs::read(output.path("images/a.png")).unwrap(), content);
        assert_eq!(output.files(""), ["images/a.png"]);
        assert!(!part.exists());
        assert_eq!(server.take_files().is_empty(), length.is_some());
        fs::remove_dir_all(output.path("")).unwrap();
    }
}

/// The place of an archive that is not unpacked yet.
fn part_of(output: &Output, url: &str, folder: &str) -> PathBuf {
    let digest = Sha256::digest(format!("{url} {folder}"));
    let name = format!("{:016x}", u64::from_be_bytes(digest[..8].try_into().unwrap()));
    output.path(&format!(".maskmaker-fetch/archives/{name}"))
}

#[test]
fn archives_are_told_apart_by_their_whole_addresses_and_folders() {
    let (server, other) = (FakeLabelStudio::start(), FakeLabelStudio::start());
    server.put("/files/a.zip", &zip(&[("a.png", b"one")]));
    other.put("/files/a.zip", &zip(&[("a.png", b"two")]));
    let output = Output::new();
    let (first, second) = (
        format!("{}/files/a.zip?id=1", server.url()),
        format!("{}/files/a.zip?id=2", server.url()),
    );
    let fetch = |url: &str, folder: &str| {
        output.fetch(&[url, "--allow-private-addresses", "--into", folder])
    };
    for folder in ["x", "y"] {
        assert!(fetch(&first, folder).stdout.starts_with("1 file fetched"));
        assert!(
            fetch(&first, folder).stdout.starts_with("0 files fetched (0.0 MB), 1 there already")
        );
    }
    assert!(fetch(&second, "z").stdout.starts_with("1 file fetched"));
    assert_eq!(server.take_files().len(), 3);
    // Two archives with a file of one name: the second one is left out and told.
    let elsewhere = format!("{}/files/a.zip", other.url());
    let run = output.fetch(&[
        &first,
        &elsewhere,
        "--allow-private-addresses",
        "--into",
        "both",
        "--strict",
    ]);
    assert_eq!(run.code, Some(3), "{}", run.stdout);
    assert!(run.stderr.contains("#a.png: would be both/a.png, which "), "{}", run.stderr);
    assert_eq!(fs::read(output.path("both/a.png")).unwrap(), b"one");
}

#[test]
fn names_of_archives_that_are_no_files_are_left_out_or_refused() {
    let server = FakeLabelStudio::start();
    let output = Output::new();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Symlink);
    builder.append_link(&mut header, "link.png", "/etc/passwd").unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XGlobalHeader);
    header.set_size(0);
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
    server.put("/files/a.tar", &builder.into_inner().unwrap());
    server.put("/files/b.zip", &zip(&[(".maskmaker-fetch/fetched.jsonl", b"evil")]));
    let run =
        output.fetch(&[&format!("{}/files/a.tar", server.url()), "--allow-private-addresses"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stdout.starts_with("0 files fetched (0.0 MB), 0 there already, 1 missing"),
        "{}",
        run.stdout
    );
    assert!(run.stderr.contains("#link.png: is neither a file nor a folder"), "{}", run.stderr);
    let run =
        output.fetch(&[&format!("{}/files/b.zip", server.url()), "--allow-private-addresses"]);
    assert!(
        run.stderr.contains("has the name \".maskmaker-fetch\", which no file has"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_file_that_is_larger_than_allowed_is_not_unpacked() {
    let server = FakeLabelStudio::start();
    let output = Output::new();
    // 2 MB of zeros become a few thousand bytes.
    server.put("/files/a.zip", &zip(&[("a.png", &vec![0; 2 << 20])]));
    let url = format!("{}/files/a.zip", server.url());
    let run = output.fetch(&[&url, "--allow-private-addresses", "--max-file-mb", "1"]);
    assert_eq!(run.code, Some(3));
    assert!(
        run.stderr
            .contains("a.png has more than the 1048576 bytes that are allowed (--max-file-mb)"),
        "{}",
        run.stderr
    );
    assert!(!output.path("a.png").exists());
}

#[test]
fn archives_that_lead_out_of_the_folder_or_are_none_are_refused() {
    let server = FakeLabelStudio::start();
    let evil: [(&str, &[u8]); 1] = [("../evil.txt", b"evil")];
    for (name, bytes, expected) in [
        (
            "a.zip",
            rename(zip(&[("xx/evil.txt", b"evil")]), "xx/evil", "../evil"),
            "../evil.txt has the name \"..\", which no file has",
        ),
        ("b.tar.gz", tar_gz(&evil), "../evil.txt has the name \"..\", which no file has"),
        ("c.tar.gz", tar_gz(&[("/etc/passwd", b"")]), ""),
        (
            "d.zip",
            b"<html>not found</html>".to_vec(),
            "is no archive that can be unpacked (zip, tar, tar.gz); it begins with",
        ),
        ("e.zip", zip(&[("a", &[1; 1000])])[..60].to_vec(), "is no readable zip archive"),
    ] {
        let output = Output::new();
        server.put(&format!("/files/{name}"), &bytes);
        let url = format!("{}/files/{name}", server.url());
        let run = output.fetch(&[&url, "--allow-private-addresses"]);
        if expected.is_empty() {
            // A path from the root lies below the folder, as tar itself does it.
            assert_eq!(run.code, Some(0), "{}", run.stderr);
            assert_eq!(output.files(""), ["etc/passwd"]);
        } else {
            assert_eq!(run.code, Some(3), "{name}");
            assert!(run.stderr.contains(expected), "{}", run.stderr);
            assert!(!output.0.path().join("evil.txt").exists());
        }
    }
}
