use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::imaging::encode_png;

fn picture() -> RgbImage {
    RgbImage::from_fn(5, 4, |x, y| ::image::Rgb([(40 * x) as u8, (60 * y) as u8, 255]))
}

fn limits() -> DecodeLimits {
    DecodeLimits { max_pixels: 10_000 }
}

fn base64() -> String {
    STANDARD.encode(encode_png(&picture()))
}

fn body_kind(value: &str) -> Result<BodyKind, ApiError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
    BodyKind::from_headers(&headers)
}

fn records(body_kind: BodyKind, body: impl Into<Vec<u8>>) -> (Vec<InputRecord>, RecordsStyle) {
    match parse_body(body_kind, body.into()).unwrap() {
        RequestBody::Records(records, style) => (records, style),
        RequestBody::Image(source) => panic!("{source:?}"),
    }
}

/// Returns the image of the only record.
fn decode_only_record(body: impl Into<Vec<u8>>) -> Result<RgbImage, ApiError> {
    let (mut records, _) = records(BodyKind::Json, body);
    assert_eq!(records.len(), 1);
    decode_source(records.remove(0).source?, limits())
}

#[track_caller]
fn api_error_message<T: std::fmt::Debug>(
    result: Result<T, ApiError>,
    error_type: ErrorType,
) -> String {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.error_type(), error_type, "{}", refusal.to_json());
    refusal.to_json()["error"].as_str().unwrap().to_owned()
}

#[test]
fn content_types_are_known_whatever_their_case_and_parameters() {
    for (kind, names) in MEDIA_TYPES {
        for name in names {
            assert_eq!(body_kind(name).unwrap(), kind);
            assert_eq!(
                body_kind(&format!("{} ; charset=utf-8", name.to_uppercase())).unwrap(),
                kind
            );
        }
    }
    for name in ["", ";", "image/", "image/gif", "image/jpegx", "text/csv;image/png"] {
        let words = api_error_message(body_kind(name), ErrorType::UnsupportedMediaType);
        for readable in ["image/jpeg", "image/webp", "application/x-npy", "application/jsonlines"] {
            assert!(words.contains(readable), "{words}");
        }
    }
    let words = api_error_message(
        BodyKind::from_headers(&HeaderMap::new()),
        ErrorType::UnsupportedMediaType,
    );
    assert!(words.contains("no Content-Type"), "{words}");
}

#[test]
fn an_image_file_goes_by_its_bytes() {
    let body = encode_png(&picture());
    let RequestBody::Image(source) = parse_body(BodyKind::Image, body).unwrap() else { panic!() };
    assert_eq!(decode_source(source, limits()).unwrap(), picture());
    let array = [&b"\x93NUMPY\x01\x00\x3c\x00"[..], &[b' '; 60]].concat();
    let RequestBody::Image(source) = parse_body(BodyKind::Image, array).unwrap() else { panic!() };
    api_error_message(decode_source(source, limits()), ErrorType::InvalidArray);
    let words = api_error_message(
        decode_source(ImageSource::Bytes(b"GIF89a".to_vec()), limits()),
        ErrorType::UndecodableImage,
    );
    assert!(words.contains("GIF") && words.contains("WebP, TIFF and BMP"), "{words}");
    api_error_message(
        decode_source(ImageSource::Bytes(Vec::new()), limits()),
        ErrorType::EmptyBody,
    );
    let small = DecodeLimits { max_pixels: 19 };
    let large = decode_source(ImageSource::Bytes(encode_png(&picture())), small);
    api_error_message(large, ErrorType::ImageTooLarge);
}

#[test]
fn a_record_is_read_in_each_of_its_forms() {
    let text = base64();
    let png = encode_png(&picture());
    let lines: Vec<_> = text.as_bytes().chunks(40).map(|c| str::from_utf8(c).unwrap()).collect();
    for body in [
        json!({ "image": text }),
        json!({ "image": format!("data:image/png;base64,{text}") }),
        json!({ "image": format!("DATA:;Base64,{}", text.replace('+', "%2B")) }),
        json!({ "image": { "b64": text } }),
        json!({ "b64": text, "other": [[{ "deep": null }]] }),
        json!(text),
        json!({ "image": lines.join("\r\n") }),
        json!({ "image": STANDARD_NO_PAD.encode(&png) }),
        json!({ "image": URL_SAFE.encode(&png) }),
    ] {
        assert_eq!(decode_only_record(body.to_string()).unwrap(), picture(), "{body}");
    }
    // PHP escapes slashes, and some clients escape every character.
    let escaped = format!("{{\"image\":\"{}\"}}", text.replace('/', "\\/"));
    assert_eq!(decode_only_record(escaped).unwrap(), picture());
    let unicode: Vec<_> = text.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let unicode = unicode.concat();
    assert_eq!(
        decode_only_record(format!("\u{feff}{{\"image\":\"{unicode}\"}}")).unwrap(),
        picture()
    );
}

