//! Polygons that cross themselves, by both rules, and beside Label Studio's editor.

use serde::Deserialize;

use super::*;

/// Shape that the editor filled. Points and places are in percent of the image.
#[derive(Deserialize)]
struct EditorShape {
    name: String,
    points: Vec<[f64; 2]>,
    faces: Vec<EditorFace>,
    /// Rows of pixels as the editor fills them, `?` where an edge of the fill is near.
    rows: Vec<String>,
}

/// Area between the lines of a shape.
#[derive(Deserialize)]
struct EditorFace {
    /// Place within the area.
    at: [f64; 2],
    /// Number of times that the outline goes around the area, clockwise on the screen.
    winding: i32,
    /// `#` if the editor fills the area, `.` if not.
    fill: char,
}

/// Reads the shapes that tests/editor/run.sh drew in the real editor.
fn read_editor_shapes() -> Vec<EditorShape> {
    let bytes = fs::read(Path::new(FOLDER).join("labelstudio/polygon_fill.json")).unwrap();
    let mut document: Value = serde_json::from_slice(&bytes).unwrap();
    serde_json::from_value(document["shapes"].take()).unwrap()
}

/// Converts percent of the image to pixels.
fn scale_points(points: &[[f64; 2]], width: u32, height: u32) -> Vec<[f64; 2]> {
    let mut scaled = Vec::new();
    for [x, y] in points {
        scaled.push([x * f64::from(width) / 100.0, y * f64::from(height) / 100.0]);
    }
    scaled
}

#[test]
fn the_nonzero_rule_fills_the_pixels_that_label_studios_editor_fills() {
    let shapes = read_editor_shapes();
    assert!(shapes.len() >= 12);
    for EditorShape { name, points, rows: expected, .. } in shapes {
        let (width, height) = (expected[0].len() as u32, expected.len() as u32);
        let points = scale_points(&points, width, height);
        let drawn = fill(&points, FillRule::NonZero, width, height);
        let mut compared = 0;
        for (row, (drawn, expected)) in drawn.iter().zip(&expected).enumerate() {
            for (column, (drawn, expected)) in drawn.chars().zip(expected.chars()).enumerate() {
                if expected != '?' {
                    assert_eq!(drawn, expected, "{name}, column {column}, row {row}");
                    compared += 1;
                }
            }
        }
        assert!(compared > width * height * 4 / 5, "{name}: {compared} pixels");
    }
}

#[test]
fn the_nonzero_rule_fills_every_face_that_label_studios_editor_fills() {
    let mut faces_of_even_winding = 0;
    for EditorShape { name, points, faces, .. } in read_editor_shapes() {
        for (width, height) in [(400, 300), (97, 211)] {
            let points = scale_points(&points, width, height);
            let masks = [FillRule::NonZero, FillRule::EvenOdd]
                .map(|rule| rasterize_polygon(&points, rule, width, height).unwrap().to_mask());
            for EditorFace { at, winding, fill } in &faces {
                let [x, y] = scale_points(&[*at], width, height)[0];
                let [nonzero, even_odd] = masks.each_ref().map(|mask| {
                    let pixel = mask.get_pixel(x as u32, y as u32);
                    pixel.0[0] == 1
                });
                assert_eq!(nonzero, *fill == '#', "{name} at {at:?}");
                assert_eq!(even_odd, winding % 2 != 0, "{name} at {at:?}");
                faces_of_even_winding += usize::from(nonzero && !even_odd);
            }
        }
    }
    assert!(faces_of_even_winding > 20, "{faces_of_even_winding}");
}

/// Returns the rows that a polygon covers by a rule.
fn fill(points: &[[f64; 2]], rule: FillRule, width: u32, height: u32) -> Vec<String> {
    rows(&rasterize_polygon(points, rule, width, height).unwrap())
}

#[test]
fn a_stars_middle_is_inside_by_the_nonzero_rule_alone() {
    let mut star = Vec::new();
    for corner in 0..5 {
        let angle = f64::from(corner) * 0.8 * std::f64::consts::PI;
        star.push([8.0 + 8.0 * angle.sin(), 8.5 - 8.0 * angle.cos()]);
    }
    let nonzero = rasterize_polygon(&star, FillRule::NonZero, 16, 16).unwrap();
    let even_odd = rasterize_polygon(&star, FillRule::EvenOdd, 16, 16).unwrap();
    let middle = nonzero.to_mask().get_pixel(8, 8).0[0];
    assert_eq!((middle, even_odd.to_mask().get_pixel(8, 8).0[0]), (1, 0));
    for (column, row) in [(8, 3), (1, 6), (14, 6)] {
        assert_eq!(even_odd.to_mask().get_pixel(column, row).0[0], 1, "{column}, {row}");
    }
    // A pentagon whose corners lie 0.38 of the radius from the middle.
    let pentagon_area = (nonzero.area() - even_odd.area()) as f64;
    assert!((pentagon_area - 22.2).abs() < 5.0, "{pentagon_area}");
}

#[test]
fn a_bow_tie_is_the_same_by_both_rules() {
    let bow_tie = [[0.0, 0.0], [6.0, 4.0], [6.0, 0.0], [0.0, 4.0]];
    for rule in [FillRule::NonZero, FillRule::EvenOdd] {
        assert_eq!(fill(&bow_tie, rule, 6, 4), ["#....#", "##..##", "##..##", "#....#"]);
    }
}

