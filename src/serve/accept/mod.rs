//! The form of the answer: what `Accept` allows, of what can be made (RFC 9110, 12.5.1).

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, HeaderValue};
use image::RgbImage;

use super::input::{BodyKind, RecordsStyle};
use super::options::{JsonOptions, RequestOptions, quote_truncated};
use super::output;
use super::reply::{ApiError, ErrorType};
use crate::inference::{ModelInfo, OutputDetail, Segmentation};

/// What can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseKind {
    /// Class ids as a PNG with the palette of the classes.
    Mask,
    /// The image with the classes painted over it, and a legend, as a PNG.
    Overlay,
    /// Areas, confidence, polygons and run lengths by class.
    Json,
    /// The same, on a line of its own.
    JsonLines,
    /// Class ids as a `NumPy` array.
    NpyClassIds,
    /// Probabilities as a `NumPy` array.
    NpyProbabilities,
    /// Probabilities as the built-in algorithm sends them, by its documented name.
    RecordIo,
    /// And by the name that its example notebook asks for.
    Protobuf,
}

/// All of them, the first that matches before others where the client has no preference.
const RESPONSE_KINDS: [ResponseKind; 8] = [
    ResponseKind::Mask,
    ResponseKind::Overlay,
    ResponseKind::Json,
    ResponseKind::JsonLines,
    ResponseKind::NpyClassIds,
    ResponseKind::NpyProbabilities,
    ResponseKind::RecordIo,
    ResponseKind::Protobuf,
];

impl ResponseKind {
    /// The media type, and the parameter that tells two forms of it apart if it is `true`.
    fn media_type(self) -> (&'static str, Option<(&'static str, bool)>) {
        match self {
            Self::Mask => ("image/png", Some(("overlay", false))),
            Self::Overlay => ("image/png", Some(("overlay", true))),
            Self::Json => ("application/json", None),
            Self::JsonLines => ("application/jsonlines", None),
            Self::NpyClassIds => ("application/x-npy", Some(("probabilities", false))),
            Self::NpyProbabilities => ("application/x-npy", Some(("probabilities", true))),
            Self::RecordIo => ("application/x-recordio-protobuf", None),
            Self::Protobuf => ("application/x-protobuf", None),
        }
    }

    /// As a client asks for it.
    fn full_media_type(self) -> String {
        match self.media_type() {
            (name, Some((parameter, true))) => format!("{name};{parameter}=true"),
            (name, _) => name.to_owned(),
        }
    }
}

/// The form of the answer that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ResponseFormat {
    kind: ResponseKind,
    json_options: JsonOptions,
}

impl ResponseFormat {
    /// Chooses what the client likes best: the highest weight, then the most specific range, then what it names first.
    ///
    /// Where it has no preference (no `Accept`, or `*/*`) an image is answered by its mask as `image/png`, and JSON by
    /// the JSON of its own kind.
    pub(super) fn negotiate(
        headers: &HeaderMap,
        body_kind: BodyKind,
        options: &RequestOptions,
    ) -> Result<Self, ApiError> {
        let to_text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let accept = headers.get_all(ACCEPT).iter().map(to_text).collect::<Vec<_>>().join(",");
        let ranges: Vec<MediaRange> = if accept.trim().is_empty() {
            vec![MediaRange::any_type()]
        } else {
            split_unquoted(&accept, ',').filter_map(MediaRange::parse).collect()
        };
        let default = match body_kind {
            BodyKind::Image | BodyKind::Npy => ResponseKind::Mask,
            BodyKind::Json => ResponseKind::Json,
            BodyKind::JsonLines => ResponseKind::JsonLines,
        };
        let kinds =
            std::iter::once(default).chain(RESPONSE_KINDS.into_iter().filter(|&f| f != default));
        let ranked = kinds.enumerate().filter_map(|(preference_order, kind)| {
            let range_match = best_range_match(&ranges, kind)?;
            (range_match.weight_thousandths > 0).then_some((
                (
                    range_match.weight_thousandths,
                    range_match.specificity,
                    std::cmp::Reverse((range_match.range_index, preference_order)),
                ),
                kind,
            ))
        });
        let best_match = ranked.max_by_key(|(rank, _)| *rank);
        best_match
            .map(|(_, kind)| Self { kind, json_options: options.json_options.clone() })
            .ok_or_else(|| {
                ApiError::new(
                    ErrorType::NotAcceptable,
                    format!(
                        "Accept is {}; what can be made is {}, or leave Accept out",
                        quote_truncated(&accept),
                        supported_media_types()
                    ),
                )
            })
    }