#[test]
fn references_are_found_and_their_form_is_checked() {
    for body in [
        r#"{"source-ref": "s3://bucket/a folder/b.jpg", "x-metadata": {"class-map": {"1": "a"}}}"#,
        r#"{"image": "s3:\/\/bucket\/a folder\/b.jpg"}"#,
        r#"" s3://bucket/a folder/b.jpg ""#,
    ] {
        let (records, _) = records(BodyKind::Json, body);
        let expected = ImageSource::S3Uri("s3://bucket/a folder/b.jpg".to_owned());
        assert_eq!(records[0].source, Ok(expected), "{body}");
    }
    for (uri, words) in [
        ("https://example.com/a.jpg", "not in S3"),
        ("file:///etc/passwd", "not in S3"),
        ("s3://bucket", "without a bucket or a key"),
        ("s3://bucket/", "without a bucket or a key"),
        ("s3:///key", "without a bucket or a key"),
        ("s3://bucket/a\nb", "control characters"),
        (&format!("s3://bucket/{}", "k".repeat(1025)), "too long"),
    ] {
        let text = api_error_message(
            decode_only_record(json!({ "image": uri }).to_string()),
            ErrorType::InvalidJson,
        );
        assert!(text.contains(words) && text.contains("s3://bucket/key"), "{text}");
    }
    let unfetched = decode_source(ImageSource::S3Uri("s3://a/b".to_owned()), limits());
    api_error_message(unfetched, ErrorType::ReferencesNotAllowed);
}

