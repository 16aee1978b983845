//! Tracing of runs to closed rings of corners, in one pass over the rows.
//!
//! The path follows the sides between covered and uncovered pixels with the covered pixel on the
//! right: along the top to the right, down the right side, along the bottom to the left, up the
//! left side. Only corners are kept, each with the one that follows it. Where two covered pixels
//! touch at a corner only, that position has two corners, one for each pixel: so the two pixels
//! stay separate there, and the uncovered pixels across the corner are one hole.

use std::ops::Range;

use super::super::runs::Runs;

/// A closed ring of corners. Its sides are in turn horizontal and vertical, and the last corner is
/// joined to the first.
pub(super) struct Ring {
    pub(super) corners: Vec<[u32; 2]>,
    /// Number of the part that the ring bounds, shared by all rings of the part and no others.
    pub(super) component: u32,
    /// True if the part is outside of the ring.
    pub(super) is_hole: bool,
}

/// Returns all rings in the order of their first corners: row by row from the top, each row from
/// the left.
pub(super) fn trace_rings(runs: &Runs) -> Vec<Ring> {
    let mut tracer = Tracer::default();
    let mut segments = runs.row_segments().peekable();
    let mut columns = Vec::new();
    while let Some(&(row, _)) = segments.peek() {
        if row != tracer.line_row {
            // Rows without runs are skipped, except for the first of them, in which sides end.
            tracer.add_row(&[]);
            tracer.line_row = row;
        }
        columns.clear();
        while let Some((_, range)) = segments.next_if(|(next_row, _)| *next_row == row) {
            columns.push(range);
        }
        tracer.add_row(&columns);
    }
    tracer.add_row(&[]);
    tracer.into_rings()
}

/// A vertical side that continues downwards: the left or right end of a run.
#[derive(Clone, Copy)]
struct VerticalEdge {
    column: u32,
    /// True if the side is the left end of a run.
    is_left: bool,
    /// Number of the part to which the run belongs.
    component: u32,
    /// Index of the corner at which the side began.
    top_corner: u32,
}

struct RingCorner {
    position: [u32; 2],
    next: u32,
    component: u32,
}

#[derive(Default)]
struct Tracer {
    corners: Vec<RingCorner>,
    /// Disjoint-set forest of parts that turned out to be connected: the parent of each part,
    /// itself for a root.
    component_parents: Vec<u32>,
    /// Vertical sides of the row above the line.
    edges_above: Vec<VerticalEdge>,
    /// Vertical sides of the row below the line.
    edges_below: Vec<VerticalEdge>,
    /// The line between two rows: the number of the lower row.
    line_row: u32,
}

impl Tracer {
    /// Processes the runs of the next row, the row below the line.
    fn add_row(&mut self, columns: &[Range<u32>]) {
        self.label_components(columns);
        let (above, mut below) =
            (std::mem::take(&mut self.edges_above), std::mem::take(&mut self.edges_below));
        // The corner from which a horizontal side continues to the right.
        let mut open_corner = None;
        let (mut is_above, mut is_below) = (false, false);
        let (mut above_index, mut below_index) = (0, 0);
        loop {
            let column = match (above.get(above_index), below.get(below_index)) {
                (Some(up), Some(down)) => up.column.min(down.column),
                (Some(edge), None) | (None, Some(edge)) => edge.column,
                (None, None) => break,
            };
            let up = above.get(above_index).filter(|edge| edge.column == column).copied();
            let down = below.get_mut(below_index).filter(|edge| edge.column == column);
            let has_edge = (up.is_some(), down.is_some());
            above_index += usize::from(has_edge.0);
            below_index += usize::from(has_edge.1);
            match (up, down) {
                (Some(up), Some(down)) if up.is_left == down.is_left => {
                    down.top_corner = up.top_corner;
                }
                (Some(up), Some(down)) => {
                    // Two pixels touch at this corner: the corner of the left pixel comes first.
                    let left_is_above = is_above;
                    let (left, right) = if left_is_above {
                        (
                            self.add_corner(column, up.component),
                            self.add_corner(column, down.component),
                        )
                    } else {
                        (
                            self.add_corner(column, down.component),
                            self.add_corner(column, up.component),
                        )
                    };
                    let (upper, lower) = if left_is_above { (left, right) } else { (right, left) };
                    self.link_vertical(up, upper);
                    down.top_corner = lower;
                    if let Some(start) = open_corner.replace(right) {
                        self.link_horizontal(start, left, is_below);
                    }
                }
                (Some(up), None) => {
                    let corner = self.add_corner(column, up.component);
                    self.link_vertical(up, corner);
                    open_corner = self.end_or_begin_horizontal(open_corner, corner, is_below);
                }
                (None, Some(down)) => {
                    let corner = self.add_corner(column, down.component);
                    down.top_corner = corner;
                    open_corner = self.end_or_begin_horizontal(open_corner, corner, is_below);
                }
                (None, None) => {}
            }
            is_above ^= has_edge.0;
            is_below ^= has_edge.1;
        }
        self.edges_below = above;
        self.edges_below.clear();
        self.edges_above = below;
        self.line_row += 1;
    }

