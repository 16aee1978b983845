//! Class ids for the colors of a mask's pixels.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use image::GrayImage;

use super::{BACKGROUND, ColorMap, format_hex_color};
use crate::imaging::{ColorMask, ColorPixels};

/// Largest distance of a color from that of its class: the length of the difference of red, green
/// and blue, each 0 to 255.
///
/// Colors move by less when a mask is rewritten: rounding to 16 bits per pixel (5, 6, 5) moves a
/// color by up to 12, and color profiles and JPEG's quantization of flat areas by about as much.
/// Mixed colors of smoothed edges are farther away, and their class would be a guess. For maps
/// whose own colors are near each other, a color must also be at most half as far from its class as
/// from any other.
pub const MAX_COLOR_DISTANCE: u32 = 32;

/// Color of pixels without a label in Ground Truth's masks, also if the map does not name it.
const WHITE: [u8; 3] = [255; 3];

/// Number of colors that a message lists.
const MAX_SHOWN_COLORS: usize = 4;

/// Number of names without an id that a message lists.
const MAX_SHOWN_NAMES: usize = 12;

/// Number of colors without a class that are counted one by one; pictures have millions.
const MAX_COUNTED_COLORS: usize = 4096;

/// Largest number of colors whose class is cached; a power of two.
const MAX_CACHE_SLOTS: usize = 4096;

/// Class ids of a mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedMask {
    /// One id per pixel.
    pub ids: GrayImage,
    /// Number of pixels whose color is near that of their class, but not equal to it.
    pub snapped_pixels: u64,
}

/// Class of a color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColorMatch {
    /// The color is that of a class.
    Exact(u8),
    /// The color is near that of a class and of no other.
    Near(u8),
    /// The color stands for no class.
    Unknown,
}

/// Colors of a mask that stand for no class. The text completes a sentence about the mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnresolvedColors {
    /// Names of the map that have no class id and whose colors occur in the mask.
    pub unknown_names: BTreeSet<String>,
    text: String,
}

impl fmt::Display for UnresolvedColors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<String> for UnresolvedColors {
    fn from(text: String) -> Self {
        Self { unknown_names: BTreeSet::new(), text }
    }
}

impl ColorMap {
    /// Returns the classes of a mask's pixels. Transparent pixels are class 0, and so are white
    /// ones unless the map names white.
    ///
    /// The error lists colors without a class, with their pixels. It also refuses masks of grays
    /// that only resemble the map's colors, because these may be class ids.
    pub fn resolve(&self, mask: &ColorMask) -> Result<ResolvedMask, UnresolvedColors> {
        let mut resolver = MaskResolver::new(self, mask.width as usize * mask.height as usize);
        let ids = match &mask.pixels {
            ColorPixels::Palette { colors, indices } => resolver.resolve_palette(colors, indices),
            ColorPixels::Rgb(samples) => resolver
                .resolve_pixels(samples.chunks_exact(3).map(|p| [p[0], p[1], p[2], u8::MAX])),
            ColorPixels::Rgba(samples) => {
                resolver.resolve_pixels(samples.chunks_exact(4).map(|p| [p[0], p[1], p[2], p[3]]))
            }
        };
        let snapped_pixels = resolver.finish()?;
        let ids = GrayImage::from_raw(mask.width, mask.height, ids);
        match ids {
            Some(ids) => Ok(ResolvedMask { ids, snapped_pixels }),
            None => Err("has too few pixels".to_owned().into()),
        }
    }

    /// Returns the colors with their classes; a name without an id has none.
    fn class_colors(&self) -> impl Iterator<Item = ([u8; 3], Option<u8>, &str)> {
        let entries = self.entries.iter();
        let needs_white = !self.entries.iter().any(|entry| entry.color == WHITE);
        entries
            .map(|entry| (entry.color, entry.class, entry.name.as_str()))
            .chain(needs_white.then_some((WHITE, Some(0), BACKGROUND)))
    }

