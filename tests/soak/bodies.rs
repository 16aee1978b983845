//! What is sent, made once: images of different sizes in every form.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, Rgb, RgbImage};
use maskmaker::imaging::{encode_jpeg, encode_png};
use tiff::encoder::TiffEncoder;
use tiff::encoder::colortype::RGB8;

use crate::bad::{self, Bad};
use crate::good::{self, Good};

/// How many images, each of a size of its own.
pub(crate) const SIZES: u32 = 240;
/// The sides that they have.
const SIDES: std::ops::RangeInclusive<u32> = 16..=400;

pub(crate) struct Sample {
    pub(crate) number: usize,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) jpeg: Vec<u8>,
    pub(crate) png: Vec<u8>,
    pub(crate) bmp: Vec<u8>,
    pub(crate) webp: Vec<u8>,
    pub(crate) tiff: Vec<u8>,
    pub(crate) npy: Vec<u8>,
    /// A record with the JPEG.
    pub(crate) json: Vec<u8>,
    /// Three records, of which the one in the middle is none.
    pub(crate) instances: Vec<u8>,
    /// The same as lines.
    pub(crate) lines: Vec<u8>,
}

pub(crate) struct Bodies {
    pub(crate) samples: Vec<Sample>,
    pub(crate) good: Vec<&'static Good>,
    pub(crate) bad: Vec<&'static Bad>,
}

impl Bodies {
    pub(crate) fn new(leave_out: &[String]) -> Self {
        let stays = |name: &str| !leave_out.iter().any(|part| name.contains(part));
        let good: Vec<_> = good::TABLE.iter().filter(|good| stays(good.name)).collect();
        let bad: Vec<_> = bad::TABLE.iter().filter(|bad| stays(bad.name)).collect();
        assert!(!good.is_empty() && !bad.is_empty(), "--leave-out leaves nothing");
        Self { samples: (0..SIZES).map(sample).collect(), good, bad }
    }

    pub(crate) fn about(&self) -> String {
        format!(
            "{} images of different sizes, sides of {} to {}; {} kinds of good requests, {} of bad",
            self.samples.len(),
            SIDES.start(),
            SIDES.end(),
            self.good.len(),
            self.bad.len()
        )
    }
}

fn sample(number: u32) -> Sample {
    let sides = SIDES.end() - SIDES.start() + 1;
    // 97 has no factor in common with 385: no two widths are the same.
    let width = SIDES.start() + number * 97 % sides;
    let height = SIDES.start() + (number * 211 + 50) % sides;
    let image = picture(width, height, number);
    let jpeg = encode_jpeg(&image, 85);
    let png = encode_png(&image);
    let record =
        |id: &str, bytes: &[u8]| format!(r#"{{"id":"{id}","image":"{}"}}"#, STANDARD.encode(bytes));
    let [first, second, third] = [record("a", &jpeg), record("b", b"no image"), record("c", &png)];
    Sample {
        number: number as usize,
        width,
        height,
        bmp: bmp(&image),
        webp: webp(&image),
        tiff: tiff(&image),
        npy: npy(&image),
        json: first.clone().into_bytes(),
        instances: format!(r#"{{"instances":[{first},{second},{third}]}}"#).into_bytes(),
        lines: format!("{first}\n{second}\n{third}\n").into_bytes(),
        jpeg,
        png,
    }
}

/// A gradient with a disc, so that there is something to see.
fn picture(width: u32, height: u32, number: u32) -> RgbImage {
    let (x0, y0, radius) = (width / 2, height / 3, width.min(height) / 4);
    RgbImage::from_fn(width, height, |x, y| {
        let away = x.abs_diff(x0).pow(2) + y.abs_diff(y0).pow(2);
        if away < radius.pow(2) {
            Rgb([200, (number % 256) as u8, 40])
        } else {
            Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, ((x + y + number) % 256) as u8])
        }
    })
}

/// Without loss.
fn webp(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::WebP).unwrap();
    bytes.into_inner()
}

fn tiff(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    encoder.write_image::<RGB8>(image.width(), image.height(), image.as_raw()).unwrap();
    bytes.into_inner()
}

/// 24 bits, rows from below, each filled up to 4 bytes.
fn bmp(image: &RgbImage) -> Vec<u8> {
    let (width, height) = image.dimensions();
    let row = (width as usize * 3).next_multiple_of(4);
    let size = 54 + row * height as usize;
    let mut bytes = b"BM".to_vec();
    for number in [size as u32, 0, 54, 40, width, height, 24 << 16 | 1, 0, 0, 2835, 2835, 0, 0] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for pixels in image.rows().rev() {
        for Rgb([red, green, blue]) in pixels {
            bytes.extend_from_slice(&[*blue, *green, *red]);
        }
        bytes.resize(bytes.len() + row - width as usize * 3, 0);
    }
    bytes
}

/// An array of bytes, `[height, width, 3]`: <https://numpy.org/neps/nep-0001-npy-format.html>.
fn npy(image: &RgbImage) -> Vec<u8> {
    let (width, height) = image.dimensions();
    let about =
        format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({height}, {width}, 3), }}");
    let length = (about.len() + 11).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(length as u16).to_le_bytes());
    bytes.extend_from_slice(format!("{about:<width$}\n", width = length - 1).as_bytes());
    bytes.extend_from_slice(image.as_raw());
    bytes
}
