use proptest::prelude::*;

use super::*;
use crate::annotations::shapes::FillRule;
use crate::colors::class_color;
use crate::imaging::encode_mask_with_colors;
use crate::preprocess::classes::Classes;

const BLACK: [u8; 3] = [0; 3];
const WHITE: [u8; 3] = [255; 3];
const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const OLIVE: [u8; 3] = [90, 110, 20];

/// Makes classes of labels with colors, class 1 first.
fn classes(labels: &[(&str, [u8; 3])], ignored: &[&str]) -> Classes {
    let labels = labels.iter().map(|(name, color)| ((*name).to_owned(), Some(*color))).collect();
    let ignored: Vec<String> = ignored.iter().map(|name| (*name).to_owned()).collect();
    Classes::new(labels, &ignored, &[], "x.xml").unwrap()
}

fn road_and_car() -> Classes {
    classes(&[("road", RED), ("car", BLUE)], &[])
}

fn palette_mask(palette: &[[u8; 3]], indices: &[u8]) -> ShownMask {
    let colors = palette.iter().map(|&[r, g, b]| [r, g, b, 255]).collect();
    ShownMask { ids: row(indices), colors, is_gray: false }
}

fn gray_mask(values: &[u8]) -> ShownMask {
    let colors = (0..=255).map(|gray| [gray, gray, gray, 255]).collect();
    ShownMask { ids: row(values), colors, is_gray: true }
}

fn row(values: &[u8]) -> GrayImage {
    GrayImage::from_raw(values.len() as u32, 1, values.to_vec()).unwrap()
}

fn options(classes: &Classes) -> RasterizeOptions<'_> {
    RasterizeOptions {
        classes,
        has_fixed_classes: true,
        annotated_as: None,
        limits: DecodeLimits::default(),
        polygon_rule: FillRule::NonZero,
    }
}

fn read(mask: ShownMask, classes: &Classes) -> Result<MaskFileContent, String> {
    read_shown_mask(mask, options(classes))
}

fn read_ids(mask: ShownMask, classes: &Classes) -> Vec<u8> {
    read(mask, classes).unwrap().class_ids.into_raw()
}

#[test]
fn a_palette_in_the_labels_colors_is_read_by_color_whatever_its_order() {
    let classes = road_and_car();
    for (palette, indices, expected) in [
        (&[BLACK, BLUE, RED][..], &[0, 1, 2][..], &[0, 2, 1][..]),
        (&[RED, BLUE, BLACK], &[0, 1, 2], &[1, 2, 0]),
        // White is the background as in masks of Ground Truth.
        (&[BLUE, WHITE, RED], &[0, 1, 2], &[2, 0, 1]),
        // An image without an object keeps the palette of the others.
        (&[RED, BLUE, BLACK], &[2, 2], &[0, 0]),
        (&[RED, BLUE, BLACK, BLACK, BLACK], &[2, 2], &[0, 0]),
        // Unused entries say nothing.
        (&[BLACK, BLUE, OLIVE, RED], &[0, 1, 3], &[0, 2, 1]),
        (&[BLACK, RED, BLACK], &[0, 1, 2], &[0, 1, 0]),
    ] {
        let content = read(palette_mask(palette, indices), &classes).unwrap();
        assert!(content.findings.is_read_by_color, "{palette:?}");
        assert_eq!(content.class_ids.into_raw(), expected, "{palette:?}");
    }
}

#[test]
fn a_palette_that_has_nothing_to_do_with_the_labels_is_read_by_index() {
    let classes = road_and_car();
    let voc: Vec<[u8; 3]> = (0..=255).map(class_color).collect();
    for (palette, indices) in [
        (&[BLACK, RED, BLUE][..], &[0, 1, 2][..]),
        (&[WHITE, RED, BLUE], &[0, 1, 2]),
        (&[BLACK, [255, 1, 1], BLUE], &[0, 1, 2]),
        (&voc[..], &[0, 1, 2, 255]),
        // Black, white and other colors beside the labels'.
        (&[BLACK, OLIVE, [20, 220, 90]], &[0, 1, 2]),
        (&[BLACK, BLACK, BLACK], &[0, 1, 2]),
        (&[BLACK, WHITE], &[0, 1]),
        (&[], &[0, 1, 2]),
    ] {
        let content = read(palette_mask(palette, indices), &classes).unwrap();
        assert!(!content.findings.is_read_by_color, "{palette:?}");
        assert_eq!(content.findings.remark, None);
        assert_eq!(content.class_ids.into_raw(), indices, "{palette:?}");
    }
}

