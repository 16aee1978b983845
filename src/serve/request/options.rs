//! The options of one request: the header `X-Amzn-SageMaker-Custom-Attributes`.
//!
//! The header holds `key=value` pairs, separated by commas or semicolons, at most 1024 printable
//! ASCII characters in all (`SageMaker`'s own limit). Other keys belong to the client (trace ids,
//! for example) and are ignored; the case of keys and of `true` and `false` does not matter.
//!
//! | key | values | effect |
//! |---|---|---|
//! | `tile` | `true`, `false` | a large image is computed in overlapping tiles at full size |
//! | `flip` | `true`, `false` | averages with the mirrored image's probabilities |
//! | `scales` | 1 to 5 numbers of 0.25 to 4, as `0.75:1:1.25` | averages over these sizes |
//! | `polygons` | `true` (default), `false` | JSON: the outlines of each class |
//! | `tolerance` | 0 to 100 pixels, default 1 | JSON: error allowed in an outline; 0 is exact |
//! | `min_area` | whole number of pixels, default 0 | JSON: smaller parts have no outline |
//! | `rle` | `coco` (default), `label-studio`, `both`, `none` | JSON: notation of run lengths |
//! | `background` | `true`, `false` (default) | JSON: outlines and run lengths of class 0 too |

use axum::http::HeaderMap;

use crate::inference::{MAX_TTA_SCALES, TTA_SCALE_RANGE, TestTimeAugmentation};
use crate::serve::api_error::{ApiError, ErrorType};

/// Name of the header.
pub(in crate::serve) const CUSTOM_ATTRIBUTES: &str = "x-amzn-sagemaker-custom-attributes";
/// Longest value of the header, in characters.
pub(in crate::serve) const MAX_ATTRIBUTES_CHARS: usize = 1024;
/// Largest tolerance, in pixels.
const MAX_TOLERANCE_PX: f64 = 100.0;

/// The options of one request.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::serve) struct RequestOptions {
    /// Computes a large image in tiles, instead of scaled down.
    pub(in crate::serve) tile: bool,
    /// Passes of the network over the image.
    pub(in crate::serve) tta: TestTimeAugmentation,
    /// Content of an answer in JSON.
    pub(in crate::serve) json_options: JsonOptions,
}

/// The content of an answer in JSON for each class, beside its area.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(in crate::serve) struct JsonOptions {
    pub(in crate::serve) polygons: bool,
    /// Error allowed in an outline, in pixels.
    pub(in crate::serve) tolerance_px: f64,
    /// Smallest part with an outline, in pixels.
    pub(in crate::serve) min_area_px: u64,
    pub(in crate::serve) coco_rle: bool,
    pub(in crate::serve) brush_rle: bool,
    pub(in crate::serve) background: bool,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            polygons: true,
            tolerance_px: 1.0,
            min_area_px: 0,
            coco_rle: true,
            brush_rle: false,
            background: false,
        }
    }
}

impl JsonOptions {
    /// Returns true if outlines or run lengths of this class are encoded.
    pub(in crate::serve) fn encodes_geometry(&self, id: u8) -> bool {
        (id > 0 || self.background) && (self.polygons || self.coco_rle || self.brush_rle)
    }
}

impl RequestOptions {
    /// Reads the header; the error names all problems.
    pub(in crate::serve) fn parse(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut options = Self::default();
        let mut problems = Vec::new();
        let mut seen_keys: Vec<String> = Vec::new();
        for value in headers.get_all(CUSTOM_ATTRIBUTES) {
            let length = value.len();
            if length > MAX_ATTRIBUTES_CHARS {
                problems.push(format!(
                    "it has {length} characters; allowed: up to {MAX_ATTRIBUTES_CHARS}"
                ));
                continue;
            }
            let Ok(text) = value.to_str() else {
                problems.push("it has characters other than printable ASCII".to_owned());
                continue;
            };
            for part in text.split([',', ';']) {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                let key = key.trim().to_ascii_lowercase();
                match options.set_option(&key, value.trim()) {
                    None => {}
                    Some(_) if seen_keys.contains(&key) => {
                        problems.push(format!("{key} is given twice"));
                    }
                    Some(Ok(())) => seen_keys.push(key),
                    Some(Err(allowed)) => {
                        let found = quote_truncated(value.trim());
                        problems.push(format!("{key} is {found}; allowed: {allowed}"));
                        seen_keys.push(key);
                    }
                }
            }
        }
        if problems.is_empty() {
            return Ok(options);
        }
        let problems = problems.join("; and ");
        Err(ApiError::new(
            ErrorType::InvalidOption,
            format!("X-Amzn-SageMaker-Custom-Attributes cannot be used: {problems}"),
        ))
    }

    /// Sets one option. Returns none if the key is unknown, or an error that says what is allowed.
    fn set_option(&mut self, key: &str, value: &str) -> Option<Result<(), String>> {
        let Self { tile, tta, json_options: json } = self;
        Some(match key {
            "tile" => parse_bool(value, tile),
            "flip" => parse_bool(value, &mut tta.flip),
            "scales" => parse_scales(value, &mut tta.scales),
            "polygons" => parse_bool(value, &mut json.polygons),
            "background" => parse_bool(value, &mut json.background),
            "tolerance" => match value.parse() {
                Ok(tolerance) if (0.0..=MAX_TOLERANCE_PX).contains(&tolerance) => {
                    json.tolerance_px = tolerance;
                    Ok(())
                }
                _ => Err(format!("pixels from 0 to {MAX_TOLERANCE_PX}")),
            },
            "min_area" => match value.parse() {
                Ok(min_area) => {
                    json.min_area_px = min_area;
                    Ok(())
                }
                Err(_) => Err("a whole number of pixels".to_owned()),
            },
            "rle" => parse_rle(value, json),
            _ => return None,
        })
    }
}