#[test]
fn ids_go_with_their_records() {
    let body = json!({ "instances": [
        { "image": base64(), "id": "a\"b" }, { "id": 7, "image": "s3://b/k" }, base64(), { "id": null, "b64": "AA==" },
    ] });
    let (records, style) = records(BodyKind::Json, body.to_string());
    assert_eq!(style, RecordsStyle::Instances);
    let ids: Vec<_> = records.iter().map(|record| record.id.clone()).collect();
    assert_eq!(ids, [Some(r#""a\"b""#.to_owned()), Some("7".to_owned()), None, None]);
    assert!(records.iter().all(|record| record.source.is_ok()));
    for bad in [json!([1]), json!({}), json!(true), json!("x".repeat(1100))] {
        let words = decode_only_record(json!({ "image": "AA==", "id": bad }).to_string());
        let words = api_error_message(words, ErrorType::InvalidJson);
        assert!(words.contains("a text or a number"), "{words}");
    }
}

#[test]
fn numbers_in_ids_keep_every_digit() {
    for number in ["18446744073709551616", "-9223372036854775809", "1.50", "1e999", "-0"] {
        let line = format!("{{\"id\": {number}, \"image\": \"AA==\"}}\n");
        let (records, _) = records(BodyKind::JsonLines, line);
        assert_eq!(records[0].id.as_deref(), Some(number));
    }
    let no_character = r#"{"id": "\ud800", "image": "AA=="}"#;
    api_error_message(decode_only_record(no_character.to_owned()), ErrorType::InvalidJson);
}

#[test]
fn a_list_of_records_and_several_documents_are_told_the_forms_that_are_read() {
    let record = json!({ "image": base64() }).to_string();
    for list in [format!("[{record}, {record}]"), format!(" [\n\"{}\"]", base64())] {
        let message = api_error_message(
            parse_body(BodyKind::Json, list.into_bytes()),
            ErrorType::InvalidJson,
        );
        assert!(message.contains("{\"instances\": [...]}"), "{message}");
        assert!(message.contains("application/jsonlines"), "{message}");
    }
    for documents in [format!("{record}\n{record}\n"), format!("{record}{{\"image\": cut")] {
        let body = documents.into_bytes();
        let message = api_error_message(parse_body(BodyKind::Json, body), ErrorType::InvalidJson);
        assert!(message.contains("application/jsonlines"), "{message}");
    }
    for lines in [format!("[{record}]"), format!("{{\"instances\": [{record}]}}\n{record}")] {
        let (records, _) = records(BodyKind::JsonLines, lines);
        let message = api_error_message(records[0].source.clone(), ErrorType::InvalidJson);
        assert!(message.contains("application/json"), "{message}");
    }
    for (kind, body, words) in [
        (BodyKind::JsonLines, "{\n \"image\":\n \"AA==\"}".to_owned(), "on several lines"),
        (BodyKind::Json, base64(), "the body is base64"),
    ] {
        let message =
            api_error_message(parse_body(kind, body.into_bytes()), ErrorType::InvalidJson);
        assert!(message.contains(words), "{message}");
    }
    for kind in [BodyKind::Json, BodyKind::JsonLines] {
        let compressed = b"\x1f\x8b\x08\0\0\0\0\0".to_vec();
        let message = api_error_message(parse_body(kind, compressed), ErrorType::InvalidJson);
        assert!(message.contains("Content-Encoding: gzip"), "{message}");
    }
    // An array of pixels is no list of records, and other rubbish behind a document no second one.
    for (body, words) in [("[[1, 2], [3, 4]]", "application/x-npy"), ("{} x", "trailing")] {
        let message = match parse_body(BodyKind::Json, body.into()) {
            Ok(RequestBody::Records(records, _)) => {
                api_error_message(records[0].source.clone(), ErrorType::InvalidJson)
            }
            other => api_error_message(other, ErrorType::InvalidJson),
        };
        assert!(message.contains(words) && !message.contains("jsonlines"), "{message}");
    }
}

#[test]
fn texts_sent_as_an_image_are_told_what_they_are() {
    let data_url = format!("data:image/png;base64,{}", base64());
    let record = json!({ "image": base64() }).to_string();
    let form = "--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n\u{89}PNG\r\n--x--";
    for (body, words) in [
        (base64(), "{\"image\": BASE64} as application/json"),
        (format!("\"{}\"\n", base64()), "{\"image\": BASE64} as application/json"),
        (data_url, "{\"image\": BASE64} as application/json"),
        (record, "send it as application/json"),
        (form.to_owned(), "multipart"),
        (format!("b'{}'", base64()), "{\"image\": BASE64} as application/json"),
        (format!("\u{feff}[{{\"image\": \"{}\"}}]", base64()), "send it as application/json"),
    ] {
        let image = decode_source(ImageSource::Bytes(body.into_bytes()), limits());
        let message = api_error_message(image, ErrorType::UndecodableImage);
        assert!(message.contains(words), "{message}");
    }
    let twice = json!({ "image": STANDARD.encode(base64()) }).to_string();
    let message = api_error_message(decode_only_record(twice), ErrorType::UndecodableImage);
    assert!(message.contains("base64 twice"), "{message}");
    // Bytes that look like text and are none of these keep the plain message.
    for body in ["GIF89a", "hello", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"] {
        let image = decode_source(ImageSource::Bytes(body.into()), limits());
        let message = api_error_message(image, ErrorType::UndecodableImage);
        assert!(!message.contains("base64"), "{message}");
    }
}

#[test]
fn a_line_that_is_wrong_leaves_the_others_alone() {
    let good = json!({ "image": base64(), "id": 1 }).to_string();
    let body =
        [good.as_bytes(), b"\r\n\n{\"image\": 5}\n{broken\n\xff\n", good.as_bytes()].concat();
    let (records, style) = records(BodyKind::JsonLines, body);
    assert_eq!(style, RecordsStyle::JsonLines);
    assert_eq!(
        records.iter().map(|r| r.source.is_ok()).collect::<Vec<_>>(),
        [true, false, false, false, true]
    );
    let words = |at: usize| api_error_message(records[at].source.clone(), ErrorType::InvalidJson);
    assert!(words(1).contains("is a number, not a text"));
    assert!(words(2).contains("record 3 is no JSON"));
    assert!(words(3).contains("record 4 is no UTF-8"));
    api_error_message(parse_body(BodyKind::JsonLines, b" \n\r\n".to_vec()), ErrorType::EmptyBody);
}

#[test]
fn json_that_is_no_record_is_refused_with_the_reason() {
    let deep = |text: &str| format!("{{\"image\":{}{}}}", text.repeat(200_000), "");
    for (body, words) in [
        (String::new(), "no JSON"),
        ("{".to_owned(), "no JSON"),
        ("{\"image\":\"AA==\"} x".to_owned(), "trailing characters"),
        ("[]".to_owned(), "a list"),
        ("null".to_owned(), "is null"),
        ("{}".to_owned(), "neither"),
        ("{\"instances\":[]}".to_owned(), "no records"),
        ("{\"instances\":{}}".to_owned(), "\"instances\" cannot be used"),
        ("{\"image\":\"a\",\"image\":\"b\"}".to_owned(), "duplicate field"),
        ("{\"image\":\"s3://a/b\",\"source-ref\":\"s3://a/b\"}".to_owned(), "both"),
        ("{\"source-ref\":7}".to_owned(), "reference is no text"),
        ("{\"image\":{\"b64\":{}}}".to_owned(), "without a text"),
        (deep("["), "no JSON"),
        (deep("{\"image\":"), "no JSON"),
        (format!("{{\"image\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)), "is a list"),
        (format!("{{\"source-ref\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)), "no text"),
    ] {
        let result = match parse_body(BodyKind::Json, body.clone().into_bytes()) {
            Ok(RequestBody::Records(mut records, _)) => records.remove(0).source.map(|_| ()),
            other => other.map(|_| ()),
        };
        let text = api_error_message(result, ErrorType::InvalidJson);
        assert!(text.contains(words), "{words} is not in {text}");
        assert!(text.len() < 600, "{text}");
    }
}

#[test]
fn a_body_of_very_many_records_is_refused() {
    let lines = "1\n".repeat(json::MAX_RECORDS + 1);
    let words = api_error_message(
        parse_body(BodyKind::JsonLines, lines.into_bytes()),
        ErrorType::InvalidJson,
    );
    assert!(words.contains("more than 10000"), "{words}");
    let list = format!("{{\"instances\":[{}1]}}", "1,".repeat(json::MAX_RECORDS));
    let words =
        api_error_message(parse_body(BodyKind::Json, list.into_bytes()), ErrorType::InvalidJson);
    assert!(words.contains("more than 10000"), "{words}");
}

#[test]
fn a_text_that_is_no_image_is_refused_when_it_is_decoded() {
    for (text, words) in [
        ("not base64 at all!", "is no base64"),
        ("", "empty text"),
        ("data:image/png,AAAA", "expected data:image/...;base64"),
        ("data:", "expected data:image"),
        ("AAAA", "cannot be decoded"),
        ("R0lGODlh", "GIF"),
    ] {
        let refusal = decode_only_record(json!({ "image": text }).to_string());
        let found = api_error_message(refusal, ErrorType::UndecodableImage);
        assert!(found.contains(words), "{words} is not in {found}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_body_gives_images_or_refusals(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just(b"{".to_vec()), Just(b"}".to_vec()), Just(b"[".to_vec()), Just(b"]".to_vec()),
                Just(b"\"image\":".to_vec()), Just(b"\"instances\":".to_vec()), Just(b"\"id\":".to_vec()),
                Just(b"\"source-ref\":".to_vec()), Just(b"\"b64\":".to_vec()), Just(b"\"s3://b/k\"".to_vec()),
                Just(b"\"data:;base64,AA\"".to_vec()), Just(b",".to_vec()), Just(b"\n".to_vec()), Just(b"7".to_vec()),
                Just(b"\"\\ud800\"".to_vec()), proptest::collection::vec(any::<u8>(), 0..6),
            ],
            0..16,
        ),
    ) {
        let body = pieces.concat();
        for content in [BodyKind::Json, BodyKind::JsonLines, BodyKind::Image, BodyKind::Npy] {
            match parse_body(content, body.clone()) {
                Ok(RequestBody::Image(source)) => drop(decode_source(source, limits())),
                Ok(RequestBody::Records(records, _)) => {
                    prop_assert!(!records.is_empty());
                    for record in records {
                        if let Ok(source) = record.source {
                            let _ = decode_source(source, limits());
                        }
                    }
                }
                Err(refusal) => prop_assert!(refusal.error_type().status().is_client_error()),
            }
        }
    }

    #[test]
    fn a_record_that_is_cut_off_is_refused(cut in any::<prop::sample::Index>()) {
        let whole = json!({ "image": base64(), "id": 3 }).to_string();
        let cut = cut.index(whole.len());
        let result = parse_body(BodyKind::Json, whole.as_bytes()[..cut].to_vec());
        prop_assert_eq!(result.unwrap_err().error_type(), ErrorType::InvalidJson);
    }
}
