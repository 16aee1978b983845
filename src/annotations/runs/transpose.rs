//! Rows become columns, without looking at single pixels: COCO numbers pixels down the columns.

use std::ops::Range;

use super::Runs;

impl Runs {
    /// The same pixels of the image with its rows and columns exchanged: (column, row) becomes (row, column).
    ///
    /// Between two neighbouring lines only the pixels in which they differ are visited, and each of those begins or
    /// ends a run of the result: the work is that of reading one and writing the other.
    #[must_use]
    pub(in crate::annotations) fn transposed(&self) -> Self {
        let (lines, length) = (self.height, self.width);
        // Counted first, so that the ends of runs can be written where they belong and nothing is sorted.
        let mut first = vec![0_usize; length as usize + 1];
        self.changes(|_, columns| {
            for column in columns {
                first[column as usize + 1] += 1;
            }
        });
        for column in 1..first.len() {
            first[column] += first[column - 1];
        }
        let mut ends = vec![0_u32; first.last().copied().unwrap_or(0)];
        self.changes(|line, columns| {
            for column in columns {
                let next = &mut first[column as usize];
                ends[*next] = column * lines + line;
                *next += 1;
            }
        });
        // Of each column they are a start, an end, a start, an end ...
        Self::from_sorted(lines, length, ends.chunks_exact(2).map(|run| run[0]..run[1]))
    }

    /// Calls `changed` for the columns in which a row differs from the one above; beyond the image nothing is covered.
    fn changes(&self, mut changed: impl FnMut(u32, Range<u32>)) {
        let mut segments = self.segments().peekable();
        let (mut above, mut row) = (Vec::new(), Vec::new());
        let mut line = 0;
        while let Some(&(next, _)) = segments.peek() {
            // Below the last row that had runs is one without, unless it is the next.
            if next > line {
                differences(&above, &[], |columns| changed(line, columns));
                above.clear();
                line = next;
            }
            row.clear();
            while let Some((_, columns)) = segments.next_if(|(number, _)| *number == line) {
                row.push(columns);
            }
            differences(&above, &row, |columns| changed(line, columns));
            std::mem::swap(&mut above, &mut row);
            line += 1;
        }
        differences(&above, &[], |columns| changed(line, columns));
    }
}

/// The ranges that one of two lists covers and the other does not; both are sorted and disjoint.
fn differences(a: &[Range<u32>], b: &[Range<u32>], mut found: impl FnMut(Range<u32>)) {
    let ends = |list: &[Range<u32>], at: usize| {
        let range = list.get(at / 2)?;
        Some(if at.is_multiple_of(2) { range.start } else { range.end })
    };
    let (mut in_a, mut in_b) = (0, 0);
    let mut open = None;
    loop {
        // Wherever one of them begins or ends, being different begins or ends.
        let at = match (ends(a, in_a), ends(b, in_b)) {
            (Some(x), Some(y)) if x == y => {
                in_a += 1;
                in_b += 1;
                continue;
            }
            (Some(x), Some(y)) if x < y => {
                in_a += 1;
                x
            }
            (Some(x), None) => {
                in_a += 1;
                x
            }
            (_, Some(y)) => {
                in_b += 1;
                y
            }
            (None, None) => return,
        };
        match open.take() {
            Some(start) => found(start..at),
            None => open = Some(at),
        }
    }
}
