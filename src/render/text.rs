//! Letters from an 8x8 bitmap font, enlarged by whole numbers so that they stay crisp.

use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};
use image::{Rgb, RgbImage};

/// Columns and rows of a letter before it is enlarged.
pub(super) const LETTER_DOTS: u32 = 8;

/// Writes `text` with its upper left corner at (`left`, `top`), in pixels. Every dot of a letter
/// has `scale` x `scale` pixels. Parts outside the picture are cut. Letters that the font lacks
/// appear as a question mark.
pub(super) fn draw_text(
    image: &mut RgbImage,
    (left, top): (u32, u32),
    text: &str,
    scale: u32,
    color: Rgb<u8>,
) {
    for (letter, x) in text.chars().zip((left..).step_by((LETTER_DOTS * scale) as usize)) {
        for (row_bits, y) in find_glyph(letter).into_iter().zip((top..).step_by(scale as usize)) {
            for column in 0..LETTER_DOTS {
                if row_bits >> column & 1 == 1 {
                    fill_rectangle(image, (x + column * scale, y), (scale, scale), color);
                }
            }
        }
    }
}

/// Returns the rows of a letter, whose lowest bit is the left column.
fn find_glyph(letter: char) -> [u8; LETTER_DOTS as usize] {
    let found = BASIC_FONTS.get(letter).or(LATIN_FONTS.get(letter)).or(GREEK_FONTS.get(letter));
    found.or(BASIC_FONTS.get('?')).unwrap_or_default()
}

/// Fills the part of a rectangle that lies on the picture, in pixels.
pub(super) fn fill_rectangle(
    image: &mut RgbImage,
    (left, top): (u32, u32),
    (width, height): (u32, u32),
    color: Rgb<u8>,
) {
    for y in top..(top + height).min(image.height()) {
        for x in left..(left + width).min(image.width()) {
            image.put_pixel(x, y, color);
        }
    }
}
