use super::*;

fn readings(text: &str) -> Vec<String> {
    let reference = FileReference::parse(text).unwrap();
    reference.readings().iter().map(|reading| reading.names.join("/")).collect()
}

/// Returns true if the last reading, which is the farthest from the literal one, is an upload.
fn is_upload(text: &str) -> bool {
    FileReference::parse(text).unwrap().readings().last().unwrap().is_upload
}

#[test]
fn every_kind_of_reference_is_taken_apart() {
    for (text, expected) in [
        ("s3://bucket/images/a b.jpg", &["bucket/images/a b.jpg"][..]),
        ("s3://bucket/50%25.jpg", &["bucket/50%25.jpg", "bucket/50%.jpg"]),
        ("s3://bucket/what?.jpg", &["bucket/what?.jpg"]),
        ("https://host:8080/x/a.jpg?token=1#top", &["x/a.jpg"]),
        ("/data/upload/1/a0cba9f4-astronaut.jpg", &["data/upload/1/a0cba9f4-astronaut.jpg"]),
        (
            "/data/upload/1/ecb42193-%C3%BCn.png",
            &["data/upload/1/ecb42193-%C3%BCn.png", "data/upload/1/ecb42193-ün.png"],
        ),
        ("/data/local-files/?d=set1/coffee.jpg", &["set1/coffee.jpg"]),
        (
            "/data/local-files/?d=set1%2Fcoffee%20pot.jpg",
            &["set1%2Fcoffee%20pot.jpg", "set1/coffee pot.jpg"],
        ),
        ("/tasks/12/resolve/?fileuri=czM6Ly9iL2ltYWdlcy9hLmpwZw==", &["b/images/a.jpg"]),
        ("http://ls/tasks/12/presign/?fileuri=czM6Ly9iL2ltYWdlcy9hLmpwZw", &["b/images/a.jpg"]),
        ("../lsrun/media/./a.jpg", &["lsrun/media/a.jpg"]),
        ("../../../etc/passwd", &["etc/passwd"]),
        ("a/../../b.jpg", &["b.jpg"]),
        ("plain.jpg", &["plain.jpg"]),
        ("scan #3?.jpg", &["scan #3?.jpg"]),
        ("/tasks/12/presign/?fileuri=s3%3A%2F%2Fb%2Fa.jpg", &["b/a.jpg"]),
        ("file:///home/me/a%20b.jpg", &["home/me/a%20b.jpg", "home/me/a b.jpg"]),
    ] {
        assert_eq!(readings(text), expected, "{text}");
    }
}

#[test]
fn references_to_one_file_are_told_from_those_to_two() {
    let may_be = |first, second| {
        let parse = |text| FileReference::parse(text).unwrap();
        parse(first).may_match(&parse(second))
    };
    assert!(may_be("s3://b/day1/f.png", "/data/local-files/?d=day1/f.png"));
    assert!(may_be("f%20g.png", "s3://b/f g.png"));
    assert!(!may_be("s3://b/day1/f.png", "s3://b/day2/f.png"));
    assert!(!may_be("/data/upload/1/aaaaaaaa-f.png", "/data/upload/1/bbbbbbbb-f.png"));
}

#[test]
fn what_names_no_file_is_none() {
    for text in
        ["", "/", "..", "http://host", "/tasks/1/resolve/?fileuri=???", "/x/local-files/?e=1"]
    {
        assert_eq!(FileReference::parse(text), None, "{text}");
    }
    // The address holds another address with a `fileuri`.
    let nested = "/tasks/1/resolve/?fileuri=L3Rhc2tzLzEvcmVzb2x2ZS8/ZmlsZXVyaT1jek09";
    assert_eq!(FileReference::parse(nested), None);
}

