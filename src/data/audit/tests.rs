use super::*;
use crate::data::pairing::pair_images_and_masks;
use crate::error::Result;
use crate::imaging::{encode_jpeg, encode_mask};
use crate::sagemaker::channels::SplitFolders;
use image::{GrayImage, Luma, RgbImage};
use std::path::Path;

/// Writes an image and a mask whose pixels run through `values`.
fn write_pair(folder: &Path, name: &str, size: (u32, u32), values: &[u8]) {
    let image = RgbImage::from_fn(size.0, size.1, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let mut index = 0;
    let mask = GrayImage::from_fn(size.0, size.1, |_, _| {
        index += 1;
        Luma([values[index % values.len()]])
    });
    for (channel, file, bytes) in [
        ("train", format!("{name}.jpg"), encode_jpeg(&image, 90)),
        ("train_annotation", format!("{name}.png"), encode_mask(&mask)),
    ] {
        std::fs::create_dir_all(folder.join(channel)).unwrap();
        std::fs::write(folder.join(channel).join(file), bytes).unwrap();
    }
}

fn audit_train(folder: &Path) -> Result<Audit> {
    let split = SplitFolders {
        name: "train",
        images: folder.join("train"),
        masks: folder.join("train_annotation"),
    };
    let mut problems = Problems::new();
    let samples = pair_images_and_masks(&split, &mut problems);
    let audit =
        audit_samples(&SplitDescription::for_folders("train"), &samples, 4, &mut problems, || true);
    audit.check_learnable(&SplitDescription::for_folders("train"), &mut problems);
    problems.into_result().map(|()| audit)
}

fn audit_problems(folder: &Path) -> Vec<String> {
    audit_train(folder).unwrap_err().problems().to_vec()
}

#[test]
fn good_data_pass_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", (8, 4), &[0, 1, 255, 3]);
    let audit = audit_train(folder.path()).unwrap();
    assert_eq!((audit.histogram[1], audit.histogram[2], audit.histogram[255]), (8, 0, 8));
    assert_eq!(audit.size_range, Some(SizeRange { width: (8, 8), height: (4, 4) }));
    write_pair(folder.path(), "b", (2, 6), &[0]);
    write_pair(folder.path(), "c", (5, 5), &[0]);
    let audit = audit_train(folder.path()).unwrap();
    assert_eq!(audit.size_range, Some(SizeRange { width: (2, 8), height: (4, 6) }));
}

#[test]
fn ids_beyond_num_classes_come_with_a_histogram() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", (4, 2), &[0, 1]);
    write_pair(folder.path(), "b", (4, 2), &[4, 7]);
    assert_eq!(
        audit_problems(folder.path()),
        [
            "channel train_annotation: 1 mask has class ids outside num_classes 4: allowed are 0 to 3 \
         and 255 (ignored); pixels found per value: 0: 4, 1: 4, 4: 4, 7: 4; in b"
        ]
    );
}

#[test]
fn messages_name_the_stream_or_the_manifests_attribute() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", (4, 2), &[4, 7]);
    let split = SplitFolders {
        name: "train",
        images: folder.path().join("train"),
        masks: folder.path().join("train_annotation"),
    };
    let samples = pair_images_and_masks(&split, &mut Problems::new());
    let path = Path::new("/opt/ml/input/data/train_0");
    for (subject, name) in [
        (
            SplitDescription::for_stream("train", path),
            "channel train, annotations in train_0: 1 mask has class",
        ),
        (
            SplitDescription::for_manifest("train", path, Some("x-ref")),
            "channel train, x-ref in train_0: 1 mask",
        ),
    ] {
        let mut problems = Problems::new();
        audit_samples(&subject, &samples, 4, &mut problems, || true);
        let found = problems.into_result().unwrap_err();
        assert!(found.to_string().starts_with(name), "{found}");
    }
}

#[test]
fn a_binary_mask_of_0_and_255_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", (4, 2), &[0, 255]);
    let found = audit_problems(folder.path());
    assert!(found[0].contains("only the values 0 and 255 (0: 4, 255: 4)"), "{found:?}");
    assert!(found[0].contains("write the foreground as 1"), "{found:?}");
}

#[test]
fn a_binary_mask_with_smoothed_edges_is_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = vec![0; 30];
    values.extend([255; 29]);
    values.push(128);
    write_pair(folder.path(), "a", (60, 4), &values);
    let found = audit_problems(folder.path());
    assert!(found[0].contains("128: 4"), "{found:?}");
    assert!(found[0].contains("if these are binary masks"), "{found:?}");
}

