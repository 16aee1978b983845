//! The format of the answer, chosen among the supported ones by `Accept` (RFC 9110, 12.5.1).

use std::cmp::Reverse;

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, HeaderValue};
use image::RgbImage;

use crate::inference::{ModelInfo, OutputDetail, Segmentation};
use crate::serve::api_error::{ApiError, ErrorType};
use crate::serve::request::options::{JsonOptions, RequestOptions, quote_truncated};
use crate::serve::request::{BodyKind, RecordsStyle};
use crate::serve::response;

/// A format of answers.
///
/// A new one needs a place in [`RESPONSE_KINDS`], its media type and the matches below, an answer in
/// `src/serve/response/`, a row in the table of answers in `docs/serving.md`, and an entry in the
/// `OpenAPI` document (`src/serve/routes/openapi/openapi.json`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum ResponseKind {
    /// Class ids as a PNG with the palette of the classes.
    Mask,
    /// The image with the classes painted over it, and a legend, as a PNG.
    Overlay,
    /// Areas, confidence, polygons and run lengths by class.
    Json,
    /// The same as `Json`, on one line.
    JsonLines,
    /// Class ids as a `NumPy` array.
    NpyClassIds,
    /// Probabilities as a `NumPy` array.
    NpyProbabilities,
    /// Probabilities in the format of the built-in algorithm, by the media type of its
    /// documentation.
    RecordIo,
    /// The same as `RecordIo`, by the media type of the algorithm's example notebook.
    Protobuf,
}

/// All formats. Of those that match a client's wish equally well, the first is chosen.
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
    /// Returns the media type, and the parameter with the value that tells two formats of one type
    /// apart.
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

    /// Returns the media type with the parameter that a client must give.
    fn full_media_type(self) -> String {
        match self.media_type() {
            (name, Some((parameter, true))) => format!("{name};{parameter}=true"),
            (name, _) => name.to_owned(),
        }
    }
}

/// The chosen format of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::serve) struct ResponseFormat {
    kind: ResponseKind,
    json_options: JsonOptions,
}

impl ResponseFormat {
    /// Chooses the format with the highest weight in `Accept`, then with the most specific range,
    /// then with the first range.
    ///
    /// Without a preference (no `Accept`, or `*/*`) an image is answered by its mask as
    /// `image/png`, and JSON by JSON of the same kind.
    pub(in crate::serve) fn negotiate(
        headers: &HeaderMap,
        body_kind: BodyKind,
        options: &RequestOptions,
    ) -> Result<Self, ApiError> {
        let accept = read_accept(headers);
        let mut ranges = Vec::new();
        if accept.trim().is_empty() {
            ranges.push(MediaRange::any_type());
        } else {
            ranges.extend(split_unquoted(&accept, ',').filter_map(MediaRange::parse));
        }
        let default = match body_kind {
            BodyKind::Image | BodyKind::Npy => ResponseKind::Mask,
            BodyKind::Json => ResponseKind::Json,
            BodyKind::JsonLines => ResponseKind::JsonLines,
        };
        let mut best: Option<RangeMatch> = None;
        for kind in kinds_from(default) {
            let Some(found) = best_range_match(&ranges, kind) else { continue };
            let is_better = best.as_ref().is_none_or(|earlier| found.rank() > earlier.rank());
            if found.weight_thousandths > 0 && is_better {
                best = Some(found);
            }
        }
        if let Some(RangeMatch { kind, .. }) = best {
            return Ok(Self { kind, json_options: options.json_options.clone() });
        }
        Err(ApiError::new(
            ErrorType::NotAcceptable,
            format!(
                "Accept is {}; what can be made is {}, or leave Accept out",
                quote_truncated(&accept),
                RESPONSE_KINDS.map(ResponseKind::full_media_type).join(", ")
            ),
        ))
    }

