//! One image and its annotations, and what becomes of them.

use std::fs;

use super::drawing::{Drawn, Style, majority};
use super::folder::{Folder, extension};
use super::output::Output;
use super::select::Annotation;
use super::sources::Skipped;
use crate::annotations::split::Side;
use crate::error::{Error, Result};
use crate::files;
use crate::imaging::{Picture, Region, encode_mask_in};

/// An image with the annotations that count.
#[derive(Debug)]
pub(super) struct Item {
    /// Its number.
    pub image: usize,
    /// Its path below the folder of images.
    pub key: String,
    /// What it and its mask are called, without extension.
    pub name: String,
    /// Where it goes.
    pub side: Side,
    /// One, or several that vote.
    pub annotations: Vec<Annotation>,
}

/// What became of an item.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Image and mask are there.
    Written(Written),
    /// It was left out.
    Skipped(Skipped),
}

/// A mask.
#[derive(Debug)]
pub(super) struct Written {
    /// The image's path below the output.
    pub image: String,
    /// The mask's.
    pub mask: String,
    /// Pixels by class, of the classes that occur.
    pub pixels: Vec<(u8, u64)>,
    /// Regions that are not in it, with the reasons.
    pub left_out: Vec<String>,
}

impl Outcome {
    /// What was written, if it was.
    pub(super) fn written(&self) -> Option<&Written> {
        match self {
            Self::Written(written) => Some(written),
            Self::Skipped(_) => None,
        }
    }
}

impl Item {
    /// Reads the image, draws its mask and writes both. What is wrong with the image or with its annotation is an
    /// outcome; what is wrong with the output is an error.
    pub(super) fn draw(
        &self,
        (images, output): (&Folder, &Output),
        style: Style<'_>,
        skip_empty: bool,
    ) -> Result<Outcome> {
        let fault = |reason: String| Ok(Outcome::Skipped(Skipped::fault(self.key.clone(), reason)));
        let path = images.path(self.image);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) => return fault(Error::io("read", &path, &cause).to_string()),
        };
        let size = match check(&bytes, style) {
            Ok(size) => size,
            Err(what) => return fault(format!("the image is {what}")),
        };
        let mut drawings = Vec::new();
        let mut left_out = Vec::new();
        for annotation in &self.annotations {
            match annotation.drawing.draw(size, style) {
                Ok(Drawn { ids, left_out: more }) => {
                    drawings.push(ids);
                    left_out.extend(more);
                }
                Err(what) => return fault(format!("{}: {what}", annotation.place)),
            }
        }
        let Some(ids) = majority(drawings) else {
            return Err(Error::internal(format!("{} has no annotation", self.key)));
        };
        let pixels = count(ids.as_raw());
        if skip_empty && pixels.iter().all(|(id, _)| *id == 0) {
            let reason = "nothing was drawn on it (--skip-empty)";
            return Ok(Outcome::Skipped(Skipped::proper(self.key.clone(), reason)));
        }
        let image =
            format!("{}/{}{}", self.side.channel(), self.name, extension_for(&self.key, &bytes));
        let mask = format!("{}/{}.png", self.side.annotation_channel(), self.name);
        let place = output.root().join(&mask);
        if let Some(folder) = place.parent() {
            files::make_folder(folder)?;
        }
        files::write_whole(&place, &encode_mask_in(&ids, |id| style.classes.colour(id)))?;
        output.put_image(&path, &bytes, &output.root().join(&image))?;
        Ok(Outcome::Written(Written { image, mask, pixels, left_out }))
    }
}

/// The extension of a written image: its own if `train` takes that, else the one of its content.
fn extension_for<'a>(key: &'a str, bytes: &[u8]) -> &'a str {
    let own = extension(key);
    if [".jpg", ".jpeg", ".png"].iter().any(|known| own.eq_ignore_ascii_case(known)) {
        own
    } else if bytes.starts_with(b"\x89PNG") {
        ".png"
    } else {
        ".jpg"
    }
}

/// The upright size of an image whose data are whole. All of it is decoded, of a JPEG at an eighth of its size, which is the
/// quickest way to see damage that training would stop at.
fn check(bytes: &[u8], style: Style<'_>) -> Result<(u32, u32), String> {
    let picture = Picture::open(bytes, style.limits).map_err(|error| error.to_string())?;
    let (width, height) = picture.dimensions();
    let region = Region::whole(width, height);
    picture
        .cut(region, (width / 8).max(1), (height / 8).max(1))
        .map_err(|error| error.to_string())?;
    Ok((width, height))
}

/// Pixels by id, of the ids that occur.
fn count(ids: &[u8]) -> Vec<(u8, u64)> {
    let mut table = [0_u64; 256];
    // Neighbours are mostly equal.
    let (groups, rest) = ids.as_chunks::<16>();
    for group in groups {
        if *group == [group[0]; 16] {
            table[usize::from(group[0])] += 16;
        } else {
            for &id in group {
                table[usize::from(id)] += 1;
            }
        }
    }
    for &id in rest {
        table[usize::from(id)] += 1;
    }
    (0..=u8::MAX).zip(table).filter(|(_, pixels)| *pixels > 0).collect()
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
            assert_eq!(extension_for(key, bytes), expected, "{key}");
        }
    }

    #[test]
    fn pixels_are_counted_whatever_their_number() {
        assert_eq!(count(&[]), []);
        assert_eq!(count(&[7]), [(7, 1)]);
        let ids: Vec<u8> = (0..1003).map(|n| if n % 3 == 0 { 255 } else { 1 }).collect();
        assert_eq!(count(&ids), [(1, 668), (255, 335)]);
        assert_eq!(count(&[[3; 40], [4; 40]].concat()), [(3, 40), (4, 40)]);
    }
}
