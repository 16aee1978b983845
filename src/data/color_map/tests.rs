use std::collections::BTreeSet;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::data::Sample;
use crate::data::class_names::RequiredClassNames;
use crate::imaging::{ColorMask, ColorPixels, DecodeLimits, decode_color_mask, encode_jpeg};

const WHITE: [u8; 3] = [255; 3];
const ROAD: [u8; 3] = [0x2a, 0xcf, 0x59];
const SKY: [u8; 3] = [0x1f, 0x77, 0xb4];

/// Makes Ground Truth's metadata of names and colors.
fn metadata(classes: &[(&str, &str)]) -> Value {
    let entries = classes.iter().enumerate().map(|(key, (name, hex))| {
        (key.to_string(), json!({"class-name": name, "hex-color": hex, "confidence": 0.9}))
    });
    json!({"internal-color-map": entries.collect::<Map<_, _>>(), "type": "groundtruth/semantic-segmentation"})
}

fn parse_error(metadata: &Value) -> String {
    ColorMap::parse(metadata).unwrap_err()
}

/// Makes a sample of the line `number` with a map.
fn sample(number: usize, classes: Option<&[(&str, &str)]>) -> Sample {
    let map =
        classes.map(|classes| Arc::new(ColorMap::parse(&metadata(classes)).unwrap().unwrap()));
    Sample {
        key: format!("line {number} (a.jpg)"),
        image: PathBuf::new().into(),
        mask: PathBuf::new().into(),
        label_map: None,
        color_map: map,
    }
}

/// Assigns ids to the samples of one split, which are those of the other split too.
fn assign_one_split(
    samples: &mut [Sample],
    required: Option<&[&str]>,
    num_classes: usize,
) -> Result<Option<Vec<String>>, Vec<String>> {
    let names =
        required.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let required =
        names.as_deref().map(|names| RequiredClassNames { names, source: "class_names" });
    assign_class_ids([("train", samples), ("validation", &mut [])], required, num_classes)
        .map_err(|error| error.problems().to_vec())
}

/// Makes the map of white background, road and sky, as classes 0, 1, 2.
fn road_and_sky_map() -> Arc<ColorMap> {
    let classes = [("BACKGROUND", "#ffffff"), ("road", "#2acf59"), ("sky", "#1F77B4")];
    let mut samples = [sample(1, Some(&classes))];
    assign_one_split(&mut samples, None, 3).unwrap();
    samples[0].color_map.clone().unwrap()
}

fn rgb_mask(colors: &[[u8; 3]]) -> ColorMask {
    ColorMask { width: colors.len() as u32, height: 1, pixels: ColorPixels::Rgb(colors.concat()) }
}

fn resolve_ids(map: &ColorMap, mask: &ColorMask) -> (Vec<u8>, u64) {
    let resolved = map.resolve(mask).unwrap();
    (resolved.ids.into_raw(), resolved.snapped_pixels)
}

#[test]
fn metadata_without_a_map_mean_nothing_and_maps_that_differ_in_their_keys_are_one() {
    assert_eq!(ColorMap::parse(&json!({"type": "x"})), Ok(None));
    assert_eq!(ColorMap::parse(&json!("text")), Ok(None));
    let mut maps = ColorMaps::default();
    let one =
        maps.parse_metadata(&metadata(&[("a", "#010203"), ("b", "#040506")])).unwrap().unwrap();
    let two =
        maps.parse_metadata(&metadata(&[("b", "040506"), (" a ", "#010203")])).unwrap().unwrap();
    assert!(Arc::ptr_eq(&one, &two));
    let line = json!({"x-ref-metadata": metadata(&[]), "y-ref": ""});
    let line = line.as_object().unwrap();
    assert!(maps.parse_line(line, "x-ref").unwrap().is_some());
    assert_eq!(maps.parse_line(line, "y-ref"), Ok(None));
}

