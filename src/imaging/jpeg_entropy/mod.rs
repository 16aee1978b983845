//! The Huffman-coded data of a JPEG's scans: a strict walk without pixels, which finds bytes that
//! belong to no block.
//!
//! libjpeg-turbo takes bad codes in silence where it is fast, and skips what is left of a scan when
//! all blocks have their coefficients. So "extraneous bytes" may be a camera's padding, or the
//! picture's own data behind a place where other bytes stand. The walk tells one from the other:
//! every code must be one of the table's, no block may have more than 64 coefficients, and what is
//! left over must look like padding. Only files with such bytes are walked.
//!
//! Coding: ITU-T T.81, sections F.2.2 (sequential) and G.2 (progressive).

mod bits;

use std::ops::Range;

use self::bits::{HuffmanTable, ScanBits};
use super::jpeg_markers::{FrameHeader, Segment, Segments, is_restart_marker, marker};

/// Number of coefficients in a block.
const BLOCK_COEFFICIENTS: u32 = 64;

/// Reason why the data are not walked to their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WalkError {
    /// The data are damaged. The text completes "a JPEG that is damaged: ".
    Damaged(String),
    /// The data are of a kind that is not walked: arithmetic coding, lossless, default tables.
    NotWalked,
}

type Result<T> = std::result::Result<T, WalkError>;

fn damaged(problem: &str) -> WalkError {
    WalkError::Damaged(problem.to_owned())
}

/// Walks all scans, and returns the ranges of padding behind their data, sorted.
pub(super) fn find_padding(bytes: &[u8]) -> Result<Vec<Range<usize>>> {
    let mut walk = ScanWalk::default();
    for segment in Segments::new(bytes) {
        let content = bytes.get(segment.content.clone()).unwrap_or_default();
        match segment.marker {
            marker::EOI => break,
            marker::DHT => walk.define_tables(content)?,
            marker::DRI => {
                let Some(interval) = content.first_chunk() else {
                    return Err(damaged("a restart interval without a number"));
                };
                walk.restart_interval = u16::from_be_bytes(*interval).into();
            }
            marker::SOS => {
                let scan = walk.read_scan_header(content)?;
                walk.walk_scan(&scan, &mut ScanBits::new(bytes, segment.content.end))?;
            }
            _ => walk.define_frame(bytes, &segment)?,
        }
    }
    Ok(walk.padding)
}

/// A component of the frame, with its size in blocks.
#[derive(Debug, Clone)]
struct Component {
    id: u8,
    across: usize,
    down: usize,
    /// Blocks that hold samples of the picture, in a row and in a column.
    columns: usize,
    rows: usize,
    /// Blocks in a row, with those that only fill up the last units.
    stride: usize,
    /// For each block of a progressive picture, a bit for each coefficient that is not zero.
    nonzero: Vec<u64>,
}

/// A component in a scan: its index in the frame, and its tables.
#[derive(Debug, Clone, Copy)]
struct ScanComponent {
    index: usize,
    dc_table: usize,
    ac_table: usize,
}

/// The header of a scan.
#[derive(Debug, Clone)]
struct ScanHeader {
    components: Vec<ScanComponent>,
    /// First and last coefficient, in zigzag order.
    first: u32,
    last: u32,
    /// True if the scan adds a bit to coefficients of an earlier one.
    is_refinement: bool,
}

/// The state of the walk.
#[derive(Default)]
struct ScanWalk {
    is_progressive: bool,
    components: Vec<Component>,
    units_across: usize,
    units_down: usize,
    /// Number of units between restart markers; 0 without them.
    restart_interval: usize,
    dc_tables: [Option<HuffmanTable>; 4],
    ac_tables: [Option<HuffmanTable>; 4],
    /// Number of blocks to come that have no more coefficients in this scan.
    end_of_band_run: u32,
    padding: Vec<Range<usize>>,
}

impl ScanWalk {
    fn define_tables(&mut self, content: &[u8]) -> Result<()> {
        let mut rest = content;
        while let Some((&place, tables)) = rest.split_first() {
            let Some((table, length)) = HuffmanTable::read(tables) else {
                return Err(damaged("a Huffman table is cut off"));
            };
            let tables_of_class =
                if place >> 4 == 0 { &mut self.dc_tables } else { &mut self.ac_tables };
            let Some(slot) = tables_of_class.get_mut(usize::from(place & 15)) else {
                return Err(damaged("a Huffman table has no number"));
            };
            *slot = Some(table);
            rest = &tables[length..];
        }
        Ok(())
    }