    /// Returns the class of a color: that of the nearest color if it is near enough, and no color
    /// of another class is nearly as near. White is class 0 unless the map names it.
    pub fn match_color(&self, color: [u8; 3]) -> ColorMatch {
        // Distance and class of the nearest color, and distance of the nearest color of another
        // class. Names without an id are another class each, but all the same they have none.
        let (mut nearest, mut other_distance) = ((u32::MAX, None), u32::MAX);
        for (class_color, class, _) in self.class_colors() {
            let distance = squared_distance(class_color, color);
            if distance < nearest.0 {
                if class != nearest.1 {
                    other_distance = nearest.0;
                }
                nearest = (distance, class);
            } else if class != nearest.1 {
                other_distance = other_distance.min(distance);
            }
        }
        match nearest {
            (0, Some(class)) => ColorMatch::Exact(class),
            (distance, Some(class))
                if distance <= MAX_COLOR_DISTANCE * MAX_COLOR_DISTANCE
                    && 4 * distance <= other_distance =>
            {
                ColorMatch::Near(class)
            }
            _ => ColorMatch::Unknown,
        }
    }

    /// Describes a color without a class by the name whose color it is, or by the nearest one.
    fn describe_unknown_color(&self, color: [u8; 3], pixels: u64) -> String {
        let hex = format_hex_color(color);
        let nearest = self
            .class_colors()
            .min_by_key(|(class_color, ..)| squared_distance(*class_color, color));
        match nearest {
            Some((class_color, None, name)) if class_color == color => {
                format!("{name} ({hex}), which is no class, in {pixels} pixels")
            }
            Some((class_color, _, name)) => {
                let nearest_hex = format_hex_color(class_color);
                format!("{hex} in {pixels} pixels (nearest: {name} {nearest_hex})")
            }
            None => format!("{hex} in {pixels} pixels"),
        }
    }

    /// Returns the name without an id whose color is `color`.
    fn unknown_name(&self, color: [u8; 3]) -> Option<&str> {
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.color == color && entry.class.is_none())?;
        Some(&entry.name)
    }
}

/// Returns the square of the distance of two colors.
pub(super) fn squared_distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

/// State of resolving one mask.
struct MaskResolver<'a> {
    color_map: &'a ColorMap,
    /// Colors that were looked up, each in the one slot of its hash.
    cache: Vec<Option<([u8; 3], ColorMatch)>>,
    snapped_pixels: u64,
    /// True if red, green and blue are equal in every pixel so far.
    is_gray: bool,
    unknown_colors: HashMap<[u8; 3], u64>,
    /// Number of pixels of further colors without a class.
    uncounted_pixels: u64,
    /// Indices that the palette lacks, with their pixels.
    missing_indices: Vec<(usize, u64)>,
}

impl<'a> MaskResolver<'a> {
    fn new(map: &'a ColorMap, pixels: usize) -> Self {
        Self {
            color_map: map,
            cache: vec![None; pixels.clamp(1, MAX_CACHE_SLOTS).next_power_of_two()],
            snapped_pixels: 0,
            is_gray: true,
            unknown_colors: HashMap::new(),
            uncounted_pixels: 0,
            missing_indices: Vec::new(),
        }
    }

    /// Looks up each color of a palette once.
    fn resolve_palette(&mut self, colors: &[[u8; 4]], indices: &[u8]) -> Vec<u8> {
        let mut pixels_per_index = [0_u64; 256];
        for &index in indices {
            pixels_per_index[usize::from(index)] += 1;
        }
        let mut class_of_index = [0; 256];
        for (index, &pixels) in pixels_per_index.iter().enumerate() {
            if pixels == 0 {
                continue;
            }
            match colors.get(index) {
                Some(&color) => class_of_index[index] = self.resolve_color(color, pixels),
                None => self.missing_indices.push((index, pixels)),
            }
        }
        indices.iter().map(|&index| class_of_index[usize::from(index)]).collect()
    }

    /// Looks up each run of equal pixels once, as neighbors mostly have the same color.
    fn resolve_pixels(&mut self, pixels: impl ExactSizeIterator<Item = [u8; 4]>) -> Vec<u8> {
        let mut ids = Vec::with_capacity(pixels.len());
        let mut run: Option<([u8; 4], usize)> = None;
        for pixel in pixels {
            match &mut run {
                Some((color, length)) if *color == pixel => *length += 1,
                _ => {
                    let finished_run = run.replace((pixel, 1));
                    self.append_run(finished_run, &mut ids);
                }
            }
        }
        self.append_run(run, &mut ids);
        ids
    }

