//! Sets of pixels as runs: the common form of all regions, from which masks are painted.

mod transpose;

use std::ops::Range;

use image::{GrayImage, Luma};

use super::error::{Error, Result};
use crate::imaging::MAX_SIDE_PX;

/// Largest number of pixels of an image that has [`Runs`]: Label Studio's brush RLE counts four
/// values per pixel in 32 bits.
pub const MAX_PIXELS: u32 = (1 << 30) - 1;

/// A set of pixels of an image: half-open ranges of pixel numbers (row * width + column), sorted,
/// disjoint, never touching (adjacent ranges are merged), and none empty.
///
/// The set takes 8 bytes per range and none per pixel. In an image of more than [`MAX_PIXELS`]
/// pixels only the first [`MAX_PIXELS`] can be covered; the decoders refuse such sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    width: u32,
    height: u32,
    ranges: Vec<Range<u32>>,
}

impl Runs {
    /// Returns the empty set for an image of `width` x `height` pixels.
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height, ranges: Vec::new() }
    }

    /// Collects ranges of pixel numbers that are sorted by their start. They may overlap, touch, be
    /// empty, and reach past the image.
    pub fn from_sorted(
        width: u32,
        height: u32,
        ranges: impl IntoIterator<Item = Range<u32>>,
    ) -> Self {
        let mut runs = Self::new(width, height);
        for range in ranges {
            runs.push(range);
        }
        runs
    }

    /// Collects ranges of pixel numbers in any order; otherwise as
    /// [`from_sorted`](Self::from_sorted).
    pub fn from_unsorted(
        width: u32,
        height: u32,
        ranges: impl IntoIterator<Item = Range<u32>>,
    ) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_unstable_by_key(|range| range.start);
        Self::from_sorted(width, height, ranges)
    }

    /// Returns the pixels of a mask that have the class `class`.
    pub fn from_class(ids: &GrayImage, class: u8) -> Self {
        Self::from_mask_where(ids, |id| id == class)
    }

    /// Returns the pixels of a mask whose value satisfies `predicate`.
    pub fn from_mask_where(ids: &GrayImage, predicate: impl Fn(u8) -> bool) -> Self {
        let matches_id: [bool; 256] = std::array::from_fn(|id| predicate(id as u8));
        let is_match = |&id: &u8| matches_id[usize::from(id)];
        let mut runs = Self::new(ids.width(), ids.height());
        let pixels = &ids.as_raw()[..runs.pixel_count() as usize];
        let mut position = 0;
        while let Some(gap) = pixels[position..].iter().position(is_match) {
            let start = position + gap;
            let length = pixels[start..].iter().position(|id| !is_match(id));
            position = length.map_or(pixels.len(), |length| start + length);
            runs.push(start as u32..position as u32);
        }
        runs
    }

    /// Adds a range whose start is not less than that of any range before.
    #[inline]
    pub(super) fn push(&mut self, range: Range<u32>) {
        let (start, end) = (range.start, range.end.min(self.pixel_count()));
        if start >= end {
            return;
        }
        match self.ranges.last_mut() {
            Some(last) if start <= last.end => {
                debug_assert!(start >= last.start, "{start} comes after {}", last.start);
                last.end = last.end.max(end);
            }
            _ => self.ranges.push(start..end),
        }
    }

    /// Returns the width of the image, in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns the height of the image, in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns the number of pixels of the image that can be covered.
    pub(super) fn pixel_count(&self) -> u32 {
        self.width.saturating_mul(self.height).min(MAX_PIXELS)
    }

    /// Returns the number of covered pixels.
    pub fn area(&self) -> u64 {
        self.ranges.iter().map(|run| u64::from(run.end - run.start)).sum()
    }

    /// Returns true if no pixel is covered.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Iterates over the ranges in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Range<u32>> + Clone + '_ {
        self.ranges.iter().cloned()
    }

    /// Iterates over the ranges, cut at the ends of rows: the number of the row and a half-open
    /// range of columns.
    pub fn row_segments(&self) -> impl Iterator<Item = (u32, Range<u32>)> + '_ {
        let width = self.width.max(1);
        self.ranges.iter().flat_map(move |run| {
            (run.start / width..run.end.div_ceil(width)).map(move |row| {
                let first = row * width;
                let end = (run.end - first).min(width);
                (row, run.start.saturating_sub(first)..end)
            })
        })
    }

    /// Returns the pixels that one set or both cover. Both must be of one size.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        debug_assert_eq!((self.width, self.height), (other.width, other.height));
        let mut union = Self::new(self.width, self.height);
        let (mut own_runs, mut other_runs) = (self.iter().peekable(), other.iter().peekable());
        loop {
            let takes_own = match (own_runs.peek(), other_runs.peek()) {
                (Some(a), Some(b)) => a.start <= b.start,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => return union,
            };
            if let Some(run) = if takes_own { own_runs.next() } else { other_runs.next() } {
                union.push(run);
            }
        }
    }

    /// Returns true if both sets cover a pixel in common. Both must be of one size.
    pub fn intersects(&self, other: &Self) -> bool {
        debug_assert_eq!((self.width, self.height), (other.width, other.height));
        let (mut own_index, mut other_index) = (0, 0);
        while let (Some(own), Some(other)) =
            (self.ranges.get(own_index), other.ranges.get(other_index))
        {
            if own.start < other.end && other.start < own.end {
                return true;
            }
            if own.end <= other.end {
                own_index += 1;
            } else {
                other_index += 1;
            }
        }
        false
    }

    /// Returns true if a covered pixel of `ids`, a mask of the same size, has the class `class`.
    pub fn contains_class(&self, ids: &GrayImage, class: u8) -> bool {
        debug_assert_eq!(ids.dimensions(), (self.width, self.height));
        for run in &self.ranges {
            let pixels = ids.as_raw().get(run.start as usize..run.end as usize);
            if pixels.is_some_and(|pixels| pixels.contains(&class)) {
                return true;
            }
        }
        false
    }

    /// Sets the covered pixels of a mask of the same size to `class`.
    pub fn paint(&self, ids: &mut GrayImage, class: u8) {
        debug_assert_eq!(ids.dimensions(), (self.width, self.height));
        for run in &self.ranges {
            if let Some(pixels) = ids.get_mut(run.start as usize..run.end as usize) {
                pixels.fill(class);
            }
        }
    }

    /// Returns a mask that is 1 where pixels are covered and 0 elsewhere.
    pub fn to_mask(&self) -> GrayImage {
        let mut mask = GrayImage::from_pixel(self.width, self.height, Luma([0]));
        self.paint(&mut mask, 1);
        mask
    }
}

/// Returns the number of pixels of an image, or an error if the image is too large for [`Runs`].
pub(super) fn checked_pixel_count(width: u32, height: u32) -> Result<u32> {
    match width.checked_mul(height) {
        Some(pixels) if pixels <= MAX_PIXELS && width.max(height) <= MAX_SIDE_PX => Ok(pixels),
        _ => Err(Error::TooLarge(format!(
            "is of an image of {width} x {height} pixels; allowed: up to {MAX_SIDE_PX} to a side \
             and {MAX_PIXELS} in all"
        ))),
    }
}

#[cfg(test)]
pub(super) mod tests;
