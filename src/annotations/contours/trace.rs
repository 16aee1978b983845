//! From runs to closed rings of corners, in one pass over the rows.
//!
//! The sides of covered pixels that face uncovered ones are walked with the covered pixel on the right: along the top
//! to the right, down the right side, along the bottom to the left, up the left side. Only corners are kept, each with
//! the one that follows it. Where two covered pixels touch at a corner only, there are two corners in one place, each
//! of which stays with its pixel: so the two are joined there by nothing, and uncovered ones across it are one hole.

use std::ops::Range;

use super::super::runs::Runs;

/// A closed ring of corners; sides are in turn level and upright, the last corner is joined to the first.
pub(super) struct Ring {
    pub(super) corners: Vec<[u32; 2]>,
    /// Which part it bounds: a number that all rings of the part have, and no others.
    pub(super) part: u32,
    /// Whether the part is outside of it.
    pub(super) is_hole: bool,
}

/// All rings, by their first corners: row by row from the top, each from the left.
pub(super) fn rings(runs: &Runs) -> Vec<Ring> {
    let mut trace = Trace::default();
    let mut segments = runs.segments().peekable();
    let mut columns = Vec::new();
    while let Some(&(row, _)) = segments.peek() {
        if row != trace.line {
            // Rows without runs are passed over, but for what ends at the first of them.
            trace.row(&[]);
            trace.line = row;
        }
        columns.clear();
        while let Some((_, range)) = segments.next_if(|(number, _)| *number == row) {
            columns.push(range);
        }
        trace.row(&columns);
    }
    trace.row(&[]);
    trace.closed()
}

/// Where a row's run begins or ends: an upright side that goes on downwards.
#[derive(Clone, Copy)]
struct Side {
    column: u32,
    /// Whether it is the left side of a run.
    is_left: bool,
    /// The part that the run belongs to.
    part: u32,
    /// The corner where the side began.
    top: u32,
}

struct Corner {
    at: [u32; 2],
    next: u32,
    part: u32,
}

#[derive(Default)]
struct Trace {
    corners: Vec<Corner>,
    /// Parts that turned out to be one, by union and find: the parent of each, itself if it has none.
    parents: Vec<u32>,
    /// The sides of the row above the line.
    above: Vec<Side>,
    /// The sides of the row below it.
    below: Vec<Side>,
    /// The line between two rows: the number of the lower one.
    line: u32,
}

impl Trace {
    /// Takes the next row's runs: the row below the line.
    fn row(&mut self, columns: &[Range<u32>]) {
        self.name_parts(columns);
        let (above, mut below) = (std::mem::take(&mut self.above), std::mem::take(&mut self.below));
        // The corner from which a level side goes on to the right.
        let mut level = None;
        let (mut is_above, mut is_below) = (false, false);
        let (mut a, mut b) = (0, 0);
        loop {
            let column = match (above.get(a), below.get(b)) {
                (Some(up), Some(down)) => up.column.min(down.column),
                (Some(side), None) | (None, Some(side)) => side.column,
                (None, None) => break,
            };
            let up = above.get(a).filter(|side| side.column == column).copied();
            let down = below.get_mut(b).filter(|side| side.column == column);
            let changes = (up.is_some(), down.is_some());
            a += usize::from(changes.0);
            b += usize::from(changes.1);
            match (up, down) {
                (Some(up), Some(down)) if up.is_left == down.is_left => down.top = up.top,
                (Some(up), Some(down)) => {
                    // Two pixels touch at this corner: the left one's comes first.
                    let left_is_above = is_above;
                    let (left, right) = if left_is_above {
                        (self.corner(column, up.part), self.corner(column, down.part))
                    } else {
                        (self.corner(column, down.part), self.corner(column, up.part))
                    };
                    let (upper, lower) = if left_is_above { (left, right) } else { (right, left) };
                    self.upright(up, upper);
                    down.top = lower;
                    if let Some(from) = level.replace(right) {
                        self.level(from, left, is_below);
                    }
                }
                (Some(up), None) => {
                    let corner = self.corner(column, up.part);
                    self.upright(up, corner);
                    level = self.end_or_begin(level, corner, is_below);
                }
                (None, Some(down)) => {
                    let corner = self.corner(column, down.part);
                    down.top = corner;
                    level = self.end_or_begin(level, corner, is_below);
                }
                (None, None) => {}
            }
            is_above ^= changes.0;
            is_below ^= changes.1;
        }
        self.below = above;
        self.below.clear();
        self.above = below;
        self.line += 1;
    }