#[test]
fn a_palette_of_voc_stays_by_index_and_chance_colors_are_told() {
    let classes = classes(&[("road", class_color(2)), ("car", OLIVE)], &[]);
    let voc: Vec<[u8; 3]> = (0..21).map(class_color).collect();
    let content = read(palette_mask(&voc, &[0, 1, 2]), &classes).unwrap();
    assert_eq!(content.class_ids.into_raw(), [0, 1, 2]);
    let remark = content.findings.remark.unwrap();
    assert!(remark.ends_with("2 is car by its value and road by its color #008000"), "{remark}");
}

#[test]
fn a_palette_of_which_only_some_colors_are_labels_is_refused_with_both_readings() {
    let classes = road_and_car();
    let found = read(palette_mask(&[BLACK, BLUE, OLIVE], &[0, 1, 2]), &classes).unwrap_err();
    assert!(found.contains("1 is road by its value and car by its color #0000ff; "), "{found}");
    assert!(found.contains("2 is car by its value and no label by its color #5a6e14"), "{found}");
    assert!(found.contains("labels without colors"), "{found}");
    // Colors that moved a little say another class than valid values.
    let near = [4, 4, 250];
    let found = read(palette_mask(&[BLACK, near, RED], &[0, 1, 2]), &classes).unwrap_err();
    assert!(found.contains("1 is road by its value and nearly car by its color"), "{found}");
    // Where values are no ids, the colors are all that is left.
    let content = read(palette_mask(&[BLACK, RED, BLUE, near], &[0, 1, 3, 3]), &classes).unwrap();
    assert_eq!(content.class_ids.into_raw(), [0, 1, 2, 2]);
    assert_eq!(content.findings.snapped_pixels, 2);
    let found = read(palette_mask(&[BLACK, RED, BLUE, OLIVE], &[0, 1, 3]), &classes).unwrap_err();
    assert!(found.starts_with("has values up to 3; with 3 classes allowed are 0 to 2"), "{found}");
    assert!(found.contains("3 is no class by its value and no label by its color"), "{found}");
}

#[test]
fn a_palette_in_which_only_one_label_has_its_color_is_refused() {
    let classes = road_and_car();
    for (palette, indices) in [
        (&[BLACK, RED, [1, 200, 3]][..], &[0, 1, 2][..]),
        (&[BLACK, OLIVE, BLUE], &[0, 1, 2]),
        (&[OLIVE, OLIVE, BLUE], &[1, 2]),
    ] {
        let found = read(palette_mask(palette, indices), &classes).unwrap_err();
        assert!(found.contains("by its value and no label by its color #"), "{found}");
    }
    // The colors of the background and of ignored pixels say nothing.
    let mut with_border = vec![OLIVE, RED, BLUE];
    with_border.resize(255, BLACK);
    with_border.push([9, 90, 90]);
    let by_value = palette_mask(&with_border, &[0, 1, 2, 255]);
    assert_eq!(read_ids(by_value, &classes), [0, 1, 2, 255]);
    // Neither does VOC's palette, cut to the colors that occur, which has the color of one label.
    let like_voc = self::classes(&[("road", class_color(1)), ("car", BLUE)], &[]);
    let cut = [BLACK, class_color(1), class_color(2)];
    assert_eq!(read_ids(palette_mask(&cut, &[0, 1, 2]), &like_voc), [0, 1, 2]);
}

