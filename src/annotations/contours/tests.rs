use image::GrayImage;
use proptest::prelude::*;

use super::super::runs::tests::{any_mask, rows};
use super::super::shapes::{FillRule, rasterize_polygon};
use super::*;

/// Returns pixels from rows of `#` and `.`.
fn drawn<const N: usize>(rows: [&str; N]) -> Runs {
    let pixels = rows.concat().bytes().map(|byte| u8::from(byte == b'#')).collect();
    let mask = GrayImage::from_raw(rows[0].len() as u32, N as u32, pixels).unwrap();
    Runs::from_class(&mask, 1)
}

/// Returns twice the area inside of a ring, positive if the ring is clockwise on the screen.
fn area(ring: &[[f64; 2]]) -> f64 {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum()
}

/// Returns the pixels of all outlines together.
fn painted(outlines: &[Outline], like: &Runs) -> Runs {
    let mut union = Runs::new(like.width(), like.height());
    for outline in outlines {
        union = union.union(&outline.rasterize(like.width(), like.height()).unwrap());
    }
    union
}

/// Counts the parts by flood filling: pixels that share a side belong to one part.
fn parts_by_filling(runs: &Runs) -> usize {
    let mut mask = runs.to_mask();
    let mut parts = 0;
    for start in 0..mask.len() as u32 {
        let mut open = vec![(start % mask.width(), start / mask.width())];
        let mut is_new = false;
        while let Some((x, y)) = open.pop() {
            if let Some(pixel) = mask.get_pixel_mut_checked(x, y).filter(|pixel| pixel.0[0] == 1) {
                pixel.0[0] = 0;
                is_new = true;
                open.extend([
                    (x + 1, y),
                    (x, y + 1),
                    (x.wrapping_sub(1), y),
                    (x, y.wrapping_sub(1)),
                ]);
            }
        }
        parts += usize::from(is_new);
    }
    parts
}

#[test]
fn a_pixel_is_a_square_from_its_upper_left_corner_on() {
    let outlines = trace_outlines(&drawn(["...", ".#.", "..."]), 0.0);
    let square = vec![[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]];
    assert_eq!(outlines, [Outline { outer: square, holes: vec![] }]);
}

#[test]
fn an_island_in_a_hole_is_a_part_of_its_own() {
    let runs = drawn(["#####", "#...#", "#.#.#", "#...#", "#####", "....."]);
    let outlines = trace_outlines(&runs, 0.0);
    assert_eq!(outlines.len(), 2);
    assert_eq!(outlines[0].holes, [[[1.0, 1.0], [1.0, 4.0], [4.0, 4.0], [4.0, 1.0]]]);
    assert_eq!((outlines[0].outer.len(), outlines[1].outer.len()), (4, 4));
    assert!(outlines[1].holes.is_empty());
}

#[test]
fn pixels_that_touch_at_a_corner_are_two_parts() {
    assert_eq!(trace_outlines(&drawn(["#.", ".#"]), 0.0).len(), 2);
    assert_eq!(trace_outlines(&drawn([".#", "#."]), 0.0).len(), 2);
    // The pixels are one part, and the two uncovered pixels in the middle are one hole.
    let eight = drawn(["####", "#.##", "##.#", "####"]);
    let outlines = trace_outlines(&eight, 0.0);
    assert_eq!((outlines.len(), outlines[0].holes.len()), (1, 1));
    assert_eq!(painted(&outlines, &eight), eight);
}

#[test]
fn arms_that_meet_below_are_one_part() {
    let comb = drawn(["#.#.#", "#.#.#", "#####", "#.#.#"]);
    assert_eq!(trace_outlines(&comb, 0.0).len(), 1);
    assert_eq!(trace_outlines(&comb, 0.0)[0].outer.len(), 20);
}

#[test]
fn nothing_has_no_outline() {
    for runs in [Runs::new(4, 3), Runs::new(0, 0)] {
        assert!(trace_outlines(&runs, 0.0).is_empty() && trace_outlines(&runs, 2.0).is_empty());
    }
}

#[test]
fn a_tolerance_makes_a_disc_a_polygon_of_few_points() {
    let disc =
        super::super::shapes::rasterize_ellipse(100.0, 100.0, 80.0, 60.0, 20.0, 200, 200).unwrap();
    let exact = trace_outlines(&disc, 0.0);
    let simple = trace_outlines(&disc, 1.0);
    assert!(exact[0].outer.len() > 200, "{}", exact[0].outer.len());
    assert!(simple[0].outer.len() < 40, "{}", simple[0].outer.len());
    let again = painted(&simple, &disc);
    let differing = again.union(&disc).area() * 2 - again.area() - disc.area();
    assert!(differing * 40 < disc.area(), "{differing} of {}", disc.area());
}

#[test]
fn a_tolerance_larger_than_a_part_leaves_a_pixel_of_it() {
    for tolerance in [1.0, 50.0, f64::INFINITY] {
        let runs = drawn(["#....", "..##.", "..##.", "....."]);
        let outlines = trace_outlines(&runs, tolerance);
        assert_eq!(outlines.len(), 2);
        for outline in &outlines {
            assert!(outline.outer.len() >= 3 && !outline.rasterize(5, 4).unwrap().is_empty());
        }
    }
}

#[test]
fn a_tolerance_that_is_no_number_or_negative_is_exact() {
    let runs = drawn(["#.#", "###"]);
    for tolerance in [f64::NAN, -1.0, f64::NEG_INFINITY] {
        assert_eq!(trace_outlines(&runs, tolerance), trace_outlines(&runs, 0.0));
    }
}

