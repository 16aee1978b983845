//! The form of the answer: what `Accept` allows, of what can be made (RFC 9110, 12.5.1).

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, HeaderValue};
use image::RgbImage;

use super::input::{Content, RecordsStyle};
use super::options::{JsonOptions, Options, short};
use super::output;
use super::reply::{ErrorType, Refusal};
use crate::inference::{About, Detail, Segmentation};

/// What can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Class ids as a PNG with the palette of the classes.
    Mask,
    /// The image with the classes painted over it, and a legend, as a PNG.
    Overlay,
    /// Areas, confidence, polygons and run lengths by class.
    Json,
    /// The same, on a line of its own.
    JsonLines,
    /// Class ids as a `NumPy` array.
    Ids,
    /// Probabilities as a `NumPy` array.
    Probabilities,
    /// Probabilities as the built-in algorithm sends them, by its documented name.
    RecordIo,
    /// And by the name that its example notebook asks for.
    Protobuf,
}

/// All of them, the first that matches before others where the client has no preference.
const FORMS: [Form; 8] = [
    Form::Mask,
    Form::Overlay,
    Form::Json,
    Form::JsonLines,
    Form::Ids,
    Form::Probabilities,
    Form::RecordIo,
    Form::Protobuf,
];

impl Form {
    /// The media type, and the parameter that tells two forms of it apart if it is `true`.
    fn name(self) -> (&'static str, Option<(&'static str, bool)>) {
        match self {
            Self::Mask => ("image/png", Some(("overlay", false))),
            Self::Overlay => ("image/png", Some(("overlay", true))),
            Self::Json => ("application/json", None),
            Self::JsonLines => ("application/jsonlines", None),
            Self::Ids => ("application/x-npy", Some(("probabilities", false))),
            Self::Probabilities => ("application/x-npy", Some(("probabilities", true))),
            Self::RecordIo => ("application/x-recordio-protobuf", None),
            Self::Protobuf => ("application/x-protobuf", None),
        }
    }

    /// As a client asks for it.
    fn full_name(self) -> String {
        match self.name() {
            (name, Some((parameter, true))) => format!("{name};{parameter}=true"),
            (name, _) => name.to_owned(),
        }
    }
}

/// The form of the answer that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    form: Form,
    json: JsonOptions,
}

impl Reply {
    /// Chooses what the client likes best: the highest weight, then the most specific range, then what it names first.
    ///
    /// Where it has no preference (no `Accept`, or `*/*`) an image is answered by its mask as `image/png`, and JSON by
    /// the JSON of its own kind.
    pub(super) fn negotiate(
        headers: &HeaderMap,
        content: Content,
        options: &Options,
    ) -> Result<Self, Refusal> {
        let lossy = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let accept = headers.get_all(ACCEPT).iter().map(lossy).collect::<Vec<_>>().join(",");
        let ranges: Vec<Range> = if accept.trim().is_empty() {
            vec![Range::anything()]
        } else {
            split(&accept, ',').filter_map(Range::parse).collect()
        };
        let default = match content {
            Content::Image | Content::Npy => Form::Mask,
            Content::Json => Form::Json,
            Content::JsonLines => Form::JsonLines,
        };
        let forms = std::iter::once(default).chain(FORMS.into_iter().filter(|&f| f != default));
        let ranked = forms.enumerate().filter_map(|(place, form)| {
            let verdict = verdict(&ranges, form)?;
            (verdict.weight > 0).then_some((
                (verdict.weight, verdict.specific, std::cmp::Reverse((verdict.place, place))),
                form,
            ))
        });
        let best = ranked.max_by_key(|(rank, _)| *rank);
        best.map(|(_, form)| Self { form, json: options.json.clone() }).ok_or_else(|| {
            Refusal::new(
                ErrorType::NotAcceptable,
                format!(
                    "Accept is {}; what can be made is {}, or leave Accept out",
                    short(&accept),
                    list()
                ),
            )
        })
    }

