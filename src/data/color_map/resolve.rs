//! From the colours of a mask's pixels to class ids.

use std::collections::HashMap;

use image::GrayImage;

use super::{BACKGROUND, ColorMap, hex};
use crate::imaging::{ColorMask, ColorPixels};

/// How far a colour may be from that of its class: the length of the difference of red, green and blue, each
/// 0 to 255.
///
/// Colours move that far and no farther when a mask is rewritten: rounding to 16 bits per pixel (5, 6, 5)
/// moves a colour by up to 12, colour profiles and JPEG's quantisation of flat areas by about as much. Those
/// that mixing at smoothed edges makes are farther away, and anywhere: which class they are would be a
/// guess. To be on the safe side where a map's own colours are near each other, a colour must also be
/// at most half as far from its class as from any other.
pub const NEAR: u32 = 32;

/// What nobody labelled is white in Ground Truth's masks, also where the map does not say so.
const WHITE: [u8; 3] = [255; 3];

/// How many colours a message lists.
const SHOWN: usize = 4;

/// Colours without a class that are counted one by one; pictures have millions.
const COUNTED: usize = 4096;

/// Colours whose class is remembered, at most; a power of two.
const SLOTS: usize = 4096;

/// The class ids of a mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// One per pixel.
    pub ids: GrayImage,
    /// Pixels whose colour is near that of their class and not the same.
    pub snapped: u64,
}

/// What a colour stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Exactly(u8),
    Nearly(u8),
    Nothing,
}

impl ColorMap {
    /// The classes of a mask's pixels. Transparent pixels, and white ones unless the map says otherwise, are
    /// class 0.
    ///
    /// # Errors
    /// Colours without a class, with their pixels; grays that only resemble the map's, which are values and
    /// no colours as far as anyone can know.
    pub fn resolve(&self, mask: &ColorMask) -> Result<Resolved, String> {
        let mut tally = Tally::new(self, mask.width as usize * mask.height as usize);
        let ids = match &mask.pixels {
            ColorPixels::Palette { colors, indices } => tally.palette(colors, indices),
            ColorPixels::Rgb(samples) => {
                tally.pixels(samples.chunks_exact(3).map(|p| [p[0], p[1], p[2], u8::MAX]))
            }
            ColorPixels::Rgba(samples) => {
                tally.pixels(samples.chunks_exact(4).map(|p| [p[0], p[1], p[2], p[3]]))
            }
        };
        let snapped = tally.finish()?;
        let ids = GrayImage::from_raw(mask.width, mask.height, ids);
        Ok(Resolved { ids: ids.ok_or("has too few pixels")?, snapped })
    }

    /// The colours with a class.
    fn colors(&self) -> impl Iterator<Item = ([u8; 3], u8, &str)> {
        let named = self.entries.iter();
        let white = !self.entries.iter().any(|entry| entry.color == WHITE);
        named
            .filter_map(|entry| Some((entry.color, entry.class?, entry.name.as_str())))
            .chain(white.then_some((WHITE, 0, BACKGROUND)))
    }

    fn meaning(&self, color: [u8; 3]) -> Meaning {
        // The nearest class, and how near another one is.
        let (mut nearest, mut other) = ((u32::MAX, 0), u32::MAX);
        for (known, class, _) in self.colors() {
            let distance = square(known, color);
            if distance < nearest.0 {
                if class != nearest.1 {
                    other = nearest.0;
                }
                nearest = (distance, class);
            } else if class != nearest.1 {
                other = other.min(distance);
            }
        }
        match nearest {
            (0, class) => Meaning::Exactly(class),
            (distance, class) if distance <= NEAR * NEAR && 4 * distance <= other => {
                Meaning::Nearly(class)
            }
            _ => Meaning::Nothing,
        }
    }

    fn nearest(&self, color: [u8; 3]) -> String {
        let nearest = self.colors().min_by_key(|(known, ..)| square(*known, color));
        nearest
            .map_or(String::new(), |(known, _, name)| format!(" (nearest: {name} {})", hex(known)))
    }
}

/// The square of the distance of two colours.
pub(super) fn square(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

/// What was found in a mask.
struct Tally<'a> {
    map: &'a ColorMap,
    /// Colours that were looked up, each in the one place where it may be.
    slots: Vec<Option<([u8; 3], Meaning)>>,
    snapped: u64,
    /// Whether red, green and blue are the same in every pixel.
    gray: bool,
    nothing: HashMap<[u8; 3], u64>,
    /// Pixels of further colours without a class.
    further: u64,
    /// Pixels by indices that the palette lacks.
    lacking: Vec<(usize, u64)>,
}