#[test]
fn everything_that_is_wrong_with_a_map_is_told_at_once() {
    let wrong = json!({"internal-color-map": {
        "0": {"class-name": "BACKGROUND", "hex-color": "#fff"},
        "1": {"class-name": "road"},
        "2": {"class-name": 7, "hex-color": "#000000"},
        "3": "sky",
        "4": {"class-name": " ", "hex-color": "#000000"},
        "5": {"class-name": "car", "hex-color": "#+12345"},
    }});
    let text = parse_error(&wrong);
    for part in [
        "has an internal-color-map in which \"0\" (BACKGROUND) has hex-color \"#fff\"; allowed: # and six",
        "\"1\" has no hex-color; expected {\"class-name\": \"road\"",
        "\"2\" has class-name 7; expected",
        "\"3\" has no class-name",
        "\"4\" has a class-name that is empty",
        "\"5\" (car) has hex-color \"#+12345\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(
        parse_error(&metadata(&[
            ("a", "#000001"),
            ("a", "#000002"),
            ("b", "#000002"),
            ("c", "#000003")
        ])),
        "has an internal-color-map in which the class-name a comes 2 times (#000001, #000002) and \
         #000002 is the color of several classes (a, b)"
    );
    assert!(
        parse_error(&metadata(&[("BACKGROUND", "#000001"), ("Background", "#000002")]))
            .contains("the class-name background comes 2 times")
    );
    assert!(
        parse_error(&json!({"internal-color-map": []})).contains("is no object; expected {\"1\"")
    );
}

#[test]
fn classes_are_the_same_across_lines_by_name_whatever_their_key_and_color() {
    let mut samples = [
        sample(1, Some(&[("BACKGROUND", "#ffffff"), ("sky", "#000001"), ("road", "#000002")])),
        sample(2, Some(&[("road", "#000001"), ("background", "#000000"), ("car", "#ff0000")])),
    ];
    let names = assign_one_split(&mut samples, None, 4).unwrap().unwrap();
    assert_eq!(names, ["background", "car", "road", "sky"]);
    assert_eq!(format_class_order(&names), "0 background, 1 car, 2 road, 3 sky");
    let maps: Vec<_> = samples.iter().map(|sample| sample.color_map.clone().unwrap()).collect();
    assert_eq!(resolve_ids(&maps[0], &rgb_mask(&[[0, 0, 1], [0, 0, 2], WHITE])).0, [3, 2, 0]);
    assert_eq!(resolve_ids(&maps[1], &rgb_mask(&[[0, 0, 1], [0, 0, 0], [255, 0, 0]])).0, [2, 0, 1]);
}

#[test]
fn names_that_are_given_decide_the_ids() {
    let known = ["Background", "sky", "car", "road"];
    let mut samples = [sample(1, Some(&[("road", "#2acf59"), ("sky", "#1f77b4")]))];
    assert_eq!(assign_one_split(&mut samples, Some(&known), 4).unwrap().unwrap(), known);
    let map = samples[0].color_map.clone().unwrap();
    assert_eq!(resolve_ids(&map, &rgb_mask(&[ROAD, SKY, WHITE])).0, [3, 1, 0]);
}

#[test]
fn names_that_do_not_fit_are_all_told() {
    let classes = [("raod", "#000001"), ("sky", "#000002"), ("zebra", "#000003")];
    let mut samples = [sample(1, Some(&classes[1..2])), sample(2, Some(&classes))];
    let before = samples.clone();
    let found =
        assign_one_split(&mut samples, Some(&["sky", "road", "background"]), 3).unwrap_err();
    assert_eq!(
        found,
        [
            "class_names has background as class 2; the background of an internal-color-map, and what \
             nobody labeled, is class 0: put it first",
            "class_names has sky as class 0, which an internal-color-map names too (train, line 1 (a.jpg)); \
             class 0 is what nobody labeled: put background first",
            "internal-color-map: 2 classes are not among the names of class_names (sky, road, background): \
             \"raod\" (did you mean \"road\"?) (first in train, line 2 (a.jpg)), \"zebra\" (first in train, \
             line 2 (a.jpg))",
        ]
    );
    assert_eq!(samples, before, "nothing is half done");
    let found = assign_one_split(&mut samples[..1], Some(&["other", "sky", "sky"]), 3).unwrap_err();
    assert_eq!(found, ["class_names has the name sky twice; which id is meant?"]);
    let found = assign_one_split(&mut samples, None, 3).unwrap_err();
    assert_eq!(
        found,
        [
            "num_classes is 3, but with the background, which is always class 0, the internal-color-maps \
          name 4 classes: background, raod, sky, zebra; set num_classes to 4, or give class_names \
          (hyperparameter, or labels.json in channel label_map) if some classes do not occur here"
        ]
    );
}