#[test]
fn masks_without_a_single_counted_pixel_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", (4, 2), &[255]);
    assert!(audit_problems(folder.path())[0].contains("there is nothing to learn"));
}

#[test]
fn sizes_that_differ_are_named_and_a_turned_mask_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", (8, 4), &[1]);
    let turned = encode_mask(&GrayImage::new(4, 8));
    std::fs::write(folder.path().join("train_annotation/a.png"), turned).unwrap();
    let found = audit_problems(folder.path());
    assert!(found[0].contains("a.png is 4x8, the image 8x4"), "{found:?}");
    assert!(found[0].contains("EXIF"), "{found:?}");
}

#[test]
fn truncated_and_foreign_files_are_named_together() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        write_pair(folder.path(), name, (32, 32), &[0, 1]);
    }
    let jpeg = folder.path().join("train/a.jpg");
    let bytes = std::fs::read(&jpeg).unwrap();
    std::fs::write(&jpeg, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(folder.path().join("train/b.jpg"), "hello").unwrap();
    std::fs::write(folder.path().join("train_annotation/c.png"), "").unwrap();
    let found = audit_problems(folder.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("3 files cannot be read"), "{found:?}");
    for name in ["a.jpg", "b.jpg", "c.png"] {
        assert!(found[0].contains(name), "{found:?}");
    }
}

#[test]
fn an_annotation_channel_of_photographs_is_recognized() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", (32, 32), &[0, 1]);
    std::fs::remove_file(folder.path().join("train_annotation/a.png")).unwrap();
    std::fs::copy(folder.path().join("train/a.jpg"), folder.path().join("train_annotation/a.jpg"))
        .unwrap();
    let found = audit_problems(folder.path());
    assert!(found[0].contains("1 mask is not of class ids"), "{found:?}");
    assert!(found[0].contains("does its S3 URI point at the images of train?"), "{found:?}");
}

#[test]
fn masks_that_hold_only_the_ignored_value_are_told_among_others() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", (8, 4), &[0, 1, 2, 3]);
    write_pair(folder.path(), "b", (8, 4), &[0, 255]);
    write_pair(folder.path(), "c", (8, 4), &[255, 1]);
    let audit = audit_train(folder.path()).unwrap();
    assert_eq!(audit.only_ignored, ["b"]);
    let warnings = audit.warnings(&SplitDescription::for_folders("train"), 3);
    assert_eq!(
        warnings,
        [
            "channel train_annotation: in 1 of 3 masks 255 is the only value beside 0, and 255 means \
          \"ignored\", so nothing is learned from what it marks; if it is the foreground, write it \
          as the id of its class: b"
        ]
    );
}

#[test]
fn a_validation_split_of_binary_masks_is_told() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", (8, 4), &[0, 255]);
    let split = SplitFolders {
        name: "train",
        images: folder.path().join("train"),
        masks: folder.path().join("train_annotation"),
    };
    let mut problems = Problems::new();
    let samples = pair_images_and_masks(&split, &mut problems);
    let validation = SplitDescription::for_folders("validation");
    let audit = audit_samples(&validation, &samples, 4, &mut problems, || true);
    assert!(audit.warnings(&validation, 1)[0].contains("in 1 of 1 mask 255 is the only value"));
    // In the training split it is a problem already.
    assert!(audit.warnings(&SplitDescription::for_folders("train"), 1).is_empty());
}

#[test]
fn stretched_ids_come_with_the_label_map_that_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", (6, 2), &[0, 127, 254]);
    let found = audit_problems(folder.path());
    assert!(found[0].contains("stretched over the grays"), "{found:?}");
    assert!(found[0].ends_with("with train_label_map.json: {\"scale\": 127}"), "{found:?}");
    write_pair(folder.path(), "a", (6, 2), &[0, 128, 255]);
    let found = audit_problems(folder.path());
    assert!(found[0].contains("(255 counts as ignored): divide them by 127"), "{found:?}");
}

#[test]
fn every_sample_has_its_digests_in_the_order_of_the_samples() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..40 {
        write_pair(folder.path(), &format!("{index:02}"), (8 + index, 8), &[0, 1, 2]);
    }
    let audit = audit_train(folder.path()).unwrap();
    assert_eq!(audit.digests.len(), 40);
    for (index, digest) in audit.digests.iter().enumerate() {
        let image = std::fs::read(folder.path().join(format!("train/{index:02}.jpg"))).unwrap();
        let mask = folder.path().join(format!("train_annotation/{index:02}.png"));
        let expected = SampleDigest::new(&image, None, &std::fs::read(mask).unwrap());
        assert_eq!(*digest, expected, "{index}");
    }
}
