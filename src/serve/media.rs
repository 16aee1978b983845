//! Media types: which bodies can be read, and whether the client takes what can be made.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};

use super::reply::{ErrorType, Refusal};

/// The media type of the answer.
pub(super) const PNG: HeaderValue = HeaderValue::from_static("image/png");

/// `image/jpg` is no registered name, but people write it.
const READABLE: [&str; 4] = ["image/jpeg", "image/jpg", "image/png", "application/x-image"];

/// Whether the body is declared to be an image. The declared kind is not held against the bytes:
/// the decoder goes by what they are.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let problem = match headers.get(CONTENT_TYPE) {
        None => "the request has no Content-Type".to_owned(),
        Some(value) => {
            let name = essence(value);
            if READABLE.contains(&name.as_str()) {
                return Ok(());
            }
            format!("the Content-Type is {}", quoted(&name))
        }
    };
    Err(Refusal::new(
        ErrorType::UnsupportedMediaType,
        format!(
            "{problem}; send the bytes of one image with Content-Type image/jpeg, image/png or \
             application/x-image"
        ),
    ))
}

/// Whether the client takes a PNG; without `Accept` everything is taken.
pub(super) fn check_accept(headers: &HeaderMap) -> Result<(), Refusal> {
    let wanted: Vec<_> = headers.get_all(ACCEPT).iter().map(lossy).collect();
    let wanted = wanted.join(",");
    if wanted.trim().is_empty() || takes_png(&wanted) {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorType::NotAcceptable,
        format!(
            "Accept is {}, but the answer is a mask as image/png; ask for image/png, image/* or \
             */*, or leave Accept out",
            quoted(&wanted)
        ),
    ))
}

/// RFC 9110, 12.5.1: the most specific range that matches decides, and `q=0` means "not this".
fn takes_png(accept: &str) -> bool {
    let mut verdict = (0, false);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specific = match name.as_str() {
            "image/png" => 3,
            "image/*" => 2,
            "*/*" => 1,
            _ => continue,
        };
        let refused = parts.any(|parameter| {
            let (key, value) = parameter.split_once('=').unwrap_or_default();
            // A weight that is no number says nothing and refuses nothing.
            key.trim().eq_ignore_ascii_case("q") && value.trim().parse().is_ok_and(|q: f32| q <= 0.)
        });
        if specific >= verdict.0 {
            verdict = (specific, !refused);
        }
    }
    verdict.1
}

/// The media type without its parameters, lower-case.
fn essence(value: &HeaderValue) -> String {
    let value = lossy(value);
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// What the client sent, short enough for a message.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(100).collect();
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &axum::http::HeaderName, values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|v| (name.clone(), HeaderValue::from_str(v).unwrap()));
        values.collect()
    }

    #[test]
    fn an_image_type_is_readable_whatever_its_case_and_parameters() {
        for value in ["image/jpeg", "IMAGE/PNG", "image/jpg", "application/x-image ; q=1;a=\"b\""] {
            assert!(check_content_type(&headers(&CONTENT_TYPE, &[value])).is_ok(), "{value}");
        }
        for value in ["", ";", "image/", "image/gif", "image/jpegx", "text/csv;image/png"] {
            assert!(check_content_type(&headers(&CONTENT_TYPE, &[value])).is_err(), "{value}");
        }
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_png_is_made_where_accept_allows_one() {
        for value in [
            "",
            "*/*",
            "image/*",
            "image/png",
            "Image/PNG;q=0.1",
            "application/json, image/*;q=0.5",
            "text/html, */*; q=0.001",
            "image/*;q=0, image/png",
            "image/png;q=high",
        ] {
            assert!(check_accept(&headers(&ACCEPT, &[value])).is_ok(), "{value}");
        }
        assert!(check_accept(&HeaderMap::new()).is_ok());
        assert!(check_accept(&headers(&ACCEPT, &["text/html", "image/png"])).is_ok());
    }

    #[test]
    fn what_accept_excludes_is_not_made() {
        for value in
            ["application/json", "image/jpeg", "image/png;q=0", "*/*, image/png; Q=0.0", "png", ","]
        {
            assert!(check_accept(&headers(&ACCEPT, &[value])).is_err(), "{value}");
        }
    }
}