    /// Refuses records that have no place in an answer of this form.
    pub(super) fn check(&self, style: RecordsStyle) -> Result<(), Refusal> {
        let holds_records = matches!(self.form, Form::Json | Form::JsonLines);
        if holds_records || style == RecordsStyle::Lone {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorType::NotAcceptable,
            format!(
                "the body holds a list of records, which can be answered by application/json or \
                 application/jsonlines but not by {}; ask for one of these, or send one image",
                self.form.full_name()
            ),
        ))
    }

    /// How much the engine has to tell.
    pub(super) fn detail(&self) -> Detail {
        match self.form {
            Form::Mask | Form::Overlay | Form::Ids => Detail::Classes,
            Form::Json | Form::JsonLines => Detail::Confidence,
            Form::Probabilities | Form::RecordIo | Form::Protobuf => Detail::Probabilities,
        }
    }

    /// The bytes of the answer, where that is known before it is computed: where nothing is compressed.
    pub(super) fn exact_bytes(&self, size: (u32, u32), classes: usize) -> Option<u64> {
        match self.form {
            Form::Ids => Some(output::npy::ids_bytes(size)),
            Form::Probabilities => Some(output::npy::probabilities_bytes(size, classes)),
            Form::RecordIo | Form::Protobuf => Some(output::protobuf::bytes(size, classes)),
            Form::Mask | Form::Overlay | Form::Json | Form::JsonLines => None,
        }
    }

    /// The media type of the answer.
    pub(super) fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static(self.form.name().0)
    }

    /// The answer to one image. In JSON this is one object; [`join`](Self::join) makes the body of several.
    pub(super) fn encode(
        &self,
        image: &RgbImage,
        answer: &Segmentation,
        about: &About,
    ) -> Result<Vec<u8>, Refusal> {
        match self.form {
            Form::Mask => Ok(output::mask::encode(&answer.ids, about)),
            Form::Overlay => Ok(output::overlay::encode(image, &answer.ids, about)),
            Form::Json => output::json::encode(answer, about, &self.json),
            Form::JsonLines => output::json::encode(answer, about, &self.json).map(|mut line| {
                line.push(b'\n');
                line
            }),
            Form::Ids => Ok(output::npy::ids(&answer.ids)),
            Form::Probabilities => Ok(output::npy::probabilities(answer)),
            Form::RecordIo | Form::Protobuf => output::protobuf::encode(answer),
        }
    }

    /// The body that answers records, in their order; what was refused has its reason in its place.
    ///
    /// Each answer is what [`encode`](Self::encode) made. Where all were refused the first reason is that of the whole.
    pub(super) fn join(
        &self,
        style: RecordsStyle,
        answers: Vec<output::records::Answer>,
    ) -> Result<Vec<u8>, Refusal> {
        match (style, self.form) {
            (RecordsStyle::Lone, Form::Json | Form::JsonLines) => output::records::lone(answers),
            (RecordsStyle::Lone, _) => output::records::alone(answers),
            (_, Form::JsonLines) => output::records::lines(answers),
            _ => output::records::predictions(answers),
        }
    }
}

/// What can be made, for messages.
fn list() -> String {
    let names: Vec<_> = FORMS.iter().map(|form| form.full_name()).collect();
    names.join(", ")
}

/// One range of `Accept`, lower-case.
#[derive(Debug)]
struct Range {
    name: String,
    parameters: Vec<(String, String)>,
    /// Thousandths.
    weight: u16,
}

impl Range {
    fn anything() -> Self {
        Self { name: "*/*".to_owned(), parameters: Vec::new(), weight: 1000 }
    }

    /// None if there is no name.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = split(text, ';');
        let name = parts.next()?.trim().to_ascii_lowercase();
        let mut range = Self { name, parameters: Vec::new(), weight: 1000 };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
            if key == "q" {
                // A weight that is no number says nothing and refuses nothing. Too small to tell from 0 is not 0.
                let weight = value.parse::<f32>().ok().filter(|weight| weight.is_finite());
                range.weight = weight.map_or(1000, |weight| {
                    let thousandths = (weight.clamp(0.0, 1.0) * 1000.0).round() as u16;
                    if weight > 0.0 { thousandths.max(1) } else { 0 }
                });
                // What follows the weight is no parameter of the range.
                break;
            }
            range.parameters.push((key, value.to_ascii_lowercase()));
        }
        (!range.name.is_empty()).then_some(range)
    }

    /// How specifically this range is about a form; none if it is not.
    fn matches(&self, form: Form) -> Option<u8> {
        let (name, parameter) = form.name();
        if self.name != name {
            let wide = name
                .split('/')
                .next()
                .is_some_and(|kind| self.name.strip_suffix("/*") == Some(kind));
            let is_plain = parameter.is_none_or(|(_, value)| !value);
            return match self.name.as_str() {
                "*/*" if is_plain => Some(1),
                _ if wide && is_plain => Some(2),
                _ => None,
            };
        }
        // Parameters that mean nothing here (charset, say) neither help nor hinder.
        let Some((key, wanted)) = parameter else { return Some(3) };
        let given = self.parameters.iter().find(|(name, _)| name == key);
        match given.map(|(_, value)| value.as_str()) {
            None if !wanted => Some(3),
            Some("true") if wanted => Some(4),
            Some("false") if !wanted => Some(4),
            _ => None,
        }
    }
}

/// What the ranges say of a form.
struct Verdict {
    weight: u16,
    specific: u8,
    /// Which range it was.
    place: usize,
}

/// The most specific range that matches decides; of equals the last.
fn verdict(ranges: &[Range], form: Form) -> Option<Verdict> {
    let matching = ranges.iter().enumerate().filter_map(|(place, range)| {
        range.matches(form).map(|specific| Verdict { weight: range.weight, specific, place })
    });
    matching.max_by_key(|verdict| verdict.specific)
}

/// Splits at a separator that is in no quoted text.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
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
