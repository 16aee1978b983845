//! The markers of a JPEG: a walk over them, and the repair of oddities that touch no pixel.
//!
//! libjpeg-turbo's interface tells the first warning of a file and hides the later ones, so a
//! harmless one would hide "premature end of data". Everything before the picture's data that the
//! library only wonders at is therefore put right here: a warning is then always about the data.

use std::borrow::Cow;
use std::ops::Range;

use super::exif::EXIF_IDENTIFIER;

/// Codes of markers.
pub(super) mod marker {
    pub(in super::super) const DHT: u8 = 0xc4;
    pub(in super::super) const EOI: u8 = 0xd9;
    pub(in super::super) const SOS: u8 = 0xda;
    pub(in super::super) const DRI: u8 = 0xdd;
    pub(super) const APP0: u8 = 0xe0;
    pub(super) const APP1: u8 = 0xe1;
    pub(super) const APP2: u8 = 0xe2;
    pub(super) const APP14: u8 = 0xee;
}

const TRUNCATED: &str = "a JPEG that is cut off: its end-of-image marker is missing";
const JFIF_IDENTIFIER: &[u8] = b"JFIF\0";
/// Size in bytes of JFIF's content up to the thumbnail. libjpeg does not recognize a shorter one.
const JFIF_BYTES: usize = 14;
const ICC_IDENTIFIER: &[u8] = b"ICC_PROFILE\0";
const ADOBE_IDENTIFIER: &[u8] = b"Adobe";
/// Offset of the color transform in Adobe's content.
const ADOBE_TRANSFORM_OFFSET: usize = 11;

/// A marker and the content of its segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) marker: u8,
    /// Offset of the marker: its 0xff, behind any fill bytes.
    pub(super) offset: usize,
    /// Content behind the length; empty for a marker that stands alone.
    pub(super) content: Range<usize>,
}

/// The markers of a file from the start of the image on. The data of a scan, which follow the
/// segment that begins it, are passed over.
#[derive(Debug, Clone)]
pub(super) struct Segments<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Segments<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        // The start-of-image marker has two bytes.
        Self { bytes, offset: 2 }
    }
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    /// Returns `None` at the end of the bytes. The end-of-image marker does not end the walk.
    fn next(&mut self) -> Option<Segment> {
        let code = find_marker(self.bytes, self.offset)?;
        let marker = self.bytes[code];
        let mut content = code + 1..code + 1;
        if !stands_alone(marker) {
            let length = self.bytes.get(code + 1..code + 3)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
            let end = (code + 1 + length).min(self.bytes.len());
            content = code + 3..end;
        }
        self.offset = content.end;
        Some(Segment { marker, offset: code - 1, content })
    }
}

/// Returns true for restart markers, starts and ends of images, and TEM.
fn stands_alone(marker: u8) -> bool {
    matches!(marker, 0x01 | 0xd0..=0xd9)
}

pub(super) fn is_restart_marker(marker: u8) -> bool {
    matches!(marker, 0xd0..=0xd7)
}

/// Finds the next marker's code at or after `start`: the byte after 0xff that is neither a stuffed
/// zero nor a fill byte.
pub(super) fn find_marker(bytes: &[u8], start: usize) -> Option<usize> {
    let mut offset = start;
    loop {
        offset += memchr::memchr(0xff, bytes.get(offset..)?)?;
        offset += bytes[offset..].iter().position(|&byte| byte != 0xff)?;
        if bytes[offset] != 0 {
            return Some(offset);
        }
    }
}

/// The content of a frame's header (SOF).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) marker: u8,
    /// Bits per sample.
    pub(super) precision: u8,
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) components: Vec<FrameComponent>,
}

/// A component in a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameComponent {
    pub(super) id: u8,
    /// Samples across and down per smallest unit of the picture.
    pub(super) across: u8,
    pub(super) down: u8,
}

impl FrameHeader {
    /// Reads the header from its segment, or returns `None` for a segment of another kind.
    pub(super) fn from_segment(bytes: &[u8], segment: &Segment) -> Option<Self> {
        let marker = segment.marker;
        let is_frame = matches!(marker, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf);
        if !is_frame {
            return None;
        }
        let (head, rest) = bytes.get(segment.content.clone())?.split_first_chunk::<6>()?;
        let mut components = Vec::new();
        for component in rest.chunks_exact(3).take(head[5].into()) {
            let factors = component[1];
            let (across, down) = (factors >> 4, factors & 15);
            components.push(FrameComponent { id: component[0], across, down });
        }
        Some(Self {
            marker,
            precision: head[0],
            width: u16::from_be_bytes([head[3], head[4]]),
            height: u16::from_be_bytes([head[1], head[2]]),
            components,
        })
    }