    /// Refuses a list of records if this format can hold one answer only.
    pub(in crate::serve) fn check_records_style(
        &self,
        style: RecordsStyle,
    ) -> Result<(), ApiError> {
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

    /// Returns the detail that the engine must compute for this format.
    pub(in crate::serve) fn output_detail(&self) -> OutputDetail {
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

    /// Returns the length of the answer in bytes, for formats without compression, whose length is
    /// known before the image is computed.
    pub(in crate::serve) fn exact_bytes(&self, size: (u32, u32), classes: usize) -> Option<u64> {
        match self.kind {
            ResponseKind::NpyClassIds => Some(response::npy::npy_ids_bytes(size)),
            ResponseKind::NpyProbabilities => {
                Some(response::npy::npy_probabilities_bytes(size, classes))
            }
            ResponseKind::RecordIo | ResponseKind::Protobuf => {
                Some(response::protobuf::recordio_bytes(size, classes))
            }
            ResponseKind::Mask
            | ResponseKind::Overlay
            | ResponseKind::Json
            | ResponseKind::JsonLines => None,
        }
    }

    /// Returns the value of `Content-Type`.
    pub(in crate::serve) fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static(self.kind.media_type().0)
    }

    /// Encodes the answer to one image. In JSON this is one object; [`Self::join_records`] makes a
    /// body of several.
    pub(in crate::serve) fn encode(
        &self,
        image: &RgbImage,
        segmentation: &Segmentation,
        info: &ModelInfo,
    ) -> Result<Vec<u8>, ApiError> {
        match self.kind {
            ResponseKind::Mask => Ok(response::mask::encode_mask_png(&segmentation.ids, info)),
            ResponseKind::Overlay => {
                Ok(response::overlay::encode_overlay(image, &segmentation.ids, info))
            }
            ResponseKind::Json => {
                response::json::encode_json(segmentation, info, &self.json_options)
            }
            ResponseKind::JsonLines => {
                let mut line = response::json::encode_json(segmentation, info, &self.json_options)?;
                line.push(b'\n');
                Ok(line)
            }
            ResponseKind::NpyClassIds => Ok(response::npy::encode_npy_ids(&segmentation.ids)),
            ResponseKind::NpyProbabilities => {
                Ok(response::npy::encode_npy_probabilities(segmentation))
            }
            ResponseKind::RecordIo | ResponseKind::Protobuf => {
                response::protobuf::encode_recordio(segmentation)
            }
        }
    }

    /// Encodes the body that answers records, in their order; an error stands in the place of its
    /// record.
    ///
    /// Each answer comes from [`Self::encode`]. If every record failed, the first error is that of
    /// the request.
    pub(in crate::serve) fn join_records(
        &self,
        style: RecordsStyle,
        answers: Vec<response::records::RecordAnswer>,
    ) -> Result<Vec<u8>, ApiError> {
        match (style, self.kind) {
            (RecordsStyle::Single, ResponseKind::Json | ResponseKind::JsonLines) => {
                response::records::encode_single_json(answers)
            }
            (RecordsStyle::Single, _) => response::records::take_single_body(answers),
            (_, ResponseKind::JsonLines) => response::records::join_json_lines(answers),
            _ => response::records::join_predictions(answers),
        }
    }
}

/// Joins all headers `Accept` of a request.
fn read_accept(headers: &HeaderMap) -> String {
    let mut accept = String::new();
    for (index, value) in headers.get_all(ACCEPT).iter().enumerate() {
        if index > 0 {
            accept.push(',');
        }
        accept.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    accept
}

/// Returns all formats, beginning with `first`.
fn kinds_from(first: ResponseKind) -> Vec<ResponseKind> {
    let mut kinds = vec![first];
    kinds.extend(RESPONSE_KINDS.into_iter().filter(|&kind| kind != first));
    kinds
}

/// One range of `Accept`, in lower case.
#[derive(Debug)]
struct MediaRange {
    media_type: String,
    parameters: Vec<(String, String)>,
    /// Weight `q`, in thousandths.
    weight_thousandths: u16,
}

impl MediaRange {
    fn any_type() -> Self {
        Self { media_type: "*/*".to_owned(), parameters: Vec::new(), weight_thousandths: 1000 }
    }

    /// Reads a range; returns none if it has no media type.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = split_unquoted(text, ';');
        let media_type = parts.next()?.trim().to_ascii_lowercase();
        let mut range = Self { media_type, parameters: Vec::new(), weight_thousandths: 1000 };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
            if key == "q" {
                range.weight_thousandths = parse_weight(value);
                // Parameters after the weight do not belong to the range.
                break;
            }
            range.parameters.push((key, value.to_ascii_lowercase()));
        }
        (!range.media_type.is_empty()).then_some(range)
    }

    /// Returns how specific this range is for a format, 1 (`*/*`) to 4 (with its parameter), or
    /// none if it does not match.
    fn matches(&self, kind: ResponseKind) -> Option<u8> {
        let (media_type, parameter) = kind.media_type();
        if self.media_type != media_type {
            let is_default_kind = !matches!(parameter, Some((_, true)));
            if !is_default_kind {
                return None;
            }
            if self.media_type == "*/*" {
                return Some(1);
            }
            let main_type = media_type.split('/').next();
            return if self.media_type.strip_suffix("/*") == main_type { Some(2) } else { None };
        }
        // Other parameters (charset, for example) are ignored.
        let Some((key, expected)) = parameter else { return Some(3) };
        match self.parameters.iter().find(|(name, _)| name == key) {
            None if !expected => Some(3),
            Some((_, value)) if value == if expected { "true" } else { "false" } => Some(4),
            _ => None,
        }
    }
}

/// Reads a weight, in thousandths. A weight that is no number counts as 1. A positive weight below
/// a thousandth is not 0.
fn parse_weight(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(weight) if weight.is_finite() => {
            let thousandths = (weight.clamp(0.0, 1.0) * 1000.0).round() as u16;
            if weight > 0.0 { thousandths.max(1) } else { 0 }
        }
        _ => 1000,
    }
}

/// A format with the best range for it.
struct RangeMatch {
    kind: ResponseKind,
    weight_thousandths: u16,
    specificity: u8,
    /// Place of the range in `Accept`.
    range_index: usize,
}

impl RangeMatch {
    /// Returns the order of preference: by weight, then by specificity, then by place.
    fn rank(&self) -> (u16, u8, Reverse<usize>) {
        (self.weight_thousandths, self.specificity, Reverse(self.range_index))
    }
}

/// Returns the most specific range that matches; of several equal ones the last.
fn best_range_match(ranges: &[MediaRange], kind: ResponseKind) -> Option<RangeMatch> {
    let mut best: Option<RangeMatch> = None;
    for (range_index, range) in ranges.iter().enumerate() {
        let Some(specificity) = range.matches(kind) else { continue };
        if best.as_ref().is_none_or(|earlier| specificity >= earlier.specificity) {
            let weight_thousandths = range.weight_thousandths;
            best = Some(RangeMatch { kind, weight_thousandths, specificity, range_index });
        }
    }
    best
}

/// Splits at separators outside of quoted text.
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
