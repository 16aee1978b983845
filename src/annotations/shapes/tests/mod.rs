mod fill_rule;

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::super::runs::tests::rows;
use super::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/annotations");

#[test]
fn polygons_of_an_export_are_their_reference_masks() {
    let index = fs::read(Path::new(FOLDER).join("masks/geometry/index.json")).unwrap();
    let index: Vec<Value> = serde_json::from_slice(&index).unwrap();
    assert_eq!(index.len(), 3);
    for entry in index {
        let size = |key: &str| entry[key].as_u64().unwrap() as u32;
        let (width, height) = (size("original_width"), size("original_height"));
        let points: Vec<[f64; 2]> =
            serde_json::from_value(entry["value"]["points"].clone()).unwrap();
        let scaled =
            |[x, y]: [f64; 2]| [x * f64::from(width) / 100.0, y * f64::from(height) / 100.0];
        let points: Vec<_> = points.into_iter().map(scaled).collect();
        let runs = rasterize_polygon(&points, FillRule::NonZero, width, height).unwrap();
        let name = entry["file"].as_str().unwrap();
        let mask = image::open(Path::new(FOLDER).join(name)).unwrap().into_luma8();
        assert_eq!(runs.area(), u64::from(size("pixels")), "{name}");
        assert!(runs == Runs::from_mask_where(&mask, |value| value > 0), "{name}");
    }
}

#[test]
fn a_rectangle_covers_the_pixels_whose_centers_are_inside() {
    let runs = rasterize_rectangle(0.6, 0.4, 2.8, 1.2, 0.0, 5, 3).unwrap();
    assert_eq!(rows(&runs), [".##..", ".##..", "....."]);
    // A rotation by 90 degrees about the upper left corner: what was to the right is below.
    let runs = rasterize_rectangle(3.0, 0.0, 2.0, 3.0, 90.0, 5, 3).unwrap();
    assert_eq!(rows(&runs), ["###..", "###..", "....."]);
    assert_eq!(runs, rasterize_rectangle(3.0, 0.0, 2.0, 3.0, -270.0, 5, 3).unwrap());
    assert!(rasterize_rectangle(1.0, 1.0, 0.0, 2.0, 30.0, 5, 3).unwrap().is_empty());
}

#[test]
fn an_angle_a_hair_below_0_is_that_of_a_full_turn() {
    let level = rasterize_rectangle(1.0, 1.0, 3.0, 2.0, 0.0, 9, 9).unwrap();
    assert_eq!(rasterize_rectangle(1.0, 1.0, 3.0, 2.0, -1e-30, 9, 9).unwrap(), level);
}

#[test]
fn shapes_that_share_an_edge_neither_overlap_nor_leave_a_gap() {
    let (width, height) = (50, 40);
    let middle = [20.5, 18.5];
    let corners = [[0.0, 0.0], [50.0, 0.0], [50.0, 40.0], [0.0, 40.0]];
    let mut covered = 0;
    let mut union = Runs::new(width, height);
    for (at, corner) in corners.iter().enumerate() {
        let triangle = [*corner, corners[(at + 1) % 4], middle];
        let runs = rasterize_polygon(&triangle, FillRule::NonZero, width, height).unwrap();
        covered += runs.area();
        union = union.union(&runs);
    }
    assert_eq!((covered, union.area()), (2000, 2000));
}

#[test]
fn rings_follow_the_even_odd_rule() {
    let square = [[0.0, 0.0], [6.0, 0.0], [6.0, 4.0], [0.0, 4.0]];
    let hole = [[2.0, 1.0], [4.0, 1.0], [4.0, 3.0], [2.0, 3.0]];
    let runs = rasterize_rings([&square[..], &hole[..]], 6, 4).unwrap();
    assert_eq!(rows(&runs), ["######", "##..##", "##..##", "######"]);
    assert!(rasterize_rings([&square[..], &square[..]], 6, 4).unwrap().is_empty());
}

#[test]
fn fewer_than_3_points_have_no_inside() {
    for points in [&[][..], &[[1.0, 1.0]], &[[0.0, 0.0], [5.0, 5.0]]] {
        assert!(rasterize_polygon(points, FillRule::NonZero, 6, 6).unwrap().is_empty());
    }
}

#[test]
fn numbers_that_cannot_be_reckoned_with_are_refused() {
    for wrong in [f64::NAN, f64::INFINITY, -2e9] {
        let told = [
            rasterize_polygon(&[[0.0, 0.0], [1.0, wrong], [1.0, 1.0]], FillRule::NonZero, 5, 5),
            rasterize_polygon(&[[wrong, 0.0], [1.0, 2.0], [1.0, 1.0]], FillRule::NonZero, 5, 5),
            rasterize_rectangle(wrong, 0.0, 1.0, 1.0, 0.0, 5, 5),
            rasterize_rectangle(0.0, 0.0, 1.0, wrong, 0.0, 5, 5),
            rasterize_ellipse(0.0, wrong, 1.0, 1.0, 0.0, 5, 5),
            rasterize_ellipse(0.0, 0.0, wrong, 1.0, 0.0, 5, 5),
        ];
        for result in told {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("allowed: numbers from"), "{error}");
        }
    }
    assert!(
        rasterize_rectangle(0.0, 0.0, -1.0, 1.0, 0.0, 5, 5)
            .unwrap_err()
            .to_string()
            .contains("width = -1e0")
    );
    assert!(
        rasterize_ellipse(0.0, 0.0, 1.0, -1.0, 0.0, 5, 5)
            .unwrap_err()
            .to_string()
            .contains("radiusY = -1e0")
    );
    let error = rasterize_rectangle(0.0, 0.0, 1.0, 1.0, f64::NAN, 5, 5).unwrap_err().to_string();
    assert!(error.contains("rotation = NaN"), "{error}");
    assert!(
        rasterize_polygon(&[], FillRule::NonZero, 1 << 16, 1 << 16)
            .unwrap_err()
            .to_string()
            .contains("allowed: up to")
    );
}