#[test]
fn a_split_has_maps_on_every_line_or_on_none_and_no_label_map_beside_them() {
    let classes = &[("road", "#2acf59")][..];
    let mut samples = [sample(1, None), sample(2, Some(classes)), sample(3, None)];
    samples[1].label_map =
        crate::data::label_map::LabelMap::parse(b"{\"scale\": 3}", 2).unwrap().map(Arc::new);
    let found = assign_one_split(&mut samples, None, 2).unwrap_err();
    assert!(found[0].contains("train: 2 lines without an internal-color-map, while 1 has one"));
    assert!(found[0].ends_with("line 1 (a.jpg), line 3 (a.jpg)"), "{found:?}");
    assert!(found[1].contains("remove the file train_label_map.json"), "{found:?}");
    assert_eq!(assign_one_split(&mut [sample(1, None)], None, 2), Ok(None));
}

#[test]
fn splits_of_colors_and_of_class_ids_need_names() {
    let assign_both = |required: Option<&[String]>| {
        let required = required.map(|names| RequiredClassNames { names, source: "class_names" });
        let mut colors = [sample(1, Some(&[("road", "#2acf59")]))];
        assign_class_ids(
            [("train", &mut [sample(1, None)]), ("validation", &mut colors)],
            required,
            2,
        )
    };
    let said = assign_both(None).unwrap_err().to_string();
    assert!(
        said.starts_with("channel validation names its classes by internal-color-map"),
        "{said}"
    );
    let names = ["background".to_owned(), "road".to_owned()];
    assert_eq!(assign_both(Some(&names)).unwrap().unwrap(), names);
}

#[test]
fn white_and_transparent_pixels_are_background_unless_the_map_says_otherwise() {
    let no_background = |hex: &str| {
        let mut samples = [sample(1, Some(&[("snow", hex), ("road", "#2acf59")]))];
        assign_one_split(&mut samples, None, 3).unwrap();
        samples[0].color_map.clone().unwrap()
    };
    assert_eq!(
        resolve_ids(&no_background("#000000"), &rgb_mask(&[WHITE, ROAD, [0; 3]])).0,
        [0, 1, 2]
    );
    assert_eq!(resolve_ids(&no_background("#ffffff"), &rgb_mask(&[WHITE, ROAD])).0, [2, 1]);
    let pixels = ColorPixels::Rgba(vec![0x2a, 0xcf, 0x59, 0, 0x2a, 0xcf, 0x59, 1, 9, 9, 9, 0]);
    let mask = ColorMask { width: 3, height: 1, pixels };
    assert_eq!(resolve_ids(&road_and_sky_map(), &mask), (vec![0, 1, 0], 0));
}

#[test]
fn palettes_are_resolved_by_their_colors_and_only_where_they_are_used() {
    let colors =
        vec![[0x1f, 0x77, 0xb4, 255], [1, 2, 3, 255], [0x2a, 0xcf, 0x59, 255], [7, 7, 7, 0]];
    let palette = |indices: &[u8]| ColorMask {
        width: indices.len() as u32,
        height: 1,
        pixels: ColorPixels::Palette { colors: colors.clone(), indices: indices.to_vec() },
    };
    assert_eq!(resolve_ids(&road_and_sky_map(), &palette(&[0, 2, 3, 2])), (vec![2, 1, 0, 1], 0));
    assert_eq!(
        road_and_sky_map().resolve(&palette(&[0, 1, 1, 9])).unwrap_err().to_string(),
        "has #010203 in 2 pixels (nearest: sky #1f77b4), index 9, which its palette lacks, in 1"
    );
}