    /// Refuses records that have no place in an answer of this form.
    pub(super) fn check_records_style(&self, style: RecordsStyle) -> Result<(), ApiError> {
        let holds_records = matches!(self.kind, ResponseKind::Json | ResponseKind::JsonLines);
        if holds_records || style == RecordsStyle::Single {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorType::NotAcceptable,
            format!(
                "the body holds a list of records, which can be answered by application/json or \
                 application/jsonlines but not by {}; ask for one of these, or send one image",
                self.kind.full_media_type()
            ),
        ))
    }

    /// How much the engine has to tell.
    pub(super) fn output_detail(&self) -> OutputDetail {
        match self.kind {
            ResponseKind::Mask | ResponseKind::Overlay | ResponseKind::NpyClassIds => {
                OutputDetail::Classes
            }
            ResponseKind::Json | ResponseKind::JsonLines => OutputDetail::Confidence,
            ResponseKind::NpyProbabilities | ResponseKind::RecordIo | ResponseKind::Protobuf => {
                OutputDetail::Probabilities
            }
        }
    }

    /// The bytes of the answer, where that is known before it is computed: where nothing is compressed.
    pub(super) fn exact_bytes(&self, size: (u32, u32), classes: usize) -> Option<u64> {
        match self.kind {
            ResponseKind::NpyClassIds => Some(output::npy::npy_ids_bytes(size)),
            ResponseKind::NpyProbabilities => {
                Some(output::npy::npy_probabilities_bytes(size, classes))
            }
            ResponseKind::RecordIo | ResponseKind::Protobuf => {
                Some(output::protobuf::recordio_bytes(size, classes))
            }
            ResponseKind::Mask
            | ResponseKind::Overlay
            | ResponseKind::Json
            | ResponseKind::JsonLines => None,
        }
    }

    /// The media type of the answer.
    pub(super) fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static(self.kind.media_type().0)
    }

    /// The answer to one image. In JSON this is one object; [`join`](Self::join) makes the body of several.
    pub(super) fn encode(
        &self,
        image: &RgbImage,
        segmentation: &Segmentation,
        info: &ModelInfo,
    ) -> Result<Vec<u8>, ApiError> {
        match self.kind {
            ResponseKind::Mask => Ok(output::mask::encode_mask_png(&segmentation.ids, info)),
            ResponseKind::Overlay => {
                Ok(output::overlay::encode_overlay(image, &segmentation.ids, info))
            }
            ResponseKind::Json => output::json::encode_json(segmentation, info, &self.json_options),
            ResponseKind::JsonLines => {
                output::json::encode_json(segmentation, info, &self.json_options).map(|mut line| {
                    line.push(b'\n');
                    line
                })
            }
            ResponseKind::NpyClassIds => Ok(output::npy::encode_npy_ids(&segmentation.ids)),
            ResponseKind::NpyProbabilities => {
                Ok(output::npy::encode_npy_probabilities(segmentation))
            }
            ResponseKind::RecordIo | ResponseKind::Protobuf => {
                output::protobuf::encode_recordio(segmentation)
            }
        }
    }

    /// The body that answers records, in their order; what was refused has its reason in its place.
    ///
    /// Each answer is what [`encode`](Self::encode) made. Where all were refused the first reason is that of the whole.
    pub(super) fn join_records(
        &self,
        style: RecordsStyle,
        answers: Vec<output::records::RecordAnswer>,
    ) -> Result<Vec<u8>, ApiError> {
        match (style, self.kind) {
            (RecordsStyle::Single, ResponseKind::Json | ResponseKind::JsonLines) => {
                output::records::encode_single_json(answers)
            }
            (RecordsStyle::Single, _) => output::records::take_single_body(answers),
            (_, ResponseKind::JsonLines) => output::records::join_json_lines(answers),
            _ => output::records::join_predictions(answers),
        }
    }
}

