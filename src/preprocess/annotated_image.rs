//! One image and its annotations, and what becomes of them.

use std::fs;

use super::file_index::{FileIndex, file_extension};
use super::output::OutputFolder;
use super::rasterize::{RasterizeOptions, RasterizedMask, majority_vote};
use super::select::Annotation;
use super::sources::SkippedEntry;
use crate::annotations::split::DatasetSplit;
use crate::error::{Error, Result};
use crate::files;
use crate::imaging::{LazyImage, Region, encode_mask_with_colors};

/// An image with the annotations that count.
#[derive(Debug)]
pub(super) struct AnnotatedImage {
    /// Its number.
    pub image_index: usize,
    /// Its path below the folder of images.
    pub key: String,
    /// What it and its mask are called, without extension.
    pub name: String,
    /// Where it goes.
    pub split: DatasetSplit,
    /// One, or several that vote.
    pub annotations: Vec<Annotation>,
}

/// What became of an item.
#[derive(Debug)]
pub(super) enum ImageOutcome {
    /// Image and mask are there.
    Written(WrittenSample),
    /// It was left out.
    Skipped(SkippedEntry),
}

/// A mask.
#[derive(Debug)]
pub(super) struct WrittenSample {
    /// The image's path below the output.
    pub image_path: String,
    /// The mask's.
    pub mask_path: String,
    /// Pixels by class, of the classes that occur.
    pub pixel_counts: Vec<(u8, u64)>,
    /// Regions that are not in it, with the reasons.
    pub left_out: Vec<String>,
}

impl ImageOutcome {
    /// What was written, if it was.
    pub(super) fn as_written(&self) -> Option<&WrittenSample> {
        match self {
            Self::Written(written) => Some(written),
            Self::Skipped(_) => None,
        }
    }
}

impl AnnotatedImage {
    /// Reads the image, draws its mask and writes both. What is wrong with the image or with its annotation is an
    /// outcome; what is wrong with the output is an error.
    pub(super) fn write_sample(
        &self,
        (images, output): (&FileIndex, &OutputFolder),
        options: RasterizeOptions<'_>,
        skip_empty: bool,
    ) -> Result<ImageOutcome> {
        let skip_with_fault = |reason: String| {
            Ok(ImageOutcome::Skipped(SkippedEntry::fault(self.key.clone(), reason)))
        };
        let path = images.path(self.image_index);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) => return skip_with_fault(Error::io("read", &path, &cause).to_string()),
        };
        let size = match check_image(&bytes, options) {
            Ok(size) => size,
            Err(message) => return skip_with_fault(format!("the image is {message}")),
        };
        let mut masks = Vec::new();
        let mut left_out = Vec::new();
        for annotation in &self.annotations {
            match annotation.mask_source.rasterize(size, options) {
                Ok(RasterizedMask { class_ids, left_out: skipped_regions }) => {
                    masks.push(class_ids);
                    left_out.extend(skipped_regions);
                }
                Err(message) => {
                    return skip_with_fault(format!("{}: {message}", annotation.location));
                }
            }
        }
        let Some(class_ids) = majority_vote(masks) else {
            return Err(Error::internal(format!("{} has no annotation", self.key)));
        };
        let pixel_counts = count_pixels(class_ids.as_raw());
        if skip_empty && pixel_counts.iter().all(|(id, _)| *id == 0) {
            let reason = "nothing was drawn on it (--skip-empty)";
            return Ok(ImageOutcome::Skipped(SkippedEntry::expected(self.key.clone(), reason)));
        }
        let image_path = format!(
            "{}/{}{}",
            self.split.channel(),
            self.name,
            output_extension(&self.key, &bytes)
        );
        let mask_path = format!("{}/{}.png", self.split.annotation_channel(), self.name);
        let mask_file = output.root().join(&mask_path);
        if let Some(folder) = mask_file.parent() {
            files::create_folder(folder)?;
        }
        files::write_without_sync(
            &mask_file,
            &encode_mask_with_colors(&class_ids, |id| options.classes.color(id)),
        )?;
        output.link_or_copy_image(&path, &bytes, &output.root().join(&image_path))?;
        Ok(ImageOutcome::Written(WrittenSample { image_path, mask_path, pixel_counts, left_out }))
    }
}

/// The extension of a written image: its own if `train` takes that, else the one of its content.
fn output_extension<'a>(key: &'a str, bytes: &[u8]) -> &'a str {
    let own_extension = file_extension(key);
    if [".jpg", ".jpeg", ".png"].iter().any(|known| own_extension.eq_ignore_ascii_case(known)) {
        own_extension
    } else if bytes.starts_with(b"\x89PNG") {
        ".png"
    } else {
        ".jpg"
    }
}

/// The upright size of an image whose data are whole. All of it is decoded, of a JPEG at an eighth of its size, which is the
/// quickest way to see damage that training would stop at.
fn check_image(bytes: &[u8], options: RasterizeOptions<'_>) -> Result<(u32, u32), String> {
    let picture = LazyImage::open(bytes, options.limits).map_err(|error| error.to_string())?;
    let (width, height) = picture.dimensions();
    let region = Region::whole(width, height);
    picture
        .crop_and_resize(region, (width / 8).max(1), (height / 8).max(1))
        .map_err(|error| error.to_string())?;
    Ok((width, height))
}

/// Pixels by id, of the ids that occur.
fn count_pixels(class_ids: &[u8]) -> Vec<(u8, u64)> {
    let mut counts = [0_u64; 256];
    // Neighbors are mostly equal.
    let (chunks, rest) = class_ids.as_chunks::<16>();
    for chunk in chunks {
        if *chunk == [chunk[0]; 16] {
            counts[usize::from(chunk[0])] += 16;
        } else {
            for &id in chunk {
                counts[usize::from(id)] += 1;
            }
        }
    }
    for &id in rest {
        counts[usize::from(id)] += 1;
    }
    (0..=u8::MAX).zip(counts).filter(|(_, pixels)| *pixels > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_get_an_extension_that_training_takes() {
        for (key, bytes, expected) in [
            ("a/b.JPG", &b"\xff\xd8"[..], ".JPG"),
            ("a/b.png", b"\xff\xd8", ".png"),
            ("a.d/b", b"\x89PNG\r", ".png"),
            ("b.jfif", b"\xff\xd8", ".jpg"),
        ] {
            assert_eq!(output_extension(key, bytes), expected, "{key}");
        }
    }

    #[test]
    fn pixels_are_counted_whatever_their_number() {
        assert_eq!(count_pixels(&[]), []);
        assert_eq!(count_pixels(&[7]), [(7, 1)]);
        let ids: Vec<u8> = (0..1003).map(|n| if n % 3 == 0 { 255 } else { 1 }).collect();
        assert_eq!(count_pixels(&ids), [(1, 668), (255, 335)]);
        assert_eq!(count_pixels(&[[3; 40], [4; 40]].concat()), [(3, 40), (4, 40)]);
    }
}