    fn define_frame(&mut self, bytes: &[u8], segment: &Segment) -> Result<()> {
        let Some(frame) = FrameHeader::from_segment(bytes, segment) else { return Ok(()) };
        if !matches!(frame.marker, 0xc0..=0xc2) {
            return Err(WalkError::NotWalked);
        }
        self.is_progressive = frame.marker == 0xc2;
        let (mut most_across, mut most_down) = (1, 1);
        for component in &frame.components {
            if !(1..=4).contains(&component.across) || !(1..=4).contains(&component.down) {
                return Err(damaged("a component has no size"));
            }
            most_across = most_across.max(usize::from(component.across));
            most_down = most_down.max(usize::from(component.down));
        }
        let (width, height) = (usize::from(frame.width), usize::from(frame.height));
        self.units_across = width.div_ceil(8 * most_across);
        self.units_down = height.div_ceil(8 * most_down);
        self.components.clear();
        for component in &frame.components {
            let (across, down) = (usize::from(component.across), usize::from(component.down));
            let stride = self.units_across * across;
            let blocks = if self.is_progressive { stride * self.units_down * down } else { 0 };
            self.components.push(Component {
                id: component.id,
                across,
                down,
                columns: (width * across).div_ceil(most_across).div_ceil(8),
                rows: (height * down).div_ceil(most_down).div_ceil(8),
                stride,
                nonzero: vec![0; blocks],
            });
        }
        Ok(())
    }

    fn read_scan_header(&self, content: &[u8]) -> Result<ScanHeader> {
        let cut_off = "a scan's header is cut off";
        let Some((&count, rest)) = content.split_first() else { return Err(damaged(cut_off)) };
        let Some(selectors) = rest.get(..2 * usize::from(count)) else {
            return Err(damaged(cut_off));
        };
        let mut components = Vec::new();
        for selector in selectors.chunks_exact(2) {
            let index = self.components.iter().position(|component| component.id == selector[0]);
            components.push(ScanComponent {
                index: index.ok_or_else(|| damaged("a scan of an unknown component"))?,
                dc_table: usize::from(selector[1] >> 4),
                ac_table: usize::from(selector[1] & 15),
            });
        }
        let Some(&[first, last, bits]) = rest[selectors.len()..].first_chunk() else {
            return Err(damaged(cut_off));
        };
        if components.is_empty() || components.len() > 4 || first > last || last > 63 {
            return Err(damaged("a scan's header makes no sense"));
        }
        Ok(ScanHeader {
            components,
            first: first.into(),
            last: last.into(),
            is_refinement: bits >> 4 != 0,
        })
    }

    /// Walks the data of a scan, which `bits` begins with.
    fn walk_scan(&mut self, scan: &ScanHeader, bits: &mut ScanBits<'_>) -> Result<()> {
        let (units_across, units_down) = match scan.components[..] {
            // A single component has no units but its own blocks.
            [only] => (self.components[only.index].columns, self.components[only.index].rows),
            _ => (self.units_across, self.units_down),
        };
        let mut units_in_interval = 0;
        let mut next_restart = 0;
        self.end_of_band_run = 0;
        for row in 0..units_down {
            for column in 0..units_across {
                if self.restart_interval > 0 && units_in_interval == self.restart_interval {
                    let (padding, code) = bits.skip_to_marker()?;
                    if !is_restart_marker(code) || code & 7 != next_restart {
                        return Err(damaged("a restart marker is missing"));
                    }
                    self.add_padding(padding);
                    (units_in_interval, self.end_of_band_run) = (0, 0);
                    next_restart = (next_restart + 1) % 8;
                }
                units_in_interval += 1;
                self.walk_unit(scan, row, column, bits)?;
            }
        }
        let (padding, _) = bits.skip_to_marker()?;
        self.add_padding(padding);
        Ok(())
    }

    fn add_padding(&mut self, padding: Range<usize>) {
        if !padding.is_empty() {
            self.padding.push(padding);
        }
    }

    fn walk_unit(
        &mut self,
        scan: &ScanHeader,
        row: usize,
        column: usize,
        bits: &mut ScanBits<'_>,
    ) -> Result<()> {
        if let [only] = scan.components[..] {
            let block = row * self.components[only.index].stride + column;
            return self.walk_block(scan, only, block, bits);
        }
        for &scan_component in &scan.components {
            let Component { across, down, stride, .. } = self.components[scan_component.index];
            for y in row * down..(row + 1) * down {
                for x in column * across..(column + 1) * across {
                    self.walk_block(scan, scan_component, y * stride + x, bits)?;
                }
            }
        }
        Ok(())
    }

