use std::iter;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A strategy for masks of 0 and 1: noise of any density with some squares on it, so that there are
/// long runs, holes, islands in holes and corners that touch.
pub(in crate::annotations) fn any_mask() -> impl Strategy<Value = GrayImage> {
    let square = (0..24_u32, 0..24_u32, 0..24_u32, 0..24_u32, any::<bool>());
    (1..24_u32, 1..24_u32, 0..=10_u8, vec(square, 0..6)).prop_flat_map(
        |(width, height, density, squares)| {
            let noise = vec(0..10_u8, (width * height) as usize);
            noise.prop_map(move |noise| {
                let noise = noise.iter().map(|&value| u8::from(value < density)).collect();
                let mut mask = GrayImage::from_raw(width, height, noise).unwrap();
                for &(x, y, w, h, value) in &squares {
                    for (column, row, pixel) in mask.enumerate_pixels_mut() {
                        if (x..x + w).contains(&column) && (y..y + h).contains(&row) {
                            pixel.0 = [value.into()];
                        }
                    }
                }
                mask
            })
        },
    )
}

/// Draws the runs for messages.
pub(in crate::annotations) fn rows(runs: &Runs) -> Vec<String> {
    let mask = runs.to_mask();
    let text = |row: &[u8]| row.iter().map(|&id| if id == 0 { '.' } else { '#' }).collect();
    mask.chunks(mask.width().max(1) as usize).map(text).collect()
}

/// Panics if the runs break the invariants of their type.
fn check(runs: &Runs) {
    let ranges: Vec<_> = runs.iter().collect();
    assert!(ranges.iter().all(|range| range.start < range.end));
    assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?}");
    assert!(ranges.last().is_none_or(|last| last.end <= runs.width() * runs.height()));
}

#[test]
fn ranges_that_overlap_or_touch_are_one_and_empty_ones_are_none() {
    let runs = Runs::from_unsorted(4, 3, [9..99, 2..2, 1..3, 3..4, 0..2, 6..7]);
    assert_eq!(runs.iter().collect::<Vec<_>>(), [0..4, 6..7, 9..12]);
    assert_eq!(rows(&runs), ["####", "..#.", ".###"]);
    assert_eq!((runs.area(), runs.is_empty()), (8, false));
    assert!(Runs::from_sorted(4, 3, [12..20, 5..5]).is_empty());
}

#[test]
fn a_run_that_goes_on_in_the_next_rows_is_cut_at_their_ends() {
    let runs = Runs::from_sorted(4, 4, iter::once(2..13));
    let segments: Vec<_> = runs.row_segments().collect();
    assert_eq!(segments, [(0, 2..4), (1, 0..4), (2, 0..4), (3, 0..1)]);
}

#[test]
fn painting_leaves_other_pixels_as_they_are() {
    let mut ids = GrayImage::from_pixel(3, 2, Luma([7]));
    Runs::from_sorted(3, 2, [1..2, 3..5]).paint(&mut ids, 9);
    assert_eq!(ids.as_raw(), &[7, 9, 7, 9, 9, 7]);
    assert_eq!(Runs::from_class(&ids, 9).iter().collect::<Vec<_>>(), [1..2, 3..5]);
}

#[test]
fn an_image_without_pixels_has_no_runs() {
    for (width, height) in [(0, 0), (0, 5), (5, 0)] {
        let runs = Runs::from_sorted(width, height, iter::once(0..7));
        assert!(runs.is_empty() && runs.transposed().is_empty());
        assert_eq!(runs.row_segments().count(), 0);
    }
}

#[test]
fn images_beyond_the_limit_are_refused_and_cost_nothing() {
    assert_eq!(checked_pixel_count(32_767, 32_769).unwrap(), MAX_PIXELS);
    for (width, height) in [(32_768, 32_768), (65_536, 1), (1, 65_536), (u32::MAX, u32::MAX)] {
        let error = checked_pixel_count(width, height).unwrap_err().to_string();
        assert!(error.contains(&format!("{width} x {height} pixels; allowed")), "{error}");
    }
    let runs = Runs::from_sorted(u32::MAX, u32::MAX, iter::once(5..u32::MAX));
    assert_eq!(runs, Runs::from_sorted(u32::MAX, u32::MAX, iter::once(5..MAX_PIXELS)));
    assert_eq!(runs.area(), u64::from(MAX_PIXELS) - 5);
}

proptest! {
    #[test]
    fn masks_are_runs_and_masks_again(mask in any_mask()) {
        let runs = Runs::from_class(&mask, 1);
        check(&runs);
        prop_assert_eq!(runs.area(), mask.iter().copied().map(u64::from).sum::<u64>());
        prop_assert_eq!(runs.to_mask(), mask);
    }

    #[test]
    fn segments_are_the_runs_row_by_row(mask in any_mask()) {
        let runs = Runs::from_class(&mask, 1);
        let again = runs.row_segments().map(|(row, columns)| {
            assert!(columns.start < columns.end && columns.end <= runs.width());
            row * runs.width() + columns.start..row * runs.width() + columns.end
        });
        prop_assert_eq!(Runs::from_sorted(runs.width(), runs.height(), again), runs.clone());
    }

    #[test]
    fn a_union_covers_what_one_of_both_covers(mask in any_mask(), seed in any::<u64>()) {
        let other = |at: usize| u8::from(seed.rotate_left(at as u32).trailing_zeros() > 1);
        let other: Vec<u8> = (0..mask.len()).map(other).collect();
        let either = mask.iter().zip(&other).map(|(a, b)| a | b).collect();
        let of = |raw| Runs::from_class(&GrayImage::from_raw(mask.width(), mask.height(), raw).unwrap(), 1);
        let union = Runs::from_class(&mask, 1).union(&of(other));
        check(&union);
        prop_assert_eq!(union, of(either));
    }

    #[test]
    fn transposed_pixels_have_their_row_and_column_exchanged(mask in any_mask()) {
        let turned = GrayImage::from_fn(mask.height(), mask.width(), |x, y| *mask.get_pixel(y, x));
        let transposed = Runs::from_class(&mask, 1).transposed();
        check(&transposed);
        prop_assert_eq!(transposed, Runs::from_class(&turned, 1));
    }

    #[test]
    fn any_ranges_in_any_order_are_runs(
        (width, height) in (0..20_u32, 0..20_u32),
        ranges in vec((0..450_u32, 0..450_u32), 0..30),
    ) {
        let ranges = ranges.into_iter().map(|(start, end)| start..end);
        let runs = Runs::from_unsorted(width, height, ranges.clone());
        check(&runs);
        let covered = |pixel: u32| ranges.clone().any(|range| range.contains(&pixel));
        prop_assert_eq!(runs.area(), (0..width * height).filter(|&pixel| covered(pixel)).count() as u64);
    }
}