    fn append_run(&mut self, run: Option<([u8; 4], usize)>, ids: &mut Vec<u8>) {
        if let Some((color, length)) = run {
            let id = self.resolve_color(color, length as u64);
            ids.resize(ids.len() + length, id);
        }
    }

    /// Returns the class of `pixels` pixels of one color.
    fn resolve_color(&mut self, [red, green, blue, alpha]: [u8; 4], pixels: u64) -> u8 {
        // The color of a transparent pixel means nothing.
        if alpha == 0 {
            return 0;
        }
        let color = [red, green, blue];
        match self.look_up(color) {
            ColorMatch::Exact(class) => class,
            ColorMatch::Near(class) => {
                self.snapped_pixels += pixels;
                class
            }
            ColorMatch::Unknown => {
                if self.unknown_colors.len() < MAX_COUNTED_COLORS
                    || self.unknown_colors.contains_key(&color)
                {
                    *self.unknown_colors.entry(color).or_default() += pixels;
                } else {
                    self.uncounted_pixels += pixels;
                }
                0
            }
        }
    }

    fn look_up(&mut self, color: [u8; 3]) -> ColorMatch {
        let [red, green, blue] = color.map(u32::from);
        // Knuth's multiplicative hash, whose upper bits are the good ones.
        let hash = (red << 16 | green << 8 | blue).wrapping_mul(0x9e37_79b1) >> 20;
        let cache_slots = self.cache.len();
        let slot = &mut self.cache[hash as usize % cache_slots];
        match slot {
            Some((cached_color, meaning)) if *cached_color == color => *meaning,
            _ => {
                self.is_gray &= red == green && green == blue;
                let meaning = self.color_map.match_color(color);
                *slot = Some((color, meaning));
                meaning
            }
        }
    }

    /// Returns the number of snapped pixels, or everything that is wrong.
    fn finish(self) -> Result<u64, UnresolvedColors> {
        let unknown_pixels = self.uncounted_pixels + self.unknown_colors.values().sum::<u64>();
        let has_named_unknown =
            self.unknown_colors.keys().any(|color| self.color_map.unknown_name(*color).is_some());
        if self.is_gray && !has_named_unknown && self.snapped_pixels + unknown_pixels > 0 {
            return Err(UnresolvedColors::from(format!(
                "has only grays, {} pixels of which are no color of a label: if they are class ids, \
                 save the mask as grayscale (one channel), and leave out an internal-color-map; if \
                 they are smoothed edges, resize the mask without (nearest neighbor)",
                self.snapped_pixels + unknown_pixels
            )));
        }
        let mut by_frequency: Vec<([u8; 3], u64)> = self.unknown_colors.into_iter().collect();
        // Most frequent first, and in the same order on every run.
        by_frequency.sort_by_key(|&(color, pixels)| (std::cmp::Reverse(pixels), color));
        let mut texts = Vec::new();
        let mut unknown_names = BTreeSet::new();
        let mut further_pixels = self.uncounted_pixels;
        for (color, pixels) in by_frequency {
            let name = self.color_map.unknown_name(color);
            unknown_names.extend(name.map(str::to_owned));
            if texts.len() < MAX_SHOWN_COLORS || (name.is_some() && texts.len() < MAX_SHOWN_NAMES) {
                texts.push(self.color_map.describe_unknown_color(color, pixels));
            } else {
                further_pixels += pixels;
            }
        }
        if further_pixels > 0 {
            texts.push(format!("other colors in {further_pixels}"));
        }
        for (index, pixels) in self.missing_indices.into_iter().take(MAX_SHOWN_COLORS) {
            texts.push(format!("index {index}, which its palette lacks, in {pixels}"));
        }
        if texts.is_empty() {
            Ok(self.snapped_pixels)
        } else {
            Err(UnresolvedColors { unknown_names, text: format!("has {}", texts.join(", ")) })
        }
    }
}