#[test]
fn near_colors_are_snapped_and_counted_and_others_are_told_with_their_pixels() {
    let near = [0x2a + 9, 0xcf - 9, 0x59 + 3];
    assert_eq!(
        resolve_ids(&road_and_sky_map(), &rgb_mask(&[ROAD, near, SKY, near])),
        (vec![1, 1, 2, 1], 2)
    );
    let half: [u8; 3] = std::array::from_fn(|i| ROAD[i].midpoint(SKY[i]));
    let found =
        road_and_sky_map().resolve(&rgb_mask(&[ROAD, half, half, [255, 0, 0]])).unwrap_err();
    assert_eq!(
        found.to_string(),
        "has #24a386 in 2 pixels (nearest: road #2acf59), #ff0000 in 1 pixels (nearest: road #2acf59)"
    );
    let many: Vec<[u8; 3]> = (0..10_000_u32).map(|i| [255, (i >> 8) as u8, i as u8]).collect();
    let found = road_and_sky_map().resolve(&rgb_mask(&many)).unwrap_err().to_string();
    assert!(found.contains(", other colors in "), "{found}");
}

#[test]
fn colors_that_two_classes_are_near_are_not_guessed() {
    let mut samples = [sample(1, Some(&[("a", "#640000"), ("b", "#780000")]))];
    assign_one_split(&mut samples, None, 3).unwrap();
    let map = samples[0].color_map.clone().unwrap();
    // The two are 20 apart.
    assert_eq!(
        resolve_ids(&map, &rgb_mask(&[[100, 0, 0], [106, 0, 0], [114, 0, 0], [130, 0, 0]])).0,
        [1, 1, 2, 2]
    );
    let found = map.resolve(&rgb_mask(&[[107, 0, 0]])).unwrap_err().to_string();
    assert!(found.contains("#6b0000 in 1 pixels"), "{found}");
}

#[test]
fn masks_of_class_ids_are_not_taken_for_nearly_black() {
    let mut samples = [sample(1, Some(&[("BACKGROUND", "#000000"), ("road", "#2acf59")]))];
    assign_one_split(&mut samples, None, 2).unwrap();
    let map = samples[0].color_map.clone().unwrap();
    let found = map.resolve(&rgb_mask(&[[0; 3], [1; 3], [2; 3]])).unwrap_err().to_string();
    assert!(
        found.starts_with("has only grays, 2 pixels of which are no color of a label"),
        "{found}"
    );
    assert_eq!(resolve_ids(&map, &rgb_mask(&[[0; 3], [1; 3], ROAD])), (vec![0, 0, 1], 1));
}

#[test]
fn a_name_without_an_id_is_told_and_its_pixels_join_no_other_class() {
    let classes = [("road", "#2acf59"), ("car", "#2acf61"), ("sky", "#1f77b4")];
    let map = ColorMap::parse(&metadata(&classes)).unwrap().unwrap();
    let map = map.with_class_ids(|name| (name != "car").then_some(1));
    let car = [0x2a, 0xcf, 0x61];
    let found = map.resolve(&rgb_mask(&[ROAD, car, car, [255, 0, 0]])).unwrap_err();
    assert!(
        found.to_string().starts_with("has car (#2acf61), which is no class, in 2 pixels, #ff0000"),
        "{found}"
    );
    assert_eq!(found.unknown_names, BTreeSet::from(["car".to_owned()]));
    assert_eq!(map.match_color(ROAD), ColorMatch::Exact(1));
    // Two classes that are unknown do not hold each other back: both have no class.
    assert_eq!(map.match_color([0x2a, 0xcf, 0x60]), ColorMatch::Unknown);
}