#[test]
fn grays_that_are_the_labels_colors_are_read_by_color() {
    let crack = classes(&[("crack", WHITE)], &[]);
    let content = read(gray_mask(&[0, 255, 255]), &crack).unwrap();
    assert!(content.findings.is_read_by_color && !content.findings.holds_only_ignored);
    assert_eq!(content.class_ids.into_raw(), [0, 1, 1]);
    assert_eq!(read_ids(gray_mask(&[0, 0]), &crack), [0, 0]);
    let three = classes(&[("a", [64; 3]), ("b", [128; 3]), ("c", WHITE)], &[]);
    assert_eq!(read_ids(gray_mask(&[0, 64, 128, 255]), &three), [0, 1, 2, 3]);
    assert_eq!(read_ids(gray_mask(&[128, 128]), &three), [2, 2]);
    // A palette of grays is no other.
    let grays: Vec<[u8; 3]> = (0..=255).map(|gray| [gray; 3]).collect();
    assert_eq!(read_ids(palette_mask(&grays, &[0, 128, 255]), &three), [0, 2, 3]);
    let found = read(gray_mask(&[0, 64, 200]), &three).unwrap_err();
    assert!(found.contains("64 is no class by its value and a by its color #404040"), "{found}");
    // Black objects on white.
    let black = classes(&[("background", WHITE), ("ink", BLACK)], &[]);
    assert_eq!(read_ids(gray_mask(&[0, 255]), &black), [1, 0]);
}

#[test]
fn grays_that_are_class_ids_stay_ids() {
    let crack = classes(&[("crack", WHITE)], &[]);
    let content = read(gray_mask(&[0, 1, 255]), &crack).unwrap();
    assert_eq!(content.class_ids.into_raw(), [0, 1, 255]);
    let remark = content.findings.remark.unwrap();
    assert!(remark.contains("255 is read as ignored, because 1 are ids"), "{remark}");
    let dark = classes(&[("a", [2; 3]), ("b", [1; 3])], &[]);
    let content = read(gray_mask(&[0, 1, 2]), &dark).unwrap();
    assert_eq!(content.class_ids.into_raw(), [0, 1, 2]);
    assert!(content.findings.remark.unwrap().contains("1 is a by its value and b by its color"));
    // 1 bit: the value 1 looks white.
    let mut bits = gray_mask(&[0, 1]);
    bits.colors = vec![[0, 0, 0, 255], [255, 255, 255, 255]];
    assert_eq!(read_ids(bits.clone(), &crack), [0, 1]);
    assert_eq!(read(bits, &crack).unwrap().findings, MaskFindings::default());
}

#[test]
fn masks_of_0_and_255_are_noticed_unless_the_palette_shows_the_border() {
    let classes = road_and_car();
    assert!(read(gray_mask(&[0, 255]), &classes).unwrap().findings.holds_only_ignored);
    assert!(read(gray_mask(&[255]), &classes).unwrap().findings.holds_only_ignored);
    assert!(!read(gray_mask(&[0, 1, 255]), &classes).unwrap().findings.holds_only_ignored);
    let voc: Vec<[u8; 3]> = (0..=255).map(class_color).collect();
    let border = read(palette_mask(&voc, &[0, 255]), &classes).unwrap();
    assert!(!border.findings.holds_only_ignored);
}

#[test]
fn labels_of_one_color_are_told_only_where_the_color_decides() {
    let classes = classes(&[("a", RED), ("b", RED), ("c", BLUE)], &[]);
    assert_eq!(
        read_ids(palette_mask(&[BLACK, RED, RED, BLUE], &[0, 1, 2, 3]), &classes),
        [0, 1, 2, 3]
    );
    let found = read(palette_mask(&[RED, BLACK, BLUE], &[0, 1, 2]), &classes).unwrap_err();
    assert!(found.contains("the labels a and b have the same color"), "{found}");
}

#[test]
fn stretched_values_are_explained_where_they_are_refused() {
    let found = read(gray_mask(&[0, 127, 254]), &road_and_car()).unwrap_err();
    assert!(
        found.starts_with("has values up to 254; with 3 classes allowed are 0 to 2"),
        "{found}"
    );
    assert!(found.ends_with("to be seen: divide them by 127, rounded down"), "{found}");
}