fn parse_bool(value: &str, option: &mut bool) -> Result<(), String> {
    *option = match value.to_ascii_lowercase().as_str() {
        "true" => true,
        "false" => false,
        _ => return Err("true, false".to_owned()),
    };
    Ok(())
}

fn parse_rle(value: &str, options: &mut JsonOptions) -> Result<(), String> {
    (options.coco_rle, options.brush_rle) = match value.to_ascii_lowercase().as_str() {
        "coco" => (true, false),
        "label-studio" => (false, true),
        "both" => (true, true),
        "none" => (false, false),
        _ => return Err("coco, label-studio, both, none".to_owned()),
    };
    Ok(())
}

fn parse_scales(value: &str, option: &mut Vec<f32>) -> Result<(), String> {
    let mut scales = Vec::new();
    for text in value.split(':') {
        match text.trim().parse() {
            Ok(scale) if TTA_SCALE_RANGE.contains(&scale) && scales.len() < MAX_TTA_SCALES => {
                scales.push(scale);
            }
            _ => {
                return Err(format!(
                    "1 to {MAX_TTA_SCALES} numbers from {} to {} with colons between, as \
                     0.75:1:1.25",
                    TTA_SCALE_RANGE.start(),
                    TTA_SCALE_RANGE.end()
                ));
            }
        }
    }
    *option = scales;
    Ok(())
}

/// Quotes a text of the client, cut to a length that fits into a message.
pub(in crate::serve) fn quote_truncated(text: &str) -> String {
    const MAX_CHARS: usize = 100;
    let start: String = text.chars().take(MAX_CHARS).collect();
    if start.len() < text.len() { format!("{start:?}...") } else { format!("{start:?}") }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn parse(value: &str) -> Result<RequestOptions, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(CUSTOM_ATTRIBUTES, HeaderValue::from_str(value).unwrap());
        RequestOptions::parse(&headers)
    }

    fn error_message(value: &str) -> String {
        let refusal = parse(value).unwrap_err();
        assert_eq!(refusal.error_type(), ErrorType::InvalidOption);
        refusal.to_json()["error"].as_str().unwrap().to_owned()
    }

    #[test]
    fn every_option_is_read_and_the_clients_own_keys_are_ignored() {
        assert_eq!(RequestOptions::parse(&HeaderMap::new()).unwrap(), RequestOptions::default());
        for own in ["", "trace=7c1,user", "c000b4f9-df62-4c85-a0bf-7c525f9104a4", ";;, ,", "a=b=c"]
        {
            assert_eq!(parse(own).unwrap(), RequestOptions::default(), "{own}");
        }
        let options = parse("trace=1; Tile=TRUE,flip=true;scales=0.75:1:1.25").unwrap();
        let tta = TestTimeAugmentation { flip: true, scales: vec![0.75, 1.0, 1.25] };
        assert_eq!((options.tile, options.tta), (true, tta));
        let json = parse("polygons=false,tolerance=2.5,min_area=40,rle=both,background=true");
        assert_eq!(
            json.unwrap().json_options,
            JsonOptions {
                polygons: false,
                tolerance_px: 2.5,
                min_area_px: 40,
                coco_rle: true,
                brush_rle: true,
                background: true
            }
        );
        assert!(!parse("rle=none").unwrap().json_options.coco_rle);
        assert!(parse("rle=Label-Studio").unwrap().json_options.brush_rle);
    }

    #[test]
    fn all_problems_are_named_with_what_is_allowed() {
        let words =
            error_message("tile=maybe, scales=0.1:1, tolerance=-1, rle=png, min_area=2.5, flip");
        for part in [
            "tile is \"maybe\"; allowed: true, false",
            "scales is \"0.1:1\"; allowed: 1 to 5 numbers from 0.25 to 4",
            "tolerance is \"-1\"; allowed: pixels from 0 to 100",
            "rle is \"png\"; allowed: coco, label-studio, both, none",
            "min_area is \"2.5\"; allowed: a whole number",
            "flip is \"\"; allowed: true, false",
        ] {
            assert!(words.contains(part), "{part} is not in {words}");
        }
        for bad in ["scales=1:1:1:1:1:1", "scales=", "scales=nan", "tolerance=nan", "tolerance=inf"]
        {
            error_message(bad);
        }
        assert!(error_message("flip=true,flip=false").contains("flip is given twice"));
        assert!(error_message(&"a".repeat(1025)).contains("1025 characters; allowed: up to 1024"));
        let mut headers = HeaderMap::new();
        headers.insert(CUSTOM_ATTRIBUTES, HeaderValue::from_bytes(b"tile=\xe9").unwrap());
        assert!(RequestOptions::parse(&headers).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_header_gives_options_within_their_ranges_or_a_refusal(
            pairs in proptest::collection::vec(
                ("tile|flip|scales|polygons|tolerance|min_area|rle|background|x", "[ -~]{0,12}|[0-9.:]{1,9}"),
                0..5,
            ),
        ) {
            let text: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
            if let Ok(options) = parse(&text.join(",")) {
                prop_assert!(options.tta.scales.len() <= MAX_TTA_SCALES);
                prop_assert!(options.tta.scales.iter().all(|scale| TTA_SCALE_RANGE.contains(scale)));
                prop_assert!((0.0..=MAX_TOLERANCE_PX).contains(&options.json_options.tolerance_px));
            }
        }
    }
}
