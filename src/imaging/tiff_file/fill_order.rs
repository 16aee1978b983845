//! The order of bits in a TIFF's bytes. Fax machines and scanners write the leftmost pixel in the
//! lowest bit (`FillOrder` 2). As in libtiff, all bytes of the data are turned then, before they are
//! unpacked and at every number of bits.

use std::ops::Range;

/// Turns the bits of all bytes in `ranges`, which lie in the file. A byte in several ranges is
/// turned once.
pub(super) fn turn_bits(file: &mut [u8], mut ranges: Vec<Range<usize>>) {
    ranges.sort_by_key(|range| range.start);
    let mut turned_end = 0;
    for range in ranges {
        let start = range.start.max(turned_end);
        for byte in file.get_mut(start..range.end).unwrap_or_default() {
            *byte = byte.reverse_bits();
        }
        turned_end = turned_end.max(range.end);
    }
}