#[test]
fn work_without_end_is_refused_before_it_begins() {
    let zigzag: Vec<_> = (0..1001).map(|i| [f64::from(i), f64::from(i % 2) * 6e4]).collect();
    let error = rasterize_polygon(&zigzag, FillRule::NonZero, 10, 60_000).unwrap_err().to_string();
    assert!(error.contains("60000000 times; allowed: 50000000"), "{error}");
    assert!(rasterize_polygon(&zigzag, FillRule::NonZero, 10, 600).unwrap().area() > 0);
}

#[test]
fn a_shape_far_outside_covers_nothing_and_one_far_around_everything() {
    let far = 9e8;
    let outside = [[far, 1.0], [far, 3.0], [far + 9.0, 2.0]];
    assert!(rasterize_polygon(&outside, FillRule::NonZero, 7, 5).unwrap().is_empty());
    assert!(rasterize_ellipse(-far, 1.0, 5.0, 5.0, 3.0, 7, 5).unwrap().is_empty());
    let around = [[-far, -far], [far, -far], [far, far], [-far, far]];
    assert_eq!(rasterize_polygon(&around, FillRule::NonZero, 7, 5).unwrap().area(), 35);
    assert_eq!(rasterize_ellipse(3.0, 3.0, far, far, 77.0, 7, 5).unwrap().area(), 35);
    assert_eq!(rasterize_rectangle(0.0, -1000.0, far, far, 45.0, 7, 5).unwrap().area(), 35);
}

/// Compares every pixel with the place of its center: inside, outside, or so near to the outline
/// that rounding decides (`None`).
fn every_pixel(
    runs: &Runs,
    is_inside: impl Fn(f64, f64) -> Option<bool>,
) -> Result<(), TestCaseError> {
    for (column, row, pixel) in runs.to_mask().enumerate_pixels() {
        if let Some(expected) = is_inside(f64::from(column) + 0.5, f64::from(row) + 0.5) {
            prop_assert_eq!(pixel.0[0] == 1, expected, "column {}, row {}", column, row);
        }
    }
    Ok(())
}

/// Returns true for a distance inside of an outline, false outside, and none on it. Distances are
/// in pixels, positive inside.
fn decided(distance: f64) -> Option<bool> {
    (distance.abs() > 1e-9).then_some(distance > 0.0)
}

/// Returns the coordinates along two axes that are rotated clockwise about a point.
fn turned_back([x, y]: [f64; 2], about: [f64; 2], degrees: f64) -> [f64; 2] {
    let (dx, dy) = (x - about[0], y - about[1]);
    let angle = degrees.to_radians();
    [dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -20.0..50.0,
        (-20..50_i32).prop_map(f64::from),
        (-40..99_i32).prop_map(|n| f64::from(n) / 2.0)
    ]
}

fn side() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..40.0, (0..40_i32).prop_map(f64::from)]
}

fn angle() -> impl Strategy<Value = f64> {
    prop_oneof![-400.0..800.0, (-9..9_i32).prop_map(|n| f64::from(n) * 45.0)]
}

proptest! {
    #[test]
    fn a_turned_rectangle_is_that_of_every_pixels_center(
        (x, y, w, h) in (number(), number(), side(), side()),
        rotation in angle(),
        (width, height) in (1..40_u32, 1..40_u32),
    ) {
        let runs = rasterize_rectangle(x, y, w, h, rotation, width, height).unwrap();
        every_pixel(&runs, |px, py| {
            let [u, v] = turned_back([px, py], [x, y], rotation);
            decided(u.min(w - u).min(v).min(h - v))
        })?;
    }

    #[test]
    fn a_turned_ellipse_is_that_of_every_pixels_center(
        (cx, cy, rx, ry) in (number(), number(), side(), side()),
        rotation in angle(),
        (width, height) in (1..40_u32, 1..40_u32),
    ) {
        let runs = rasterize_ellipse(cx, cy, rx, ry, rotation, width, height).unwrap();
        prop_assert!(!(rx == 0.0 || ry == 0.0) || runs.is_empty());
        every_pixel(&runs, |px, py| {
            let [u, v] = turned_back([px, py], [cx, cy], rotation);
            // The test does not divide, so that a radius of 0 has no inside.
            let place = (rx * ry).powi(2) - (u * ry).powi(2) - (v * rx).powi(2);
            if rx * ry == 0.0 { Some(false) } else { decided(place / (rx * ry).powi(2)) }
        })?;
    }

    #[test]
    fn any_numbers_are_runs_or_an_error(
        numbers in proptest::array::uniform5(any::<f64>()),
        points in vec((any::<f64>(), any::<f64>()), 0..6),
        scale in prop_oneof![Just(1.0), Just(1e-300), Just(1e-290)],
        (width, height) in (0..70_u32, 0..70_u32),
    ) {
        let [a, b, c, d, e] = numbers.map(|number| number * scale);
        let points: Vec<_> = points.iter().map(|&(x, y)| [x * scale, y * scale]).collect();
        for result in [
            rasterize_rectangle(a, b, c, d, e, width, height),
            rasterize_ellipse(a, b, c, d, e, width, height),
            rasterize_polygon(&points, FillRule::NonZero, width, height),
            rasterize_polygon(&points, FillRule::EvenOdd, width, height),
        ] {
            prop_assert!(result.is_err() || result.unwrap().area() <= u64::from(width * height));
        }
    }
}
