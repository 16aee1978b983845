//! Transposition of runs without visiting single pixels: COCO numbers pixels down the columns.

use std::ops::Range;

use super::Runs;

impl Runs {
    /// Returns the same pixels of the image with its rows and columns exchanged: (column, row)
    /// becomes (row, column).
    ///
    /// Between two neighboring rows only the pixels in which they differ are visited, and each of
    /// those begins or ends a run of the result within a column. So the time grows with the
    /// segments of rows that are read and the segments of columns that are written, not with the
    /// pixels.
    #[must_use]
    pub(in crate::annotations) fn transposed(&self) -> Self {
        let (row_count, column_count) = (self.height, self.width);
        // A first pass counts the ends of runs per column, so that the second can write each to its
        // place and nothing has to be sorted.
        let mut column_starts = vec![0_usize; column_count as usize + 1];
        self.for_each_change(|_, columns| {
            for column in columns {
                column_starts[column as usize + 1] += 1;
            }
        });
        for column in 1..column_starts.len() {
            column_starts[column] += column_starts[column - 1];
        }
        let mut boundaries = vec![0_u32; column_starts.last().copied().unwrap_or(0)];
        self.for_each_change(|line, columns| {
            for column in columns {
                let slot = &mut column_starts[column as usize];
                boundaries[*slot] = column * row_count + line;
                *slot += 1;
            }
        });
        // The boundaries of each column are a start, an end, a start, an end and so on.
        Self::from_sorted(
            row_count,
            column_count,
            boundaries.chunks_exact(2).map(|bounds| bounds[0]..bounds[1]),
        )
    }

    /// Calls `on_change` with the number of a row and the ranges of columns in which it differs
    /// from the row above. Nothing is covered above the first row and below the last.
    fn for_each_change(&self, mut on_change: impl FnMut(u32, Range<u32>)) {
        let mut segments = self.row_segments().peekable();
        let (mut above, mut current) = (Vec::new(), Vec::new());
        let mut row_index = 0;
        while let Some(&(next_row, _)) = segments.peek() {
            // If rows without runs follow the last row, the first of them ends all of its runs.
            if next_row > row_index {
                for_each_difference(&above, &[], |columns| on_change(row_index, columns));
                above.clear();
                row_index = next_row;
            }
            current.clear();
            while let Some((_, columns)) =
                segments.next_if(|(segment_row, _)| *segment_row == row_index)
            {
                current.push(columns);
            }
            for_each_difference(&above, &current, |columns| on_change(row_index, columns));
            std::mem::swap(&mut above, &mut current);
            row_index += 1;
        }
        for_each_difference(&above, &[], |columns| on_change(row_index, columns));
    }
}

/// Calls `on_range` with the ranges that exactly one of two lists covers. Both lists are sorted and
/// disjoint.
fn for_each_difference(a: &[Range<u32>], b: &[Range<u32>], mut on_range: impl FnMut(Range<u32>)) {
    let (mut index_a, mut index_b) = (0, 0);
    let mut open_start = None;
    loop {
        // The lists begin or end to differ at every boundary that only one of them has.
        let boundary = match (boundary_at(a, index_a), boundary_at(b, index_b)) {
            (Some(x), Some(y)) if x == y => {
                index_a += 1;
                index_b += 1;
                continue;
            }
            (Some(x), Some(y)) if x < y => {
                index_a += 1;
                x
            }
            (Some(x), None) => {
                index_a += 1;
                x
            }
            (_, Some(y)) => {
                index_b += 1;
                y
            }
            (None, None) => return,
        };
        match open_start.take() {
            Some(start) => on_range(start..boundary),
            None => open_start = Some(boundary),
        }
    }
}

/// Returns the start of a range for an even index and its end for an odd one.
#[inline]
fn boundary_at(ranges: &[Range<u32>], index: usize) -> Option<u32> {
    let range = ranges.get(index / 2)?;
    Some(if index.is_multiple_of(2) { range.start } else { range.end })
}