#[test]
fn a_loop_that_is_drawn_twice_is_inside_by_the_nonzero_rule_alone() {
    let square = [[1.0, 1.0], [5.0, 1.0], [5.0, 3.0], [1.0, 3.0]];
    let twice = [square, square].concat();
    let drawn = fill(&twice, FillRule::NonZero, 6, 4);
    assert_eq!(drawn, ["......", ".####.", ".####.", "......"]);
    assert_eq!(fill(&twice, FillRule::EvenOdd, 6, 4), ["......"; 4]);
}

#[test]
fn a_loop_that_runs_back_cuts_a_hole_by_both_rules_and_one_that_runs_on_does_not() {
    let square = [[0.0, 0.0], [6.0, 0.0], [6.0, 4.0], [0.0, 4.0], [0.0, 0.0]];
    let inner = [[2.0, 1.0], [4.0, 1.0], [4.0, 3.0], [2.0, 3.0], [2.0, 1.0]];
    let mut reversed = inner;
    reversed.reverse();
    let (back, on) = ([square, reversed].concat(), [square, inner].concat());
    let ring = ["######", "##..##", "##..##", "######"];
    assert_eq!(fill(&back, FillRule::NonZero, 6, 4), ring);
    assert_eq!(fill(&back, FillRule::EvenOdd, 6, 4), ring);
    assert_eq!(fill(&on, FillRule::NonZero, 6, 4), ["######"; 4]);
    assert_eq!(fill(&on, FillRule::EvenOdd, 6, 4), ring);
}

#[test]
fn the_rules_agree_where_parts_are_cut_off_by_the_image() {
    // Both loops reach past every side of the image.
    let far = [[-50.0, -40.0], [90.0, -40.0], [90.0, 70.0], [-50.0, 70.0]];
    assert_eq!(fill(&[far, far].concat(), FillRule::NonZero, 3, 2), ["###"; 2]);
    assert_eq!(fill(&[far, far].concat(), FillRule::EvenOdd, 3, 2), ["..."; 2]);
}

/// Returns how often a polygon goes around a point, in which direction by the sign; none if the
/// point is so near to the outline that rounding decides.
fn winding_number(points: &[[f64; 2]], x: f64, y: f64) -> Option<i64> {
    let mut turns = 0.0;
    for (at, &from) in points.iter().enumerate() {
        let to = points[(at + 1) % points.len()];
        // The angle under which the point sees a side; the sum over all sides is a multiple of a
        // whole turn.
        let (a, b) = ([from[0] - x, from[1] - y], [to[0] - x, to[1] - y]);
        let (cross, dot) = (a[0] * b[1] - a[1] * b[0], a[0] * b[0] + a[1] * b[1]);
        if cross.abs() < 1e-7 && dot <= 1e-7 {
            return None;
        }
        turns += cross.atan2(dot) / std::f64::consts::TAU;
    }
    Some(turns.round() as i64)
}

fn points(counts: std::ops::Range<usize>) -> impl Strategy<Value = Vec<[f64; 2]>> {
    vec((number(), number()).prop_map(|(x, y)| [x, y]), counts)
}

proptest! {
    #[test]
    fn a_polygon_is_that_of_every_pixels_center(
        points in points(0..12),
        (width, height) in (1..40_u32, 1..40_u32),
    ) {
        let nonzero = rasterize_polygon(&points, FillRule::NonZero, width, height).unwrap();
        every_pixel(&nonzero, |x, y| Some(winding_number(&points, x, y)? != 0))?;
        let even_odd = rasterize_polygon(&points, FillRule::EvenOdd, width, height).unwrap();
        every_pixel(&even_odd, |x, y| Some(winding_number(&points, x, y)? % 2 != 0))?;
        // Also of pixels whose centers lie on the outline.
        prop_assert_eq!(nonzero.union(&even_odd), nonzero);
    }

    #[test]
    fn a_polygon_that_does_not_cross_itself_is_the_same_by_both_rules(
        radii in vec(prop_oneof![0.5..30.0, (1..30_i32).prop_map(f64::from)], 3..20),
        (x, y) in (number(), number()),
        is_reversed in any::<bool>(),
        (width, height) in (1..40_u32, 1..40_u32),
    ) {
        // Seen from (x, y) the corners lie at growing angles, each less than half a turn on.
        let mut points = Vec::new();
        for (at, radius) in radii.iter().enumerate() {
            let angle = at as f64 / radii.len() as f64 * std::f64::consts::TAU;
            points.push([x + radius * angle.cos(), y + radius * angle.sin()]);
        }
        if is_reversed {
            points.reverse();
        }
        let nonzero = rasterize_polygon(&points, FillRule::NonZero, width, height).unwrap();
        let even_odd = rasterize_polygon(&points, FillRule::EvenOdd, width, height).unwrap();
        prop_assert_eq!(nonzero, even_odd);
    }

    #[test]
    fn the_direction_and_the_first_point_of_a_polygon_do_not_matter(
        points in points(3..10),
        start in 0..10_usize,
        (width, height) in (1..40_u32, 1..40_u32),
    ) {
        let mut other = points.clone();
        other.rotate_left(start % points.len());
        other.reverse();
        for rule in [FillRule::NonZero, FillRule::EvenOdd] {
            let drawn = rasterize_polygon(&points, rule, width, height).unwrap();
            prop_assert_eq!(rasterize_polygon(&other, rule, width, height).unwrap(), drawn);
        }
    }
}
