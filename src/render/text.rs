//! Letters from an 8x8 bitmap font, enlarged by whole numbers so that they stay crisp.

use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};
use image::{Rgb, RgbImage};

/// Columns and rows of a letter before it is enlarged.
pub(super) const LETTER_DOTS: u32 = 8;

/// Writes `text` with its upper left corner at (`left`, `top`), every dot of a letter `scale` x
/// `scale` pixels; what does not fit on the picture is cut. Letters that the font lacks appear as
/// a question mark.
pub(super) fn draw_text(
    image: &mut RgbImage,
    (left, top): (u32, u32),
    text: &str,
    scale: u32,
    color: Rgb<u8>,
) {
    let glyph = |letter| {
        let fonts = [BASIC_FONTS.get(letter), LATIN_FONTS.get(letter), GREEK_FONTS.get(letter)];
        fonts.into_iter().flatten().next().or_else(|| BASIC_FONTS.get('?')).unwrap_or_default()
    };
    for (letter, x) in text.chars().zip((left..).step_by((LETTER_DOTS * scale) as usize)) {
        for (row_bits, y) in glyph(letter).into_iter().zip((top..).step_by(scale as usize)) {
            for column in (0..LETTER_DOTS).filter(|column| row_bits >> column & 1 == 1) {
                fill_rectangle(image, (x + column * scale, y), (scale, scale), color);
            }
        }
    }
}

/// Fills a rectangle, as far as it is on the picture.
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
