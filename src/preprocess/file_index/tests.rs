use super::*;

fn images(names: &[&str]) -> (tempfile::TempDir, FileIndex) {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let mut problems = Problems::new();
    let images = FileIndex::from_folder(folder.path(), &StopSignal::default(), &mut problems);
    problems.into_result().unwrap();
    (folder, images)
}

fn find_key(images: &FileIndex, reference: &str) -> Result<String, NotFound> {
    images
        .find(&FileReference::parse(reference).unwrap(), false)
        .map(|found| images.key(found.file_index))
}

#[test]
fn the_longest_common_end_decides() {
    let (_folder, images) = images(&[
        "a.jpg",
        "set1/b.jpg",
        "set2/b.jpg",
        "x/set1/c.jpg",
        "y/set1/c.jpg",
        "d/d.jpg",
        "d.jpg",
    ]);
    for (reference, expected) in [
        ("s3://bucket/images/a.jpg", "a.jpg"),
        ("s3://bucket/set2/b.jpg", "set2/b.jpg"),
        ("/data/local-files/?d=y/set1/c.jpg", "y/set1/c.jpg"),
        ("d.jpg", "d.jpg"),
        ("s3://bucket/d/d.jpg", "d/d.jpg"),
    ] {
        assert_eq!(find_key(&images, reference).as_deref(), Ok(expected), "{reference}");
    }
    let ambiguous = |paths: [&str; 2], are_elsewhere| {
        let paths = paths.map(str::to_owned).to_vec();
        Err(NotFound::Ambiguous { paths, are_elsewhere })
    };
    let found = find_key(&images, "s3://bucket/b.jpg");
    assert_eq!(found, ambiguous(["set1/b.jpg", "set2/b.jpg"], false));
    let found = find_key(&images, "z/set1/c.jpg");
    assert_eq!(found, ambiguous(["x/set1/c.jpg", "y/set1/c.jpg"], true));
    assert_eq!(find_key(&images, "s3://bucket/e.jpg"), Err(NotFound::Missing));
    // References cannot leave the folder.
    assert_eq!(find_key(&images, "../../../../etc/passwd"), Err(NotFound::Missing));
}

#[test]
fn another_folder_than_the_reference_says_is_noticed_and_may_be_refused() {
    let (_folder, images) = images(&["x/a.jpg", "y/a.jpg", "x/b.jpg", "c.jpg"]);
    let find_match = |reference: &str, strictly| {
        images.find(&FileReference::parse(reference).unwrap(), strictly)
    };
    for (reference, is_other_folder, is_refused) in [
        ("s3://bucket/x/b.jpg", false, false),
        // Another instance may have an image of that name in another folder.
        ("s3://bucket/b.jpg", false, true),
        ("/data/upload/1/0123abcd-b.jpg", false, true),
        ("/data/upload/1/0123abcd-c.jpg", false, false),
        ("s3://bucket/any/where/c.jpg", false, false),
        ("s3://bucket/z/b.jpg", true, true),
    ] {
        assert_eq!(
            find_match(reference, false).unwrap().is_other_folder,
            is_other_folder,
            "{reference}"
        );
        assert_eq!(find_match(reference, true).is_err(), is_refused, "{reference}");
    }
    let other_folder = Err(NotFound::OtherFolder("x/a.jpg".to_owned()));
    assert_eq!(find_match("s3://bucket/z/a.jpg", true), other_folder);
    assert!(matches!(
        find_match("s3://bucket/z/a.jpg", false),
        Err(NotFound::Ambiguous { are_elsewhere: true, .. })
    ));
    assert_eq!(
        images.find_same_path("z/b", true),
        Err(NotFound::OtherFolder("x/b.jpg".to_owned()))
    );
    assert_eq!(images.key(images.find_same_path("y/a", true).unwrap().file_index), "y/a.jpg");
}

#[test]
fn uploads_are_found_under_their_own_names() {
    let (_folder, images) = images(&["odd size ünïcode.png", "a.jpg", "deadbeef-b.jpg"]);
    for (reference, expected) in [
        ("/data/upload/1/ecb42193-odd_size_%C3%BCn%C3%AFcode.png", "odd size ünïcode.png"),
        ("/data/upload/1/a0cba9f4-a.jpg", "a.jpg"),
        ("/data/upload/1/deadbeef-b.jpg", "deadbeef-b.jpg"),
    ] {
        assert_eq!(find_key(&images, reference).as_deref(), Ok(expected), "{reference}");
    }
}

