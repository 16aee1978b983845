//! One image with its annotations, and the image file and mask file made from them.

use image::GrayImage;

use super::file_index::{FileIndex, file_extension};
use super::mask_file::MaskFindings;
use super::mask_union::{combine_masks, find_lost_regions, list_mask_classes};
use super::orientation::{AnnotatedAs, AnnotatedPicture, ImageGeometry};
use super::output::OutputFolder;
use super::painting::{DrawnRegion, RegionOutcomes};
use super::rasterize::{MaskSource, RasterizeOptions, RasterizedMask};
use super::select::{Annotation, AnnotationPolicy, count_regions};
use super::sources::SkippedEntry;
use crate::annotations::runs::Runs;
use crate::annotations::split::DatasetSplit;
use crate::error::{Error, Result, join_examples};
use crate::files;
use crate::imaging::{DecodeError, DecodeLimits, LazyImage, Region, encode_mask_with_colors};

/// Image with the annotations that make its mask.
#[derive(Debug)]
pub(super) struct AnnotatedImage {
    /// Index of the image in the `FileIndex` of images.
    pub image_index: usize,
    /// Path of the image below the folder of images, with `/`.
    pub key: String,
    /// Path of the written image and mask below their channels, without extension.
    pub name: String,
    pub split: DatasetSplit,
    /// One annotation, or several whose masks are combined.
    pub annotations: Vec<Annotation>,
    /// Way in which several masks are combined.
    pub policy: AnnotationPolicy,
}

/// Result of writing one image and its mask.
#[derive(Debug)]
pub(super) enum ImageOutcome {
    /// Image and mask were written.
    Written(WrittenSample),
    /// Nothing was written for the image.
    Skipped(SkippedEntry),
}

/// Image and mask as they were written.
#[derive(Debug)]
pub(super) struct WrittenSample {
    /// Path of the image below the output folder.
    pub image_path: String,
    /// Path of the mask below the output folder.
    pub mask_path: String,
    /// Class ids that occur in the mask, each with its number of pixels.
    pub pixel_counts: Vec<(u8, u64)>,
    pub regions: RegionOutcomes,
    /// True if nothing says whether the annotation was drawn on the upright picture.
    pub is_orientation_guessed: bool,
    /// Facts about the mask files that the mask was read from.
    pub findings: MaskFindings,
}

/// Masks of one image, one per annotation.
struct DrawnMasks {
    masks: Vec<GrayImage>,
    regions: RegionOutcomes,
    /// Regions that are to be seen in their own mask, if several masks are combined.
    visible: Vec<DrawnRegion>,
    /// True if nothing says whether a mask was drawn on the upright picture.
    is_orientation_guessed: bool,
    findings: MaskFindings,
}