    /// Makes the sides below the line, each with the part of its run: that of every run above with
    /// which it shares a column, or a new part.
    fn label_components(&mut self, columns: &[Range<u32>]) {
        self.edges_below.clear();
        let mut first_above = 0;
        for range in columns {
            let mut component = None;
            let mut above_index = first_above;
            while let Some([left, right]) = self.edges_above.get(above_index..above_index + 2) {
                let (left, right) = (*left, *right);
                if left.column >= range.end {
                    break;
                }
                if right.column > range.start {
                    component = match component {
                        Some(other) => Some(self.union_components(other, left.component)),
                        None => Some(left.component),
                    };
                }
                // A run above that ends later may touch the next run too, so it is kept.
                if right.column <= range.end {
                    first_above = above_index + 2;
                }
                above_index += 2;
            }
            let component = match component {
                Some(component) => component,
                None => self.add_component(),
            };
            let left =
                VerticalEdge { column: range.start, is_left: true, component, top_corner: 0 };
            let right = VerticalEdge { column: range.end, is_left: false, ..left };
            self.edges_below.extend([left, right]);
        }
    }

    fn add_component(&mut self) -> u32 {
        let component = self.component_parents.len() as u32;
        self.component_parents.push(component);
        component
    }

    /// Merges two parts and returns the number of the merged part.
    fn union_components(&mut self, a: u32, b: u32) -> u32 {
        let (a, b) = (self.find_root(a), self.find_root(b));
        self.component_parents[a.max(b) as usize] = a.min(b);
        a.min(b)
    }

    /// Returns the root of a part in the disjoint-set forest.
    fn find_root(&mut self, mut component: u32) -> u32 {
        while self.component_parents[component as usize] != component {
            let parent = self.component_parents[component as usize];
            // Path halving shortens later searches.
            self.component_parents[component as usize] = self.component_parents[parent as usize];
            component = parent;
        }
        component
    }

    fn add_corner(&mut self, column: u32, component: u32) -> u32 {
        let index = self.corners.len() as u32;
        self.corners.push(RingCorner { position: [column, self.line_row], next: index, component });
        index
    }

    /// Links the two ends of a vertical side that ends at `bottom_corner`.
    fn link_vertical(&mut self, edge: VerticalEdge, bottom_corner: u32) {
        // The covered pixel is on the right of the path: up a left side, down a right one.
        let (from, to) = if edge.is_left {
            (bottom_corner, edge.top_corner)
        } else {
            (edge.top_corner, bottom_corner)
        };
        self.corners[from as usize].next = to;
    }

    /// Links the two ends of a horizontal side; `is_below` is true if the covered pixels are below
    /// it.
    fn link_horizontal(&mut self, left: u32, right: u32, is_below: bool) {
        let (from, to) = if is_below { (left, right) } else { (right, left) };
        self.corners[from as usize].next = to;
    }

    /// Ends the open horizontal side at a corner, or begins one there. Returns the corner from
    /// which a side is open afterwards.
    fn end_or_begin_horizontal(
        &mut self,
        open_corner: Option<u32>,
        corner: u32,
        is_below: bool,
    ) -> Option<u32> {
        let Some(start) = open_corner else { return Some(corner) };
        self.link_horizontal(start, corner, is_below);
        None
    }

    /// Collects the rings that the corners form.
    fn into_rings(mut self) -> Vec<Ring> {
        let mut rings = Vec::new();
        let mut is_visited = vec![false; self.corners.len()];
        for start in 0..self.corners.len() {
            if is_visited[start] {
                continue;
            }
            let mut corners = Vec::new();
            let mut index = start;
            while !std::mem::replace(&mut is_visited[index], true) {
                corners.push(self.corners[index].position);
                index = self.corners[index].next as usize;
            }
            // The first corner is the leftmost of the highest ones: from there a hole continues
            // downwards, an outer ring to the right.
            let is_hole = corners.get(1).is_some_and(|second| second[0] == corners[0][0]);
            let component = self.find_root(self.corners[start].component);
            rings.push(Ring { corners, component, is_hole });
        }
        rings
    }
}