impl<'a> Tally<'a> {
    fn new(map: &'a ColorMap, pixels: usize) -> Self {
        Self {
            map,
            slots: vec![None; pixels.clamp(1, SLOTS).next_power_of_two()],
            snapped: 0,
            gray: true,
            nothing: HashMap::new(),
            further: 0,
            lacking: Vec::new(),
        }
    }

    /// Looks up each colour of a palette once.
    fn palette(&mut self, colors: &[[u8; 4]], indices: &[u8]) -> Vec<u8> {
        let mut pixels = [0_u64; 256];
        for &index in indices {
            pixels[usize::from(index)] += 1;
        }
        let mut table = [0; 256];
        for (index, &pixels) in pixels.iter().enumerate().filter(|(_, pixels)| **pixels > 0) {
            match colors.get(index) {
                Some(&color) => table[index] = self.count(color, pixels),
                None => self.lacking.push((index, pixels)),
            }
        }
        indices.iter().map(|&index| table[usize::from(index)]).collect()
    }

    /// Neighbours are mostly of one colour, so pixels are counted in runs.
    fn pixels(&mut self, pixels: impl ExactSizeIterator<Item = [u8; 4]>) -> Vec<u8> {
        let mut ids = Vec::with_capacity(pixels.len());
        let mut run: Option<([u8; 4], usize)> = None;
        for pixel in pixels {
            match &mut run {
                Some((color, length)) if *color == pixel => *length += 1,
                _ => {
                    let ended = run.replace((pixel, 1));
                    self.end(ended, &mut ids);
                }
            }
        }
        self.end(run, &mut ids);
        ids
    }

    fn end(&mut self, run: Option<([u8; 4], usize)>, ids: &mut Vec<u8>) {
        if let Some((color, length)) = run {
            let id = self.count(color, length as u64);
            ids.resize(ids.len() + length, id);
        }
    }

    /// The class of some pixels of one colour.
    fn count(&mut self, [red, green, blue, alpha]: [u8; 4], pixels: u64) -> u8 {
        // The colour of what cannot be seen means nothing.
        if alpha == 0 {
            return 0;
        }
        let color = [red, green, blue];
        match self.look_up(color) {
            Meaning::Exactly(class) => class,
            Meaning::Nearly(class) => {
                self.snapped += pixels;
                class
            }
            Meaning::Nothing => {
                if self.nothing.len() < COUNTED || self.nothing.contains_key(&color) {
                    *self.nothing.entry(color).or_default() += pixels;
                } else {
                    self.further += pixels;
                }
                0
            }
        }
    }

    fn look_up(&mut self, color: [u8; 3]) -> Meaning {
        let [red, green, blue] = color.map(u32::from);
        // Knuth's multiplicative hash; its upper bits are the good ones.
        let hash = (red << 16 | green << 8 | blue).wrapping_mul(0x9e37_79b1) >> 20;
        let slots = self.slots.len();
        let slot = &mut self.slots[hash as usize % slots];
        match slot {
            Some((known, meaning)) if *known == color => *meaning,
            _ => {
                self.gray &= red == green && green == blue;
                let meaning = self.map.meaning(color);
                *slot = Some((color, meaning));
                meaning
            }
        }
    }

    /// The number of snapped pixels, or what is wrong.
    fn finish(self) -> Result<u64, String> {
        let unmapped = self.further + self.nothing.values().sum::<u64>();
        if self.gray && self.snapped + unmapped > 0 {
            return Err(format!(
                "has only grays, {} pixels of which are no colour of its map: if they are class ids, leave \
                 out internal-color-map; if they are smoothed edges, resize the mask without (nearest \
                 neighbour)",
                self.snapped + unmapped
            ));
        }
        let mut found: Vec<([u8; 3], u64)> = self.nothing.into_iter().collect();
        // Most frequent first, and the same on every run.
        found.sort_by_key(|&(color, pixels)| (std::cmp::Reverse(pixels), color));
        let mut texts: Vec<String> = found
            .iter()
            .take(SHOWN)
            .map(|&(color, n)| format!("{} in {n} pixels{}", hex(color), self.map.nearest(color)))
            .collect();
        let more: u64 =
            self.further + found.iter().skip(SHOWN).map(|(_, pixels)| pixels).sum::<u64>();
        if more > 0 {
            texts.push(format!("other colours in {more}"));
        }
        for (index, pixels) in self.lacking.into_iter().take(SHOWN) {
            texts.push(format!("index {index}, which its palette lacks, in {pixels}"));
        }
        if texts.is_empty() { Ok(self.snapped) } else { Err(format!("has {}", texts.join(", "))) }
    }
}