#[test]
fn rounding_to_16_bits_and_jpeg_of_flat_areas_stay_near() {
    for red in (0..=255_u8).step_by(3) {
        for green in (0..=255).step_by(5) {
            for blue in (0..=255).step_by(7) {
                let rounded =
                    [red & 0xf8 | red >> 5, green & 0xfc | green >> 6, blue & 0xf8 | blue >> 5];
                let distance = resolve::squared_distance(rounded, [red, green, blue]);
                assert!(distance <= 12 * 12, "{distance}");
            }
        }
    }
    let map = road_and_sky_map();
    for color in [ROAD, SKY, WHITE] {
        let image = image::RgbImage::from_pixel(32, 32, image::Rgb(color));
        let lossy = image::load_from_memory(&encode_jpeg(&image, 75)).unwrap().into_rgb8();
        let exact = resolve_ids(&map, &rgb_mask(&[color])).0[0];
        let mask = ColorMask { width: 32, height: 32, pixels: ColorPixels::Rgb(lossy.into_raw()) };
        assert_eq!(resolve_ids(&map, &mask).0, vec![exact; 32 * 32]);
    }
}

#[test]
fn checkpoints_know_which_colors_stand_for_which_classes() {
    let described = |hex: &str, known: &[&str]| {
        let mut samples = [sample(1, Some(&[("a", "#000001"), ("b", hex)]))];
        assign_one_split(&mut samples, Some(known), 3).unwrap();
        describe_color_maps(&samples).unwrap()
    };
    let usual = described("#ff0000", &["background", "a", "b"]);
    assert!(usual.starts_with("of 1 line (checksum "), "{usual}");
    assert_eq!(usual, described("#ff0000", &["background", "a", "b"]));
    assert_ne!(usual, described("#00ff00", &["background", "a", "b"]));
    assert_ne!(usual, described("#ff0000", &["background", "b", "a"]));
    assert_eq!(describe_color_maps(&[sample(1, None)]), None);
}

/// Generates classes with different colors, none of them white.
fn classes() -> impl Strategy<Value = Vec<[u8; 3]>> {
    let color = any::<[u8; 3]>().prop_filter("white is the background's", |c| *c != WHITE);
    proptest::collection::hash_set(color, 1..20).prop_map(|colors| colors.into_iter().collect())
}

/// Makes the map that paints class i + 1 in the color i.
fn map_of_colors(colors: &[[u8; 3]]) -> Arc<ColorMap> {
    let names: Vec<String> = (0..colors.len()).map(|i| format!("c{i:02}")).collect();
    let hexes: Vec<String> = colors.iter().map(|color| format_hex_color(*color)).collect();
    let named: Vec<(&str, &str)> =
        names.iter().zip(&hexes).map(|(n, h)| (n.as_str(), h.as_str())).collect();
    let mut samples = [sample(1, Some(&named))];
    assign_one_split(&mut samples, None, colors.len() + 1).unwrap();
    samples[0].color_map.clone().unwrap()
}