    /// Returns true for scans that each hold all coefficients of their blocks.
    pub(super) fn is_sequential(&self) -> bool {
        matches!(self.marker, 0xc0 | 0xc1 | 0xc9)
    }

    /// Checks that the picture's data are of a kind that can be decoded.
    fn check_kind(&self) -> Result<(), String> {
        match self.marker {
            0xc0..=0xc3 | 0xc9 | 0xca if self.precision == 8 => Ok(()),
            0xc3 => Err(format!(
                "a lossless JPEG with {} bits per sample that cannot be read; save it with 8 bits, \
                 or as a PNG",
                self.precision
            )),
            0xcb => Err("a lossless JPEG with arithmetic coding; save it as a PNG".to_owned()),
            0xc0..=0xc2 | 0xc9 | 0xca => Err(format!(
                "a JPEG with {} bits per sample; save it with 8 bits, or as a PNG",
                self.precision
            )),
            _ => Err("a hierarchical JPEG; save it as a plain JPEG or as a PNG".to_owned()),
        }
    }
}

/// Finds the EXIF data: the content of the first APP1 segment that begins with EXIF's identifier.
pub(super) fn find_exif(bytes: &[u8]) -> Option<&[u8]> {
    for segment in Segments::new(bytes) {
        match segment.marker {
            // The picture's data begin, or the file ends.
            marker::SOS | marker::EOI => return None,
            marker::APP1 => {
                let content = bytes.get(segment.content)?;
                if content.starts_with(EXIF_IDENTIFIER) {
                    return Some(content);
                }
            }
            _ => {}
        }
    }
    None
}

/// Checks that a file has a picture of a supported kind and an end marker, and repairs oddities
/// that touch no pixel. The decoder does not suffice: without the end it may report only a harmless
/// warning that came before.
///
/// Segments are skipped by their length, so that the end marker of a thumbnail inside the EXIF
/// segment does not count as the picture's. Bytes after the end marker do not matter. The error is
/// the whole text for the user.
pub(super) fn repair_markers(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>, String> {
    let edits = find_oddities(&bytes)?;
    if edits.is_empty() { Ok(bytes) } else { Ok(Cow::Owned(apply_edits(&bytes, &edits))) }
}

/// A change to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Edit {
    Remove(Range<usize>),
    /// Writes bytes over those at an offset.
    Overwrite(usize, Vec<u8>),
}

impl Edit {
    fn range(&self) -> Range<usize> {
        match self {
            Self::Remove(range) => range.clone(),
            Self::Overwrite(offset, bytes) => *offset..offset + bytes.len(),
        }
    }
}

/// Returns `bytes` with the edits, which are sorted by their offsets.
fn apply_edits(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len());
    let mut offset = 0;
    for edit in edits {
        let range = edit.range();
        result.extend_from_slice(bytes.get(offset..range.start).unwrap_or_default());
        if let Edit::Overwrite(_, replacement) = edit {
            result.extend_from_slice(replacement);
        }
        offset = range.end;
    }
    result.extend_from_slice(bytes.get(offset..).unwrap_or_default());
    result
}

/// Returns `bytes` without the ranges, which are sorted.
pub(super) fn without_ranges(bytes: &[u8], ranges: Vec<Range<usize>>) -> Vec<u8> {
    let edits: Vec<Edit> = ranges.into_iter().map(Edit::Remove).collect();
    apply_edits(bytes, &edits)
}

fn find_oddities(bytes: &[u8]) -> Result<Vec<Edit>, String> {
    let mut finder = OddityFinder { keeps_profile: has_whole_profile(bytes), ..Default::default() };
    let (mut is_in_scan, mut last_end) = (false, 2);
    for segment in Segments::new(bytes) {
        if !is_in_scan && has_strange_bytes(&bytes[last_end..segment.offset]) {
            finder.edits.push(Edit::Remove(last_end..segment.offset));
        }
        // Restart markers are part of a scan's data.
        is_in_scan &= is_restart_marker(segment.marker);
        is_in_scan |= segment.marker == marker::SOS;
        last_end = segment.content.end;
        match segment.marker {
            marker::EOI if finder.has_scan => return Ok(finder.into_edits(bytes)),
            marker::EOI => return Err("a JPEG without picture data".to_owned()),
            _ => finder.add_segment(bytes, &segment)?,
        }
    }
    Err(TRUNCATED.to_owned())
}

