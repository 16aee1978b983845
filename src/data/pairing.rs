//! Samples of two folders: images and their masks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Sample;
use crate::error::{Problems, did_you_mean, join_examples, pluralize};
use crate::files;
use crate::sagemaker::channels::SplitFolders;

/// Pairs the images of a split with their masks by path and stem, sorted by key. An image without
/// such a mask may have one that is named after the whole name of its file (`a.jpg.png`), or one
/// whose name is equal but for Unicode normalization.
///
/// Every image without a mask, mask without an image, unusable file and ambiguous name is a
/// problem. The pairs that exist are returned all the same, so that the audit can check them too.
pub fn pair_images_and_masks(split: &SplitFolders, problems: &mut Problems) -> Vec<Sample> {
    check_preprocess_finished(split, problems);
    let images_by_key = list_files_by_key(&split.images, problems);
    let mut masks_by_key = list_files_by_key(&split.masks, problems);
    let (image_channel, mask_channel) = (split.name, format!("{}_annotation", split.name));
    if images_by_key.is_empty() {
        problems.push(format!(
            "channel {image_channel} holds no images: {} is empty; allowed: JPEG and PNG files",
            split.images.display()
        ));
    }
    let mut pairs: BTreeMap<String, ImageAndMask> = BTreeMap::new();
    let mut remaining_images = BTreeMap::new();
    for (key, image) in images_by_key {
        match masks_by_key.remove(&key) {
            Some(mask) => {
                pairs.insert(key, ImageAndMask { image, mask });
            }
            None => {
                remaining_images.insert(key, image);
            }
        }
    }
    pair_by_other_names(&mut remaining_images, &mut masks_by_key, &mut pairs);
    let mut samples = Vec::new();
    for (key, ImageAndMask { image, mask }) in pairs {
        let (image, mask) = (image.into(), mask.into());
        samples.push(Sample { key, image, mask, label_map: None, color_map: None });
    }
    let unmatched_images: Vec<String> = remaining_images.into_keys().collect();
    let unmatched_masks: Vec<String> = masks_by_key.into_keys().collect();
    // Names that nearly match tell the user what to rename.
    let hint = match unmatched_images.first() {
        Some(key) => did_you_mean(key, unmatched_masks.iter().map(String::as_str)),
        None => String::new(),
    };
    if !unmatched_images.is_empty() {
        problems.push(format!(
            "channel {image_channel}: {} without a mask of the same name in {mask_channel}: {}{hint}",
            pluralize(unmatched_images.len(), "image"),
            join_examples(unmatched_images.iter().cloned())
        ));
    }
    if !unmatched_masks.is_empty() {
        problems.push(format!(
            "channel {mask_channel}: {} without an image of the same name in {image_channel}: {}",
            pluralize(unmatched_masks.len(), "mask"),
            join_examples(unmatched_masks.iter().cloned())
        ));
    }
    samples
}

/// Paths of an image and its mask.
struct ImageAndMask {
    image: PathBuf,
    mask: PathBuf,
}

/// Moves images whose masks have none of their plain names to `pairs`, with these masks. First
/// those are taken that are named after the image's whole name, and then those whose name is equal
/// but for Unicode normalization, if only one image and one mask have it.
fn pair_by_other_names(
    images: &mut BTreeMap<String, PathBuf>,
    masks: &mut BTreeMap<String, PathBuf>,
    pairs: &mut BTreeMap<String, ImageAndMask>,
) {
    let mut pairs_of_keys = Vec::new();
    for (key, image) in images.iter() {
        let whole_name = whole_name(key, image);
        if masks.contains_key(&whole_name) {
            pairs_of_keys.push([key.clone(), whole_name]);
        }
    }
    move_pairs(&pairs_of_keys, images, masks, pairs);

    let image_keys = keys_by_normalized_name(images.keys().map(|key| [key.clone(), key.clone()]));
    let whole_names = images.iter().map(|(key, image)| [whole_name(key, image), key.clone()]);
    let image_keys_by_whole_name = keys_by_normalized_name(whole_names);
    let mask_keys = keys_by_normalized_name(masks.keys().map(|key| [key.clone(), key.clone()]));
    let mut pairs_of_keys = Vec::new();
    for image_keys in [image_keys, image_keys_by_whole_name] {
        for (name, image_keys) in image_keys {
            if let ([image], Some([mask])) =
                (&image_keys[..], mask_keys.get(&name).map(Vec::as_slice))
            {
                pairs_of_keys.push([image.clone(), mask.clone()]);
            }
        }
    }
    move_pairs(&pairs_of_keys, images, masks, pairs);
}

/// Moves pairs, of which the keys of image and mask are given, unless one of the two has moved
/// before.
fn move_pairs(
    pairs_of_keys: &[[String; 2]],
    images: &mut BTreeMap<String, PathBuf>,
    masks: &mut BTreeMap<String, PathBuf>,
    pairs: &mut BTreeMap<String, ImageAndMask>,
) {
    for [image_key, mask_key] in pairs_of_keys {
        if let (Some(image), Some(mask)) = (images.get(image_key), masks.get(mask_key)) {
            let pair = ImageAndMask { image: image.clone(), mask: mask.clone() };
            pairs.insert(image_key.clone(), pair);
            images.remove(image_key);
            masks.remove(mask_key);
        }
    }
}