impl AnnotatedImage {
    /// Reads the image, draws its mask and writes both. A fault of the image or of an annotation is
    /// an outcome; a fault of the output folder is an error.
    pub(super) fn write_sample(
        &self,
        images: &FileIndex,
        output: &OutputFolder,
        options: RasterizeOptions<'_>,
        skip_empty: bool,
    ) -> Result<ImageOutcome> {
        let path = images.path(self.image_index);
        let bytes = match files::read_file(&path) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(self.skip_with_fault(error.to_string())),
        };
        let DrawnMasks { masks, mut regions, visible, is_orientation_guessed, findings } =
            match self.draw_masks(&bytes, options) {
                Ok(drawn) => drawn,
                Err(reason) => return Ok(self.skip_with_fault(reason)),
            };
        let Some(class_ids) = combine_masks(masks, self.policy, options.classes) else {
            return Err(Error::internal(format!("{} has no annotation", self.key)));
        };
        let pixel_counts = count_pixels(class_ids.as_raw());
        if skip_empty && pixel_counts.iter().all(|(id, _)| *id == 0) {
            return Ok(self.skip_empty_image(regions));
        }
        regions.hidden.extend(find_lost_regions(&visible, &class_ids));
        // A mask of background alone is the same, however it is turned.
        let is_orientation_guessed =
            is_orientation_guessed && pixel_counts.iter().any(|(id, _)| *id != 0);
        let extension = output_extension(&self.key, &bytes);
        let image_path = format!("{}/{}{extension}", self.split.channel(), self.name);
        let mask_path = format!("{}/{}.png", self.split.annotation_channel(), self.name);
        let mask_file = output.root().join(&mask_path);
        if let Some(folder) = mask_file.parent() {
            files::create_folder(folder)?;
        }
        let encoded_mask = encode_mask_with_colors(&class_ids, |id| options.classes.color(id));
        files::write_without_sync(&mask_file, &encoded_mask)?;
        output.link_or_copy_image(&path, &bytes, &output.root().join(&image_path))?;
        Ok(ImageOutcome::Written(WrittenSample {
            image_path,
            mask_path,
            pixel_counts,
            regions,
            is_orientation_guessed,
            findings,
        }))
    }

    /// Skips an image whose mask is all background. Regions that could not be drawn are a fault.
    fn skip_empty_image(&self, mut regions: RegionOutcomes) -> ImageOutcome {
        if regions.left_out.is_empty() && regions.drawn == 0 {
            let reason = "nothing was drawn on it (--skip-empty)";
            return self.skip(SkippedEntry::expected(self.key.clone(), reason));
        }
        regions.left_out.append(&mut regions.hidden);
        if regions.left_out.is_empty() {
            let reason = "all of it is background (--skip-empty)";
            return self.skip(SkippedEntry::expected(self.key.clone(), reason));
        }
        let regions = join_examples(regions.left_out);
        self.skip_with_fault(format!("its mask is empty (--skip-empty): {regions}"))
    }

    fn skip_with_fault(&self, reason: String) -> ImageOutcome {
        self.skip(SkippedEntry::fault(self.key.clone(), reason))
    }

    /// Skips the image with all of its regions.
    fn skip(&self, entry: SkippedEntry) -> ImageOutcome {
        ImageOutcome::Skipped(entry.with_losses(1, count_regions(&self.annotations)))
    }

    /// Draws each annotation. The error is a fault of the image or of an annotation.
    fn draw_masks(
        &self,
        bytes: &[u8],
        options: RasterizeOptions<'_>,
    ) -> Result<DrawnMasks, String> {
        let geometry = match check_image(bytes, options.limits) {
            Ok(geometry) => geometry,
            Err(error) => return Err(format!("the image is {error}")),
        };
        let mut drawn = DrawnMasks {
            masks: Vec::new(),
            regions: RegionOutcomes::default(),
            visible: Vec::new(),
            is_orientation_guessed: false,
            findings: MaskFindings::default(),
        };
        for annotation in &self.annotations {
            let source = &annotation.mask_source;
            let mut annotated_as = AnnotatedAs::Upright;
            if !source.is_shown_upright() {
                annotated_as = options.annotated_as.unwrap_or(AnnotatedAs::Upright);
            }
            let picture = AnnotatedPicture { geometry, annotated_as };
            match source.rasterize(picture, options) {
                Ok(RasterizedMask { mut class_ids, regions, mut visible, findings }) => {
                    if annotated_as == AnnotatedAs::Stored {
                        class_ids = geometry.turn_upright(class_ids);
                        for region in &mut visible {
                            let turned = geometry.turn_upright(region.runs.to_mask());
                            region.runs = Runs::from_class(&turned, 1);
                        }
                    }
                    if self.annotations.len() > 1 {
                        if visible.is_empty() {
                            let location = &annotation.location;
                            visible = list_mask_classes(&class_ids, location, options.classes);
                        }
                        drawn.visible.append(&mut visible);
                    }
                    drawn.is_orientation_guessed |= !source.is_shown_upright()
                        && options.annotated_as.is_none()
                        && !findings.has_orientation
                        && geometry.is_hidden_by_size(source.states_size());
                    drawn.masks.push(class_ids);
                    drawn.regions.append(regions);
                    drawn.findings.add(findings);
                }
                Err(message) => return Err(describe_fault(annotation, &message)),
            }
        }
        Ok(drawn)
    }
}

/// Describes the fault of an annotation with its location, and with its mask file where the location
/// is a line of a manifest.
fn describe_fault(annotation: &Annotation, message: &str) -> String {
    let location = &annotation.location;
    if let MaskSource::Mask(path) | MaskSource::ColorMask { mask: path, .. } =
        &annotation.mask_source
    {
        let path = path.display().to_string();
        if !location.contains(&path) && !message.contains(&path) {
            return format!("{location}: {path} {message}");
        }
    }
    format!("{location}: {message}")
}

/// Returns the extension of a written image: its own if `train` accepts it, else the one that its
/// content implies.
fn output_extension<'a>(key: &'a str, bytes: &[u8]) -> &'a str {
    let own_extension = file_extension(key);
    if [".jpg", ".jpeg", ".png"].contains(&own_extension.to_ascii_lowercase().as_str()) {
        own_extension
    } else if bytes.starts_with(b"\x89PNG") {
        ".png"
    } else {
        ".jpg"
    }
}

/// Returns sizes and orientation of an image, and fails if its data are damaged.
///
/// All of its data are decoded, a JPEG at an eighth of its size: this finds at the least cost the
/// damage at which training would stop.
fn check_image(bytes: &[u8], limits: DecodeLimits) -> Result<ImageGeometry, DecodeError> {
    let picture = LazyImage::open(bytes, limits)?;
    let (width, height) = picture.dimensions();
    let geometry = ImageGeometry {
        upright_size: (width, height),
        stored_size: picture.stored_dimensions(),
        orientation: picture.orientation(),
    };
    let region = Region::whole(width, height);
    picture.crop_and_resize(region, (width / 8).max(1), (height / 8).max(1))?;
    Ok(geometry)
}

/// Counts the pixels of each class id, and leaves out ids that do not occur.
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