/// The oddities in the segments so far.
#[derive(Default)]
struct OddityFinder {
    /// True if the color profile's parts fit together.
    keeps_profile: bool,
    frame: Option<FrameHeader>,
    /// True if JFIF's segment precedes the first scan.
    has_jfif: bool,
    has_scan: bool,
    /// Offsets of Adobe's color transforms. Their segment may precede the frame's, which says the
    /// number of components.
    adobe_transforms: Vec<usize>,
    edits: Vec<Edit>,
}

impl OddityFinder {
    fn add_segment(&mut self, bytes: &[u8], segment: &Segment) -> Result<(), String> {
        let Range { start, end } = segment.content;
        let content = bytes.get(start..end).unwrap_or_default();
        match segment.marker {
            marker::SOS => {
                self.has_scan = true;
                self.repair_scan_header(start, content);
            }
            marker::APP0 if content.len() >= JFIF_BYTES && content.starts_with(JFIF_IDENTIFIER) => {
                self.has_jfif |= !self.has_scan;
                // The major version, of which 1 is the only one.
                if content[5] != 1 {
                    self.edits.push(Edit::Overwrite(start + 5, vec![1]));
                }
            }
            marker::APP2 if !self.keeps_profile && content.starts_with(ICC_IDENTIFIER) => {
                self.edits.push(Edit::Remove(segment.offset..end));
            }
            marker::APP14 if content.starts_with(ADOBE_IDENTIFIER) => {
                if content.len() > ADOBE_TRANSFORM_OFFSET {
                    self.adobe_transforms.push(start + ADOBE_TRANSFORM_OFFSET);
                }
            }
            0xf7 => return Err("a JPEG-LS image; save it as a plain JPEG or as a PNG".to_owned()),
            _ => {
                if let Some(frame) = FrameHeader::from_segment(bytes, segment) {
                    frame.check_kind()?;
                    self.frame.get_or_insert(frame);
                }
            }
        }
        Ok(())
    }

    /// Gives a sequential scan the only selection of coefficients that it can have. Some cameras
    /// write other numbers, which decoders ignore.
    fn repair_scan_header(&mut self, start: usize, content: &[u8]) {
        const ALL_COEFFICIENTS: [u8; 3] = [0, 63, 0];
        let Some(&count) = content.first() else { return };
        let offset = 1 + 2 * usize::from(count);
        if self.frame.as_ref().is_some_and(FrameHeader::is_sequential)
            && let Some(selection) = content.get(offset..offset + 3)
            && selection != ALL_COEFFICIENTS
        {
            self.edits.push(Edit::Overwrite(start + offset, ALL_COEFFICIENTS.to_vec()));
        }
    }

    /// Gives unknown color transforms the number of the one that decoders assume, and returns all
    /// edits, sorted by their offsets.
    fn into_edits(mut self, bytes: &[u8]) -> Vec<Edit> {
        // JFIF's colors are known without Adobe's segment.
        let with_colors = match self.frame.map(|frame| frame.components.len()) {
            Some(3) if !self.has_jfif => Some(1),
            Some(4) => Some(2),
            _ => None,
        };
        if let Some(with_colors) = with_colors {
            for offset in self.adobe_transforms {
                if bytes[offset] != 0 && bytes[offset] != with_colors {
                    self.edits.push(Edit::Overwrite(offset, vec![with_colors]));
                }
            }
        }
        self.edits.sort_by_key(|edit| edit.range().start);
        self.edits
    }
}

/// Returns true if a color profile is missing, or its numbered parts before the first scan are all
/// there, once each.
fn has_whole_profile(bytes: &[u8]) -> bool {
    let mut numbers_seen = [false; 256];
    let (mut part_count, mut data_bytes) = (None, 0);
    for segment in Segments::new(bytes) {
        match segment.marker {
            marker::SOS | marker::EOI => break,
            marker::APP2 => {}
            _ => continue,
        }
        let content = bytes.get(segment.content).unwrap_or_default();
        let Some(rest) = content.strip_prefix(ICC_IDENTIFIER) else { continue };
        let Some(&[number, count]) = rest.first_chunk() else { continue };
        let is_first = !std::mem::replace(&mut numbers_seen[usize::from(number)], true);
        if *part_count.get_or_insert(count) != count || number == 0 || number > count || !is_first {
            return false;
        }
        data_bytes += rest.len() - 2;
    }
    match part_count {
        None => true,
        Some(count) => {
            data_bytes > 0 && numbers_seen[1..=usize::from(count)].iter().all(|&seen| seen)
        }
    }
}

/// Returns true if bytes between two segments are more than fill bytes before a marker.
fn has_strange_bytes(between: &[u8]) -> bool {
    between.iter().any(|&byte| byte != 0xff)
}

#[cfg(test)]
mod tests;