/// Returns the path of an image below its folder with its extension: `sub/a.jpg` for the key
/// `sub/a`.
fn whole_name(key: &str, image: &Path) -> String {
    match image.extension().and_then(|extension| extension.to_str()) {
        Some(extension) => format!("{key}.{extension}"),
        None => key.to_owned(),
    }
}

/// Groups keys by the names that are given with them, name first, in Unicode's composed form.
fn keys_by_normalized_name(
    names_with_keys: impl Iterator<Item = [String; 2]>,
) -> BTreeMap<String, Vec<String>> {
    let mut keys_by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for [name, key] in names_with_keys {
        keys_by_name.entry(files::normalize_name(&name).into_owned()).or_default().push(key);
    }
    keys_by_name
}

/// Checks that `preprocess` finished both folders. Training could not tell its unfinished folders
/// from a smaller data set.
fn check_preprocess_finished(split: &SplitFolders, problems: &mut Problems) {
    let annotation = format!("{}_annotation", split.name);
    for (name, folder) in [(split.name, &split.images), (annotation.as_str(), &split.masks)] {
        if folder.join(files::UNFINISHED_MARKER).exists() {
            problems.push(format!(
                "channel {name} is not complete: {} says that preprocess was interrupted, or refused what it found; \
                 run preprocess again until it ends without an error",
                folder.join(files::UNFINISHED_MARKER).display()
            ));
        }
    }
}

/// Lists every image of a folder by its path without extension.
fn list_files_by_key(folder: &Path, problems: &mut Problems) -> BTreeMap<String, PathBuf> {
    let mut paths = Vec::new();
    files::visit_files(folder, problems, &mut |path, size_bytes| {
        // Objects without bytes stand for folders in S3.
        if size_bytes > 0 || is_image(&path) {
            paths.push(path);
        }
    });
    paths.sort();
    let mut paths_by_key: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut other_files = Vec::new();
    for path in paths {
        let relative_path = path.strip_prefix(folder).unwrap_or(&path);
        let Some(key) = relative_path.with_extension("").to_str().map(str::to_owned) else {
            problems.push(format!("{}: the name is not UTF-8; rename it", path.display()));
            continue;
        };
        if !is_image(&path) {
            other_files.push(relative_path.display().to_string());
            continue;
        }
        if let Some(other) = paths_by_key.get(&key) {
            problems.push(format!(
                "{} and {} have the same name but for the extension; keep one",
                other.display(),
                path.display()
            ));
        }
        paths_by_key.insert(key, path);
    }
    if !other_files.is_empty() {
        problems.push(format!(
            "{} holds {} not named .jpg, .jpeg or .png: {}; remove or rename",
            folder.display(),
            pluralize(other_files.len(), "file"),
            join_examples(other_files.iter().cloned())
        ));
    }
    paths_by_key
}