proptest! {
    #[test]
    fn a_mask_that_is_rendered_exactly_is_resolved_to_what_was_rendered(
        colors in classes(), picks in proptest::collection::vec(any::<proptest::sample::Index>(), 1..200)
    ) {
        let map = map_of_colors(&colors);
        let rendered: Vec<u8> = picks.iter().map(|pick| pick.index(colors.len() + 1) as u8).collect();
        let color = |id: &u8| if *id == 0 { WHITE } else { colors[usize::from(*id) - 1] };
        let pixels: Vec<[u8; 3]> = rendered.iter().map(color).collect();
        prop_assert_eq!(resolve_ids(&map, &rgb_mask(&pixels)), (rendered.clone(), 0));
        let rgba = pixels.iter().flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect();
        let mask = ColorMask { pixels: ColorPixels::Rgba(rgba), ..rgb_mask(&pixels) };
        prop_assert_eq!(resolve_ids(&map, &mask), (rendered.clone(), 0));
        // The palette has another order than the classes.
        let palette: Vec<[u8; 3]> = colors.iter().rev().copied().chain([WHITE]).collect();
        let index = |color: &[u8; 3]| palette.iter().position(|known| known == color).unwrap() as u8;
        let indices: Vec<u8> = pixels.iter().map(index).collect();
        let colors = palette.iter().map(|&[r, g, b]| [r, g, b, 255]).collect();
        let mask = ColorMask { pixels: ColorPixels::Palette { colors, indices }, ..rgb_mask(&pixels) };
        prop_assert_eq!(resolve_ids(&map, &mask), (rendered, 0));
    }

    #[test]
    fn arbitrary_pixels_never_panic_and_become_classes_of_the_map(
        colors in classes(), samples in proptest::collection::vec(any::<u8>(), 0..400), kind in 0..3,
        palette: Vec<[u8; 4]>, width in 0..50_u32,
    ) {
        let pixels = match kind {
            0 => ColorPixels::Rgb(samples),
            1 => ColorPixels::Rgba(samples),
            _ => ColorPixels::Palette { colors: palette, indices: samples },
        };
        let mask = ColorMask { width, height: 3, pixels };
        if let Ok(resolved) = map_of_colors(&colors).resolve(&mask) {
            prop_assert!(resolved.ids.iter().all(|&id| usize::from(id) <= colors.len()));
        }
    }

    #[test]
    fn what_is_snapped_is_nearest(colors in classes(), color: [u8; 3]) {
        let map = map_of_colors(&colors);
        if let Ok(resolved) = map.resolve(&rgb_mask(&[color])) {
            let id = resolved.ids.into_raw()[0];
            let distances = std::iter::once(&WHITE).chain(&colors).map(|c| resolve::squared_distance(*c, color));
            let distances: Vec<u32> = distances.collect();
            prop_assert_eq!(distances.iter().min(), Some(&distances[usize::from(id)]));
            prop_assert!(distances[usize::from(id)] <= MAX_COLOR_DISTANCE * MAX_COLOR_DISTANCE);
        }
    }

    #[test]
    fn arbitrary_metadata_never_panic(bytes: Vec<u8>, key in ".{0,3}", name in ".{0,4}", hex in "#?[0-9a-fA-Fx+é]{0,8}") {
        if let Ok(value) = serde_json::from_slice(&bytes) {
            let _ = ColorMap::parse(&value);
        }
        let map = json!({key: {"class-name": name, "hex-color": hex}});
        let _ = ColorMap::parse(&json!({"internal-color-map": map}));
    }
}

#[test]
fn masks_of_any_kind_of_png_are_resolved_by_what_they_show() {
    let ids = image::GrayImage::from_fn(9, 5, |x, y| image::Luma([((x + y) % 3) as u8]));
    let color = |id: u8| [WHITE, ROAD, SKY][usize::from(id)];
    let shown = image::RgbImage::from_fn(9, 5, |x, y| image::Rgb(color(ids.get_pixel(x, y).0[0])));
    let mut palette = Vec::new();
    let mut encoder = png::Encoder::new(&mut palette, 9, 5);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_palette([SKY, ROAD, WHITE].concat());
    let mut writer = encoder.write_header().unwrap();
    let indices: Vec<u8> = ids.iter().map(|id| 2 - id).collect();
    writer.write_image_data(&indices).unwrap();
    writer.finish().unwrap();
    for bytes in [crate::imaging::encode_png(&shown), palette] {
        let mask = decode_color_mask(&bytes, DecodeLimits::default()).unwrap();
        assert_eq!(
            road_and_sky_map().resolve(&mask).unwrap(),
            ResolvedMask { ids: ids.clone(), snapped_pixels: 0 }
        );
    }
}
