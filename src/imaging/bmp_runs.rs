//! Run-length coded BMP files (RLE8 and RLE4). The crate `image` paints pixels that no run covers
//! black; here they have the palette's first color, as in PIL and `OpenCV`.
//!
//! Two bytes each: a number of pixels and their color or two colors that take turns, or 0 and a
//! command. Command 0 ends a row, 1 the picture, 2 moves right and up by the next two bytes, and
//! others are numbers of pixels whose colors follow, padded to 16 bits.

use image::RgbImage;

/// The content of the headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunHeader {
    /// Columns, in pixels.
    pub(super) width: u32,
    pub(super) height: u32,
    /// True if the first row is the top one.
    pub(super) is_top_down: bool,
    /// True for 4 bits per pixel, else 8.
    pub(super) is_rle4: bool,
}

/// Decodes the runs in `data` with the colors of `palette`: blue, green, red and a zero each. The
/// error completes "a BMP ...".
pub(super) fn decode_runs(
    header: RunHeader,
    palette: &[[u8; 4]],
    data: &[u8],
) -> Result<RgbImage, &'static str> {
    let mut canvas = RunCanvas {
        indices: vec![0; header.width as usize * header.height as usize],
        width: header.width as usize,
        x: 0,
        y: 0,
    };
    canvas.draw_runs(data, header.is_rle4)?;
    let mut image = RgbImage::new(header.width, header.height);
    for (y, row) in canvas.indices.chunks_exact(canvas.width.max(1)).enumerate() {
        let y = if header.is_top_down { y as u32 } else { header.height - 1 - y as u32 };
        for (x, index) in (0..).zip(row) {
            // Indices behind the palette's end are black.
            let [blue, green, red, _] =
                palette.get(usize::from(*index)).copied().unwrap_or_default();
            image.put_pixel(x, y, image::Rgb([red, green, blue]));
        }
    }
    Ok(image)
}

/// The indices of pixels, and the place of the next one.
struct RunCanvas {
    /// Rows in the file's order.
    indices: Vec<u8>,
    width: usize,
    x: usize,
    y: usize,
}

impl RunCanvas {
    fn draw_runs(&mut self, data: &[u8], is_rle4: bool) -> Result<(), &'static str> {
        const TRUNCATED: &str = "that is cut off";
        let mut rest = data;
        while self.y * self.width < self.indices.len() {
            let (&[count, value], after) = rest.split_first_chunk().ok_or(TRUNCATED)?;
            rest = after;
            match (count, value) {
                (0, 0) => (self.x, self.y) = (0, self.y + 1),
                (0, 1) => return Ok(()),
                (0, 2) => {
                    let (&[right, up], after) = rest.split_first_chunk().ok_or(TRUNCATED)?;
                    rest = after;
                    self.x += usize::from(right);
                    self.y += usize::from(up);
                }
                (0, count) => {
                    let count = usize::from(count);
                    let bytes = if is_rle4 { count.div_ceil(2) } else { count };
                    let (pixels, after) = rest.split_at_checked(bytes).ok_or(TRUNCATED)?;
                    // The padding may be missing at the end.
                    rest = after.get(bytes % 2..).unwrap_or_default();
                    if self.x + count > self.width {
                        return Err("with runs that are longer than its rows");
                    }
                    for index in 0..count {
                        self.push(if is_rle4 {
                            nibble(pixels[index / 2], index)
                        } else {
                            pixels[index]
                        });
                    }
                }
                (count, value) => {
                    for index in 0..usize::from(count) {
                        self.push(if is_rle4 { nibble(value, index) } else { value });
                    }
                }
            }
        }
        Ok(())
    }

    /// Sets the next pixel. Pixels behind the end of a row are dropped: writers round runs up.
    fn push(&mut self, index: u8) {
        if self.x < self.width
            && let Some(pixel) = self.indices.get_mut(self.y * self.width + self.x)
        {
            *pixel = index;
        }
        self.x += 1;
    }
}

/// Returns the high half of a byte for pixels at even places, else the low one.
fn nibble(byte: u8, place: usize) -> u8 {
    if place.is_multiple_of(2) { byte >> 4 } else { byte & 15 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PALETTE: [[u8; 4]; 3] = [[30, 20, 10, 0], [31, 21, 11, 0], [32, 22, 12, 0]];

    fn decode(is_rle4: bool, data: &[u8]) -> Result<Vec<u8>, &'static str> {
        let header = RunHeader { width: 4, height: 2, is_top_down: true, is_rle4 };
        let image = decode_runs(header, &PALETTE, data)?;
        Ok(image.pixels().map(|pixel| pixel[0]).collect())
    }

    #[test]
    fn every_command_draws_and_the_rest_has_the_first_color() {
        for (is_rle4, data, expected) in [
            (false, &[2, 1, 0, 0, 3, 2, 0, 1][..], [11, 11, 10, 10, 12, 12, 12, 10]),
            (
                false,
                &[0, 3, 1, 2, 1, 0, 0, 0, 0, 2, 1, 0, 1, 1, 0, 1],
                [11, 12, 11, 10, 10, 11, 10, 10],
            ),
            (false, &[0, 2, 1, 1, 1, 2, 0, 1], [10, 10, 10, 10, 10, 12, 10, 10]),
            (false, &[9, 1, 0, 0, 0, 0], [11, 11, 11, 11, 10, 10, 10, 10]),
            (true, &[3, 0x12, 0, 0, 0, 3, 0x21, 0x20, 0, 1], [11, 12, 11, 10, 12, 11, 12, 10]),
            (false, &[1, 9, 0, 1], [0, 10, 10, 10, 10, 10, 10, 10]),
        ] {
            assert_eq!(decode(is_rle4, data).unwrap(), expected, "{data:?}");
        }
    }

    #[test]
    fn runs_that_end_too_early_or_too_late_are_refused() {
        for data in [&[][..], &[2], &[2, 1], &[0, 3, 1], &[0, 2, 1], &[4, 1, 0, 0, 4, 1]] {
            assert_eq!(decode(false, data), Err("that is cut off"), "{data:?}");
        }
        let long = [0, 5, 1, 1, 1, 1, 1, 0, 0, 1];
        assert_eq!(decode(false, &long), Err("with runs that are longer than its rows"));
    }

    proptest::proptest! {
        #[test]
        fn any_runs_are_a_picture_or_an_error(
            data in proptest::collection::vec(0..6_u8, 0..60),
            is_rle4: bool,
            is_top_down: bool,
        ) {
            let header = RunHeader { width: 5, height: 3, is_top_down, is_rle4 };
            let _ = decode_runs(header, &PALETTE, &data);
        }
    }
}