    fn walk_block(
        &mut self,
        scan: &ScanHeader,
        component: ScanComponent,
        block: usize,
        bits: &mut ScanBits<'_>,
    ) -> Result<()> {
        if !self.is_progressive {
            self.walk_dc(component, bits)?;
            return self.walk_ac(component, bits);
        }
        match (scan.first, scan.is_refinement) {
            (0, false) => self.walk_dc(component, bits),
            (0, true) => bits.read(1).map(drop),
            (_, false) => self.walk_first_band(scan, component, block, bits),
            (_, true) => self.walk_refined_band(scan, component, block, bits),
        }
    }

    fn walk_dc(&self, component: ScanComponent, bits: &mut ScanBits<'_>) -> Result<()> {
        let size = find_table(&self.dc_tables, component.dc_table)?.decode(bits)?;
        if size > 15 {
            return Err(damaged("bad Huffman code"));
        }
        bits.read(size.into()).map(drop)
    }

    /// Walks the 63 coefficients of a block in a sequential scan.
    fn walk_ac(&self, component: ScanComponent, bits: &mut ScanBits<'_>) -> Result<()> {
        let table = find_table(&self.ac_tables, component.ac_table)?;
        let mut index = 1;
        while index < BLOCK_COEFFICIENTS {
            let (run, size) = split_symbol(table.decode(bits)?);
            if size == 0 && run != 15 {
                break;
            }
            bits.read(size)?;
            index = check_index(index + run, BLOCK_COEFFICIENTS - 1)? + 1;
        }
        Ok(())
    }

    /// Walks a band of coefficients that no earlier scan had.
    fn walk_first_band(
        &mut self,
        scan: &ScanHeader,
        component: ScanComponent,
        block: usize,
        bits: &mut ScanBits<'_>,
    ) -> Result<()> {
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            return Ok(());
        }
        let table = find_table(&self.ac_tables, component.ac_table)?;
        let nonzero = find_block(&mut self.components[component.index].nonzero, block)?;
        let mut index = scan.first;
        while index <= scan.last {
            let (run, size) = split_symbol(table.decode(bits)?);
            if size == 0 && run != 15 {
                self.end_of_band_run = (1 << run) + bits.read(run)? - 1;
                break;
            }
            bits.read(size)?;
            index = check_index(index + run, scan.last)?;
            if size > 0 {
                *nonzero |= 1 << index;
            }
            index += 1;
        }
        Ok(())
    }

    /// Walks a band whose coefficients get one more bit.
    fn walk_refined_band(
        &mut self,
        scan: &ScanHeader,
        component: ScanComponent,
        block: usize,
        bits: &mut ScanBits<'_>,
    ) -> Result<()> {
        let table = find_table(&self.ac_tables, component.ac_table)?;
        let nonzero = find_block(&mut self.components[component.index].nonzero, block)?;
        let mut index = scan.first;
        while self.end_of_band_run == 0 && index <= scan.last {
            let (run, size) = split_symbol(table.decode(bits)?);
            match size {
                0 if run != 15 => {
                    self.end_of_band_run = (1 << run) + bits.read(run)?;
                    break;
                }
                // The sign of a coefficient that becomes 1 or -1.
                0 | 1 => drop(bits.read(size)?),
                _ => return Err(damaged("bad Huffman code")),
            }
            // Coefficients that are zero count for the run; the others have a bit each.
            let mut zeros_left = run;
            while index <= scan.last {
                if *nonzero >> index & 1 == 1 {
                    bits.read(1)?;
                } else if zeros_left == 0 {
                    break;
                } else {
                    zeros_left -= 1;
                }
                index += 1;
            }
            index = check_index(index, scan.last)?;
            if size > 0 {
                *nonzero |= 1 << index;
            }
            index += 1;
        }
        if self.end_of_band_run > 0 {
            let band = *nonzero >> index << index & u64::MAX >> (63 - scan.last);
            for _ in 0..band.count_ones() {
                bits.read(1)?;
            }
            self.end_of_band_run -= 1;
        }
        Ok(())
    }
}

fn find_table(tables: &[Option<HuffmanTable>; 4], number: usize) -> Result<&HuffmanTable> {
    // Cameras' videos leave the tables out, and decoders have default ones.
    tables.get(number).and_then(Option::as_ref).ok_or(WalkError::NotWalked)
}

fn find_block(blocks: &mut [u64], block: usize) -> Result<&mut u64> {
    blocks.get_mut(block).ok_or_else(|| damaged("a scan has too many blocks"))
}

/// Splits a symbol into the number of zeros before a coefficient and the number of its bits.
fn split_symbol(symbol: u8) -> (u32, u32) {
    (u32::from(symbol >> 4), u32::from(symbol & 15))
}

fn check_index(index: u32, last: u32) -> Result<u32> {
    if index > last {
        return Err(damaged("a block has more coefficients than there is room for"));
    }
    Ok(index)
}

#[cfg(test)]
mod tests;