    /// Makes the sides below the line, each with the part that its run belongs to: that of every run above with which
    /// it shares a column, or a new one.
    fn name_parts(&mut self, columns: &[Range<u32>]) {
        self.below.clear();
        let mut first = 0;
        for range in columns {
            let mut part = None;
            let mut at = first;
            while let Some([left, right]) = self.above.get(at..at + 2) {
                let (left, right) = (*left, *right);
                if left.column >= range.end {
                    break;
                }
                if right.column > range.start {
                    part = Some(part.map_or(left.part, |part| self.joined(part, left.part)));
                }
                // The last one may reach over the next run too.
                if right.column <= range.end {
                    first = at + 2;
                }
                at += 2;
            }
            let part = part.unwrap_or_else(|| {
                self.parents.push(self.parents.len() as u32);
                self.parents.len() as u32 - 1
            });
            let side = |column, is_left| Side { column, is_left, part, top: 0 };
            self.below.extend([side(range.start, true), side(range.end, false)]);
        }
    }

    /// Makes two parts one.
    fn joined(&mut self, a: u32, b: u32) -> u32 {
        let (a, b) = (self.find(a), self.find(b));
        self.parents[a.max(b) as usize] = a.min(b);
        a.min(b)
    }

    /// The part that a part has become.
    fn find(&mut self, mut part: u32) -> u32 {
        while self.parents[part as usize] != part {
            let parent = self.parents[part as usize];
            // Halves the way for those who come later.
            self.parents[part as usize] = self.parents[parent as usize];
            part = parent;
        }
        part
    }

    fn corner(&mut self, column: u32, part: u32) -> u32 {
        let number = self.corners.len() as u32;
        self.corners.push(Corner { at: [column, self.line], next: number, part });
        number
    }

    /// An upright side ends at a corner.
    fn upright(&mut self, side: Side, bottom: u32) {
        // The covered pixel is on the right of who walks: up a left side, down a right one.
        let (from, to) = if side.is_left { (bottom, side.top) } else { (side.top, bottom) };
        self.corners[from as usize].next = to;
    }

    /// A level side joins two corners; `is_below` says whether the covered pixels are below it.
    fn level(&mut self, left: u32, right: u32, is_below: bool) {
        let (from, to) = if is_below { (left, right) } else { (right, left) };
        self.corners[from as usize].next = to;
    }

    /// At a corner either a level side from the left ends, or one to the right begins.
    fn end_or_begin(&mut self, level: Option<u32>, corner: u32, is_below: bool) -> Option<u32> {
        let Some(from) = level else { return Some(corner) };
        self.level(from, corner, is_below);
        None
    }

    /// The rings that the corners form.
    fn closed(mut self) -> Vec<Ring> {
        let mut rings = Vec::new();
        let mut is_done = vec![false; self.corners.len()];
        for start in 0..self.corners.len() {
            if is_done[start] {
                continue;
            }
            let mut corners = Vec::new();
            let mut at = start;
            while !std::mem::replace(&mut is_done[at], true) {
                corners.push(self.corners[at].at);
                at = self.corners[at].next as usize;
            }
            // The first is the leftmost of the highest ones: a hole is left downwards, an outline to the right.
            let is_hole = corners.get(1).is_some_and(|second| second[0] == corners[0][0]);
            let part = self.find(self.corners[start].part);
            rings.push(Ring { corners, part, is_hole });
        }
        rings
    }
}
