//! Rows become columns, without looking at single pixels: COCO numbers pixels down the columns.

use std::ops::Range;

use super::Runs;

impl Runs {
    /// The same pixels of the image with its rows and columns exchanged: (column, row) becomes (row, column).
    ///
    /// Between two neighboring lines only the pixels in which they differ are visited, and each of those begins or
    /// ends a run of the result: the work is that of reading one and writing the other.
    #[must_use]
    pub(in crate::annotations) fn transposed(&self) -> Self {
        let (row_count, column_count) = (self.height, self.width);
        // Counted first, so that the ends of runs can be written where they belong and nothing is sorted.
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
        // Of each column they are a start, an end, a start, an end ...
        Self::from_sorted(
            row_count,
            column_count,
            boundaries.chunks_exact(2).map(|bounds| bounds[0]..bounds[1]),
        )
    }

    /// Calls `changed` for the columns in which a row differs from the one above; beyond the image nothing is covered.
    fn for_each_change(&self, mut on_change: impl FnMut(u32, Range<u32>)) {
        let mut segments = self.row_segments().peekable();
        let (mut above, mut current) = (Vec::new(), Vec::new());
        let mut row_index = 0;
        while let Some(&(next_row, _)) = segments.peek() {
            // Below the last row that had runs is one without, unless it is the next.
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

/// The ranges that one of two lists covers and the other does not; both are sorted and disjoint.
fn for_each_difference(a: &[Range<u32>], b: &[Range<u32>], mut on_range: impl FnMut(Range<u32>)) {
    let boundary_at = |list: &[Range<u32>], index: usize| {
        let range = list.get(index / 2)?;
        Some(if index.is_multiple_of(2) { range.start } else { range.end })
    };
    let (mut index_a, mut index_b) = (0, 0);
    let mut open_start = None;
    loop {
        // Wherever one of them begins or ends, being different begins or ends.
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