#[test]
fn a_long_ragged_outline_is_simplified_without_trouble() {
    // 8,000 teeth, each a little longer than the one before.
    let (width, height) = (16_000, 300);
    let teeth = (0..height).flat_map(|row| {
        let tooth =
            |column: &u32| column.is_multiple_of(2) && column / 2 * 280 / 8000 >= height - 10 - row;
        let columns = if row >= height - 10 {
            (0..width).collect::<Vec<_>>()
        } else {
            (0..width).filter(tooth).collect()
        };
        columns.into_iter().map(move |column| row * width + column..row * width + column + 1)
    });
    let runs = Runs::from_sorted(width, height, teeth);
    let outlines = trace_outlines(&runs, 0.9);
    assert_eq!(outlines.len(), 1);
    assert!(outlines[0].outer.len() > 3);
}

proptest! {
    #[test]
    fn exact_outlines_are_the_mask_again(mask in any_mask()) {
        let runs = Runs::from_class(&mask, 1);
        let outlines = trace_outlines(&runs, 0.0);
        prop_assert_eq!(rows(&painted(&outlines, &runs)), rows(&runs));
        prop_assert_eq!(outlines.len(), parts_by_filling(&runs));
        let mut sum = 0;
        for outline in &outlines {
            prop_assert!(area(&outline.outer) > 0.0);
            prop_assert!(outline.holes.iter().all(|hole| area(hole) < 0.0));
            for ring in outline.holes.iter().chain([&outline.outer]) {
                for (at, [x, y]) in ring.iter().enumerate() {
                    // Every point is a corner: one side is level, the other upright.
                    let before = ring[(at + ring.len() - 1) % ring.len()];
                    let after = ring[(at + 1) % ring.len()];
                    let is_upright = |to: [f64; 2]| to[0].total_cmp(x).is_eq();
                    let is_level = |to: [f64; 2]| to[1].total_cmp(y).is_eq();
                    prop_assert_eq!(is_upright(before), is_level(after));
                    prop_assert_eq!(is_upright(after), is_level(before));
                    prop_assert!(is_upright(before) != is_upright(after));
                }
            }
            sum += outline.rasterize(runs.width(), runs.height()).unwrap().area();
        }
        prop_assert_eq!(sum, runs.area());
    }

    #[test]
    fn outlines_cut_open_cover_the_same_pixels_by_both_rules(mask in any_mask(), tolerance in 0.0..9.0_f64) {
        let runs = Runs::from_class(&mask, 1);
        let (width, height) = (runs.width(), runs.height());
        for outline in trace_outlines(&runs, 0.0) {
            let expected = rows(&outline.rasterize(width, height).unwrap());
            for rule in [FillRule::EvenOdd, FillRule::NonZero] {
                let found = rasterize_polygon(&outline.cut_open(), rule, width, height).unwrap();
                prop_assert_eq!(rows(&found), expected.clone());
            }
        }
        // A simplified ring may cross itself, where the rules differ.
        for outline in trace_outlines(&runs, tolerance) {
            let ring = outline.cut_open();
            let found = rasterize_polygon(&ring, FillRule::EvenOdd, width, height).unwrap();
            prop_assert_eq!(rows(&found), rows(&outline.rasterize(width, height).unwrap()));
        }
    }

    #[test]
    fn simplified_outlines_keep_every_part_and_stay_near(mask in any_mask(), tolerance in 0.1..9.0_f64) {
        let runs = Runs::from_class(&mask, 1);
        let (exact, simple) = (trace_outlines(&runs, 0.0), trace_outlines(&runs, tolerance));
        prop_assert_eq!(exact.len(), simple.len());
        for (exact, simple) in exact.iter().zip(&simple) {
            let size = (runs.width(), runs.height());
            prop_assert!(!simple.rasterize(size.0, size.1).unwrap().is_empty());
            prop_assert_eq!(exact.holes.len(), simple.holes.len());
            let outer = rasterize_rings([&simple.outer[..]], size.0, size.1).unwrap();
            let mut holes = Runs::new(size.0, size.1);
            for hole in &simple.holes {
                let hole = rasterize_rings([&hole[..]], size.0, size.1).unwrap();
                prop_assert_eq!(holes.area() + hole.area(), holes.union(&hole).area(), "holes overlap");
                holes = holes.union(&hole);
            }
            prop_assert_eq!(outer.union(&holes), outer, "a hole is outside");
            let rings = |outline: &Outline| -> Vec<Vec<[f64; 2]>> {
                [vec![outline.outer.clone()], outline.holes.clone()].concat()
            };
            for (exact, simple) in rings(exact).iter().zip(rings(simple)) {
                prop_assert!(simple.len() >= 3);
                prop_assert!(simple.iter().all(|point| exact.contains(point)));
                for &[x, y] in exact {
                    let near = simple.iter().zip(simple.iter().cycle().skip(1)).any(|(from, to)| {
                        let by = [to[0] - from[0], to[1] - from[1]];
                        let along = ((x - from[0]) * by[0] + (y - from[1]) * by[1])
                            / (by[0] * by[0] + by[1] * by[1]).max(1e-9);
                        let along = along.clamp(0.0, 1.0);
                        (x - from[0] - along * by[0]).hypot(y - from[1] - along * by[1])
                            <= tolerance + 1e-9
                    });
                    prop_assert!(near);
                }
            }
        }
    }
}