#[test]
fn masks_are_named_by_stem_and_keep_folders_where_stems_are_equal() {
    let (_folder, images) = images(&["b/x.jpg", "a/x.png", "c/y.jpg", "c/z.tar.jpg"]);
    let used: Vec<usize> = (0..4).collect();
    let mut problems = Problems::new();
    assert_eq!(images.mask_names(&used, &used, &[], &mut problems), ["a/x", "b/x", "y", "z.tar"]);
    // An instance with only a part of the images gives the same name.
    let other = FileReference::parse("s3://bucket/d/y.jpg").unwrap();
    assert_eq!(images.mask_names(&[2], &[2], &[other], &mut problems), ["c/y"]);
    problems.into_result().unwrap();
    assert_eq!(file_extension("c/z.tar.JPG"), ".JPG");
    assert_eq!(file_extension("c.d/z"), "");
}

#[test]
fn files_that_differ_in_their_extension_only_are_told() {
    let (_folder, images) = images(&["a/x.jpg", "a/x.png"]);
    let mut problems = Problems::new();
    images.mask_names(&[0, 1], &[0, 1], &[], &mut problems);
    let text = problems.into_result().unwrap_err().to_string();
    assert!(text.starts_with("a/x.jpg and a/x.png have the same name but for"), "{text}");
}

#[test]
fn the_right_folder_comes_before_the_literal_name() {
    let (_folder, images) = images(&["day2/a%20b.png", "day1/a b.png", "day3/c+d.png", "e/é.png"]);
    for (reference, expected) in [
        ("s3://b/day1/a%20b.png", "day1/a b.png"),
        ("s3://b/day2/a%20b.png", "day2/a%20b.png"),
        // No reading leads to a file in the right folder: the literal one counts.
        ("s3://b/day4/a%20b.png", "day2/a%20b.png"),
        ("https://h/day4/c+d.png", "day3/c+d.png"),
        ("s3://b/e/e\u{301}.png", "e/é.png"),
    ] {
        assert_eq!(find_key(&images, reference).as_deref(), Ok(expected), "{reference}");
    }
}

#[test]
fn several_files_in_wrong_folders_do_not_hide_one_in_the_right_folder() {
    // Label Studio writes folders of its local storages with percent signs.
    let (_folder, images) = images(&["near yards/yard.png", "far-yards/far/yard.png"]);
    let reference = "/data/local-files/?d=near%20yards/yard.png";
    assert_eq!(find_key(&images, reference).as_deref(), Ok("near yards/yard.png"));
    let elsewhere = "/data/local-files/?d=other%20yards/yard.png";
    assert!(matches!(find_key(&images, elsewhere), Err(NotFound::Ambiguous { .. })));
}

#[test]
fn folders_that_differ_in_their_normalization_are_one_unless_both_are_there() {
    let both = ["e\u{301}/a.png", "\u{e9}/a.png", "\u{e9}/b.png"];
    let (_folder, images) = images(&both);
    for (reference, expected) in [
        ("s3://b/e\u{301}/a.png", both[0]),
        ("s3://b/\u{e9}/a.png", both[1]),
        ("s3://b/e\u{301}/b.png", both[2]),
    ] {
        let found = images.find(&FileReference::parse(reference).unwrap(), true).unwrap();
        assert_eq!(images.key(found.file_index), expected);
    }
}

#[test]
fn masks_are_named_after_whole_names_only_where_no_stem_is_meant() {
    let (_folder, images) = images(&["a.jpg", "a.jpg.png", "b.jpg", "note.json"]);
    for (path, expected) in [("a.jpg", "a.jpg.png"), ("a", "a.jpg"), ("b.jpg", "b.jpg")] {
        let found = images.find_same_path(path, false).unwrap();
        assert_eq!(images.key(found.file_index), expected, "{path}");
        assert_eq!(found.is_whole_name, path == "b.jpg");
    }
    assert_eq!(images.find_same_path("note.json", false), Err(NotFound::Missing));
}

proptest::proptest! {
    #[test]
    fn a_file_is_found_by_its_own_name_whatever_others_there_are(
        names in proptest::collection::btree_set(r"[ab][ab0% +\\_é\x{301}-]{0,4}\.png", 1..12),
        prefix in proptest::sample::select(vec!["", "s3://b/", "/data/upload/1/", "https://h/", "/data/local-files/?d="]),
    ) {
        let paths = names.iter().map(|name| vec![name.clone()]).collect();
        let index = FileIndex::from_paths(Path::new("images"), paths);
        for name in &names {
            let reference = FileReference::parse(&format!("{prefix}{name}")).unwrap();
            let found = index.find(&reference, false).map(|found| index.key(found.file_index));
            proptest::prop_assert_eq!(found.as_ref(), Ok(name));
        }
    }
}