#[test]
fn names_of_uploads_are_known() {
    assert_eq!(strip_upload_prefix("a0cba9f4-a.jpg"), Some("a.jpg"));
    for name in ["a0cba9f-a.jpg", "A0CBA9F4-a.jpg", "a0cba9f4_a.jpg", "a0cba9f4-", "ünïcödé-a"]
    {
        assert_eq!(strip_upload_prefix(name), None, "{name}");
    }
    assert_eq!(label_studio_upload_name(" odd size (1) ünïcode.png"), "odd_size_1_ünïcode.png");
    let reference = FileReference::parse("s3://b/x/a%20b.c.jpg").unwrap();
    assert_eq!(reference.stems().collect::<Vec<_>>(), ["a%20b.c", "a b.c"]);
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_reference_without_dots_or_none(text in ".{0,60}", tail in r"[%./?=#a-f0-9:+\\-]{0,40}") {
        for text in [format!("{text}{tail}"), format!("/resolve/?fileuri={tail}"), tail.clone(), format!("{tail}{text}")] {
            let Some(reference) = FileReference::parse(&text) else { continue };
            for name in reference.readings().iter().flat_map(|reading| &reading.names) {
                proptest::prop_assert!(!["", ".", ".."].contains(&name.as_str()) && !name.contains('/'));
            }
            let _ = (reference.stems().count(), strip_upload_prefix(&text), label_studio_upload_name(&text));
            let _ = (FileReference::parse_exported_name(&text), reference.may_match(&reference));
        }
    }

    #[test]
    fn the_literal_reading_is_always_the_first(name in r"[a-c0-9%+\\ :é.-]{1,12}", folder in r"[a-c%+\\]{0,4}") {
        proptest::prop_assume!(![".", ".."].contains(&name.trim()) && name.trim() == name);
        for (before, after) in [("", ""), ("s3://b/", ""), ("https://h/x/", "?y=1"), ("/data/local-files/?d=", "&t=2")] {
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let text = format!("{before}{path}{after}");
            let Some(reference) = FileReference::parse(&text) else { continue };
            let readings = reference.readings();
            proptest::prop_assert_eq!(readings[0].file_name(), name.as_str());
            if !folder.is_empty() {
                proptest::prop_assert_eq!(readings[0].folders().last(), Some(&folder));
            }
        }
    }
}

#[test]
fn backslashes_separate_folders_after_the_literal_reading() {
    for (text, expected) in [
        (r"set\a.png", &[r"set\a.png", "set/a.png"][..]),
        (r"images/3\a.png", &[r"images/3\a.png", "images/3/a.png"]),
        (
            "/data/local-files/?d=Ml%5Ctrain%5Ca.png",
            &["Ml%5Ctrain%5Ca.png", r"Ml\train\a.png", "Ml/train/a.png"],
        ),
        (r"C:\Users\me\a.png", &[r"C:\Users\me\a.png", "Users/me/a.png"]),
        ("D:/set/a.png", &["D:/set/a.png", "set/a.png"]),
        ("file:///D:/set/a.png", &["D:/set/a.png", "set/a.png"]),
        (r"\\server\share\set\a.png", &[r"\\server\share\set\a.png", "share/set/a.png"]),
        (r"\\?\UNC\server\share\a.png", &[r"\\?\UNC\server\share\a.png", "share/a.png"]),
        (r"\\?\E:\set\a.png", &[r"\\?\E:\set\a.png", "set/a.png"]),
        (r"..\..\set\.\a.png", &[r"..\..\set\.\a.png", "set/a.png"]),
        ("s3://b/%5Ca.png", &["b/%5Ca.png", r"b/\a.png", "b/a.png"]),
    ] {
        assert_eq!(readings(text), expected, "{text}");
    }
    let share = FileReference::parse(r"\\server\share\set\a.png").unwrap();
    assert_eq!(share.readings()[1].significant_folders, 1, "the share lies outside");
    for text in [r"\", r"\\\", r"\\server", "C:/", r"C:\", r"\\?\", r"\\?\UNC\"] {
        if let Some(reference) = FileReference::parse(text) {
            assert!(!reference.readings()[0].file_name().is_empty(), "{text}");
        }
    }
}