#[test]
fn masks_in_black_and_white_need_a_label_that_is_white() {
    let rgb = |colors: &[[u8; 3]]| ColorMask {
        width: colors.len() as u32,
        height: 1,
        pixels: ColorPixels::Rgb(colors.concat()),
    };
    let read = |mask: &ColorMask, classes: &Classes| {
        read_label_colors(mask, options(classes)).map(|content| content.class_ids.into_raw())
    };
    let found = read(&rgb(&[BLACK, WHITE]), &road_and_car()).unwrap_err();
    assert!(found.contains("is black and white, and neither is the color of a label"), "{found}");
    assert_eq!(read(&rgb(&[BLACK, BLACK]), &road_and_car()).unwrap(), [0, 0]);
    assert_eq!(read(&rgb(&[WHITE, RED]), &road_and_car()).unwrap(), [0, 1]);
    let crack = classes(&[("crack", WHITE)], &[]);
    assert_eq!(read(&rgb(&[BLACK, WHITE]), &crack).unwrap(), [0, 1]);
}

proptest! {
    #[test]
    fn masks_that_preprocess_wrote_stay_as_they_are(
        colors in proptest::collection::vec(proptest::option::of(any::<[u8; 3]>()), 1..30),
        picks in proptest::collection::vec(any::<u8>(), 1..100),
    ) {
        let labels = colors.iter().enumerate().map(|(n, color)| (format!("l{n}"), *color)).collect();
        let classes = Classes::new(labels, &[], &[], "x.xml").unwrap();
        let class_count = classes.names().len();
        let ids = picks.iter().map(|pick| match pick {
            255 => 255,
            pick => (usize::from(*pick) % class_count) as u8,
        });
        let ids: Vec<u8> = ids.collect();
        let written = encode_mask_with_colors(&row(&ids), |id| classes.color(id));
        let mask = decode_shown_mask(&written, DecodeLimits::default()).unwrap();
        prop_assert_eq!(read_ids(mask, &classes), ids);
    }

    #[test]
    fn a_palette_in_any_order_gives_the_classes_that_were_painted(
        colors in proptest::collection::hash_set(any::<[u8; 3]>(), 2..20),
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 1..100),
        order in any::<u64>(),
    ) {
        let colors: Vec<[u8; 3]> =
            colors.into_iter().filter(|color| ![BLACK, WHITE].contains(color)).collect();
        prop_assume!(!colors.is_empty());
        let labels: Vec<(String, Option<[u8; 3]>)> =
            colors.iter().enumerate().map(|(n, color)| (format!("l{n}"), Some(*color))).collect();
        let classes = Classes::new(labels, &[], &[], "x.xml").unwrap();
        let painted: Vec<u8> =
            picks.iter().map(|pick| pick.index(colors.len() + 1) as u8).collect();
        let mut palette = vec![BLACK];
        palette.extend(&colors);
        let shift = (order % palette.len() as u64) as usize;
        palette.rotate_left(shift);
        let color = |id: u8| if id == 0 { BLACK } else { colors[usize::from(id) - 1] };
        let index = |id: u8| palette.iter().position(|known| *known == color(id)).unwrap() as u8;
        let indices: Vec<u8> = painted.iter().map(|id| index(*id)).collect();
        prop_assert_eq!(read_ids(palette_mask(&palette, &indices), &classes), painted);
    }

    #[test]
    fn any_mask_is_read_or_refused(
        palette: Vec<[u8; 4]>, indices in proptest::collection::vec(any::<u8>(), 1..50), is_gray: bool,
    ) {
        let mask = ShownMask { ids: row(&indices), colors: palette, is_gray };
        if let Ok(content) = read(mask, &road_and_car()) {
            prop_assert!(content.class_ids.iter().all(|id| *id < 3 || *id == 255));
        }
    }
}