/// What can be made, for messages.
fn supported_media_types() -> String {
    let names: Vec<_> = RESPONSE_KINDS.iter().map(|form| form.full_media_type()).collect();
    names.join(", ")
}

/// One range of `Accept`, lower-case.
#[derive(Debug)]
struct MediaRange {
    media_type: String,
    parameters: Vec<(String, String)>,
    /// Thousandths.
    weight_thousandths: u16,
}

impl MediaRange {
    fn any_type() -> Self {
        Self { media_type: "*/*".to_owned(), parameters: Vec::new(), weight_thousandths: 1000 }
    }

    /// None if there is no name.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = split_unquoted(text, ';');
        let media_type = parts.next()?.trim().to_ascii_lowercase();
        let mut range = Self { media_type, parameters: Vec::new(), weight_thousandths: 1000 };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
            if key == "q" {
                // A weight that is no number says nothing and refuses nothing. Too small to tell from 0 is not 0.
                let weight = value.parse::<f32>().ok().filter(|weight| weight.is_finite());
                range.weight_thousandths = weight.map_or(1000, |weight| {
                    let thousandths = (weight.clamp(0.0, 1.0) * 1000.0).round() as u16;
                    if weight > 0.0 { thousandths.max(1) } else { 0 }
                });
                // What follows the weight is no parameter of the range.
                break;
            }
            range.parameters.push((key, value.to_ascii_lowercase()));
        }
        (!range.media_type.is_empty()).then_some(range)
    }

    /// How specifically this range is about a form; none if it is not.
    fn matches(&self, kind: ResponseKind) -> Option<u8> {
        let (media_type, parameter) = kind.media_type();
        if self.media_type != media_type {
            let is_type_wildcard = media_type
                .split('/')
                .next()
                .is_some_and(|main_type| self.media_type.strip_suffix("/*") == Some(main_type));
            let is_default_kind = parameter.is_none_or(|(_, value)| !value);
            return match self.media_type.as_str() {
                "*/*" if is_default_kind => Some(1),
                _ if is_type_wildcard && is_default_kind => Some(2),
                _ => None,
            };
        }
        // Parameters that mean nothing here (charset, say) neither help nor hinder.
        let Some((key, expected)) = parameter else { return Some(3) };
        let sent_parameter = self.parameters.iter().find(|(name, _)| name == key);
        match sent_parameter.map(|(_, value)| value.as_str()) {
            None if !expected => Some(3),
            Some("true") if expected => Some(4),
            Some("false") if !expected => Some(4),
            _ => None,
        }
    }
}

/// What the ranges say of a form.
struct RangeMatch {
    weight_thousandths: u16,
    specificity: u8,
    /// Which range it was.
    range_index: usize,
}

/// The most specific range that matches decides; of equals the last.
fn best_range_match(ranges: &[MediaRange], kind: ResponseKind) -> Option<RangeMatch> {
    let matching = ranges.iter().enumerate().filter_map(|(place, range)| {
        range.matches(kind).map(|specific| RangeMatch {
            weight_thousandths: range.weight_thousandths,
            specificity: specific,
            range_index: place,
        })
    });
    matching.max_by_key(|verdict| verdict.specificity)
}

/// Splits at a separator that is in no quoted text.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    text.split(move |character| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        match character {
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        character == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests;