#[test]
fn plus_signs_are_spaces_in_web_addresses_and_queries_only() {
    for (text, expected) in [
        (
            "https://b.s3.amazonaws.com/x+y/wet+road%2B1.png?X-Amz-Expires=60",
            &["x+y/wet+road%2B1.png", "x+y/wet+road+1.png", "x y/wet road+1.png"][..],
        ),
        ("/data/local-files/?d=a+b.png", &["a+b.png", "a b.png"]),
        ("http://ls:8080/data/local-files/?d=a+b.png", &["a+b.png", "a b.png"]),
        ("s3://b/a+b.png", &["b/a+b.png"]),
        ("set/a+b.png", &["set/a+b.png"]),
        ("/data/upload/1/a0cba9f4-a+b.png", &["data/upload/1/a0cba9f4-a+b.png"]),
    ] {
        assert_eq!(readings(text), expected, "{text}");
    }
}

#[test]
fn uploads_are_known_by_the_place_where_label_studio_puts_them() {
    for text in [
        "/data/upload/1/a0cba9f4-a.png",
        "/data/upload/a0cba9f4-a.png",
        "/label-studio/data/upload/12/a0cba9f4-a.png",
        "https://ls.example.com/sub/data/upload/3/a0cba9f4-a.png",
        "../lsrun/data/media/upload/1/a0cba9f4-a.png",
        r"C:\label-studio\media\upload\1\a0cba9f4-a.png",
        "/label-studio/data/media/upload/1/a0cba9f4-a.png",
        "upload/3/a0cba9f4-a.png",
    ] {
        assert!(is_upload(text), "{text}");
    }
    for text in [
        "s3://bucket/cam/20260102-a.png",
        "s3://bucket/data/upload/1/20260102-a.png",
        "gs://bucket/upload/1/20260102-a.png",
        "https://cdn.example.com/upload/1/20260102-a.png",
        "https://cdn.example.com/data/upload/2026/01/20260102-a.png",
        "/data/local-files/?d=data/upload/1/20260102-a.png",
        "/tasks/12/resolve/?fileuri=s3://b/upload/1/20260102-a.png",
        "/mnt/upload/1/20260102-a.png",
        "images/20260102-a.png",
        "images/3/a0cba9f4-a.png",
        "upload/20260102-a.png",
        "20260102-a.png",
    ] {
        assert!(!is_upload(text), "{text}");
    }
    let is_exported_upload = |text| {
        FileReference::parse_exported_name(text).unwrap().readings().last().unwrap().is_upload
    };
    for text in ["a0cba9f4-a.png", "images/a0cba9f4-a.png", r"images\3\a0cba9f4-a.png"] {
        assert!(is_exported_upload(text), "{text}");
    }
    for text in ["images/a.png", "images/20260102-a.png", "s3://b/a0cba9f4-a.png"] {
        assert!(!is_exported_upload(text), "{text}");
    }
}

#[test]
fn data_urls_are_told_from_files() {
    for text in [
        "data:image/png;base64,iVBORw0KGgo=",
        " DATA:image/jpeg,xyz",
        "data:application/octet-stream;base64,AAAA",
    ] {
        assert!(is_data_url(text) && FileReference::parse(text).is_none(), "{text}");
    }
    for text in ["data/upload/1/a.png", "data:a.png", "data:", "dätä:image/", "/data/a.png"] {
        assert!(!is_data_url(text), "{text}");
    }
}

#[test]
fn names_in_two_normalizations_may_be_one_file() {
    let parse = |text| FileReference::parse(text).unwrap();
    assert!(!parse("s3://b/caf\u{e9}.png").may_match(&parse("day/cafe\u{301}.png")));
    assert!(parse("s3://b/day/caf\u{e9}.png").may_match(&parse("day/cafe\u{301}.png")));
}