fn is_image(path: &Path) -> bool {
    let Some(extension) = path.extension() else { return false };
    ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::Result;

    fn pair_split(split: &SplitFolders) -> Result<Vec<Sample>> {
        let mut problems = Problems::new();
        let samples = pair_images_and_masks(split, &mut problems);
        problems.into_result().map(|()| samples)
    }

    fn split(images: &[&str], masks: &[&str]) -> (tempfile::TempDir, SplitFolders) {
        let folder = tempfile::tempdir().unwrap();
        let split = SplitFolders {
            name: "train",
            images: folder.path().join("train"),
            masks: folder.path().join("train_annotation"),
        };
        for (channel, names) in [(&split.images, images), (&split.masks, masks)] {
            fs::create_dir_all(channel).unwrap();
            for name in names {
                let path = channel.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let empty = name.ends_with('0') || name.starts_with('_');
                fs::write(path, if empty { "" } else { "x" }).unwrap();
            }
        }
        (folder, split)
    }

    #[test]
    fn pairs_match_by_path_and_stem_whatever_the_extension_and_noise_is_ignored() {
        let (_folder, split) = split(
            &["a.JPG", "b.jpeg", "sub/a.png", ".DS_Store", "_SUCCESS", "folder0"],
            &["a.png", "b.png", "sub/a.png", ".hidden/c.png"],
        );
        let keys: Vec<_> =
            pair_split(&split).unwrap().into_iter().map(|sample| sample.key).collect();
        assert_eq!(keys, ["a", "b", "sub/a"]);
    }

    #[test]
    fn masks_may_be_named_after_the_whole_name_of_their_images() {
        let (_folder, pairs) = split(
            &["a.jpg", "b.JPEG", "sub/c.png", "d.jpg", "d.jpg.png"],
            &["a.jpg.png", "b.JPEG.png", "sub/c.png.png", "d.png", "d.jpg.png"],
        );
        let mut pairs_of_names = Vec::new();
        for sample in pair_split(&pairs).unwrap() {
            pairs_of_names.push(format!("{:?} {:?}", sample.image, sample.mask));
        }
        assert_eq!(pairs_of_names.len(), 5);
        for (found, [image, mask]) in pairs_of_names.iter().zip([
            ["a.jpg", "a.jpg.png"],
            ["b.JPEG", "b.JPEG.png"],
            ["d.jpg", "d.png"],
            ["d.jpg.png", "d.jpg.png"],
            ["sub/c.png", "sub/c.png.png"],
        ]) {
            let ends = found.contains(&format!("train/{image}\""))
                && found.contains(&format!("train_annotation/{mask}\""));
            assert!(ends, "{found}");
        }
        // A mask of the plain name leaves the other one without an image.
        let (_folder, two_masks) = split(&["a.jpg"], &["a.png", "a.jpg.png"]);
        let text = pair_split(&two_masks).unwrap_err().to_string();
        assert!(
            text.contains("1 mask without an image of the same name in train: a.jpg"),
            "{text}"
        );
    }

    #[test]
    fn names_that_differ_in_their_normalization_are_paired_if_there_are_no_others() {
        let (_folder, one_each) = split(
            &["caf\u{e9}.jpg", "e\u{301}te\u{301}.jpg"],
            &["cafe\u{301}.png", "\u{e9}t\u{e9}.jpg.png"],
        );
        assert_eq!(pair_split(&one_each).unwrap().len(), 2);
        // The file of the exact name counts, and the other one has no partner.
        let (_folder, two_masks) = split(&["caf\u{e9}.jpg"], &["caf\u{e9}.png", "cafe\u{301}.png"]);
        let text = pair_split(&two_masks).unwrap_err().to_string();
        assert!(text.contains("1 mask without an image"), "{text}");
    }

    #[test]
    fn channels_that_preprocess_did_not_finish_are_refused() {
        let (_folder, split) = split(&["a.jpg"], &["a.png"]);
        for (name, channel) in [("train", &split.images), ("train_annotation", &split.masks)] {
            let mark = channel.join(files::UNFINISHED_MARKER);
            fs::write(&mark, "").unwrap();
            let error = pair_split(&split).unwrap_err();
            let said = error.problems();
            assert_eq!(said.len(), 1);
            assert!(said[0].starts_with(&format!("channel {name} is not complete: ")), "{said:?}");
            assert!(said[0].contains("run preprocess again"), "{said:?}");
            fs::remove_file(mark).unwrap();
        }
        pair_split(&split).unwrap();
    }

    #[test]
    fn images_without_masks_and_masks_without_images_are_both_listed() {
        let (_folder, split) = split(&["a.jpg", "street_1.jpg"], &["a.png", "street1.png"]);
        let error = pair_split(&split).unwrap_err();
        assert_eq!(
            error.problems(),
            [
                "channel train: 1 image without a mask of the same name in train_annotation: street_1 \
             (did you mean \"street1\"?)",
                "channel train_annotation: 1 mask without an image of the same name in train: street1",
            ]
        );
    }

    #[test]
    fn foreign_files_dangling_links_and_fifos_are_named_together_and_do_not_hang() {
        let (_folder, split) = split(&["a.jpg", "readme.txt", "_SUCCESSFUL.jpg"], &["a.png"]);
        std::os::unix::fs::symlink("nowhere", split.images.join("b.jpg")).unwrap();
        let fifo = split.images.join("pipe.jpg");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let text = pair_split(&split).unwrap_err().to_string();
        for said in [
            "1 file not named .jpg, .jpeg or .png: readme.txt",
            "b.jpg: No such file",
            "pipe.jpg is neither a file nor a folder",
            "1 image without a mask of the same name in train_annotation: _SUCCESSFUL",
        ] {
            assert!(text.contains(said), "{text}");
        }
    }

    #[test]
    fn long_lists_are_counted() {
        let names: Vec<String> = (10..20).map(|i| format!("i{i}x.jpg")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_folder, split) = split(&names, &[]);
        let text = pair_split(&split).unwrap_err().to_string();
        assert!(text.contains("10 images without a mask"), "{text}");
        assert!(text.contains("i14x and 5 more"), "{text}");
    }

    #[test]
    fn an_empty_channel_and_two_files_of_one_stem_are_problems() {
        let (_folder, empty) = split(&[], &[]);
        assert!(
            pair_split(&empty).unwrap_err().to_string().contains("channel train holds no images")
        );
        let mut problems = Problems::new();
        problems.push("another split is wrong too");
        pair_images_and_masks(&empty, &mut problems);
        assert_eq!(problems.into_result().unwrap_err().problems().len(), 2);
        let (_folder, twice) = split(&["a.jpg", "a.png"], &["a.png"]);
        assert!(
            pair_split(&twice).unwrap_err().to_string().contains("same name but for the extension")
        );
    }
}
