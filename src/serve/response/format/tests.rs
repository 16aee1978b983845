use proptest::prelude::*;

use super::*;

fn negotiate_for(content: BodyKind, accept: &[&str]) -> Result<ResponseFormat, ApiError> {
    let values =
        accept.iter().map(|value| (ACCEPT, HeaderValue::from_bytes(value.as_bytes()).unwrap()));
    ResponseFormat::negotiate(&values.collect(), content, &RequestOptions::default())
}

fn negotiated_kind(accept: &str) -> Option<ResponseKind> {
    negotiate_for(BodyKind::Image, &[accept]).ok().map(|reply| reply.kind)
}

#[test]
fn every_form_is_had_by_its_own_name() {
    for asked in RESPONSE_KINDS {
        assert_eq!(negotiated_kind(&asked.full_media_type()), Some(asked));
    }
    assert_eq!(negotiated_kind("Image/PNG; Overlay=TRUE; q=0.3"), Some(ResponseKind::Overlay));
    assert_eq!(negotiated_kind("image/png;overlay=\"true\""), Some(ResponseKind::Overlay));
    assert_eq!(negotiated_kind("image/png;overlay=false"), Some(ResponseKind::Mask));
    assert_eq!(
        negotiated_kind("application/x-npy; probabilities=true"),
        Some(ResponseKind::NpyProbabilities)
    );
    assert_eq!(negotiated_kind("application/json; charset=utf-8"), Some(ResponseKind::Json));
}

#[test]
fn who_has_no_preference_gets_the_form_that_goes_with_the_body() {
    for (content, expected) in [
        (BodyKind::Image, ResponseKind::Mask),
        (BodyKind::Npy, ResponseKind::Mask),
        (BodyKind::Json, ResponseKind::Json),
        (BodyKind::JsonLines, ResponseKind::JsonLines),
    ] {
        for accept in [&[][..], &[""], &[" "], &["*/*"], &["text/html", "*/*;q=0.001"]] {
            assert_eq!(negotiate_for(content, accept).unwrap().kind, expected);
        }
    }
    assert_eq!(negotiated_kind("image/*"), Some(ResponseKind::Mask));
    assert_eq!(negotiated_kind("application/*"), Some(ResponseKind::Json));
    let npy = negotiate_for(BodyKind::JsonLines, &["application/x-npy"]).unwrap();
    assert_eq!(npy.kind, ResponseKind::NpyClassIds);
}

#[test]
fn weights_and_specific_ranges_decide() {
    for (accept, expected) in [
        ("application/json;q=0.5, image/png;q=0.9", ResponseKind::Mask),
        ("application/json;q=0.9, image/png;q=0.5", ResponseKind::Json),
        ("application/json, */*", ResponseKind::Json),
        ("*/*, application/json", ResponseKind::Json),
        ("application/json, image/png", ResponseKind::Json),
        ("image/png, application/json", ResponseKind::Mask),
        ("image/*;q=0, image/png", ResponseKind::Mask),
        ("*/*, image/png;q=0", ResponseKind::Json),
        ("image/png, image/png;overlay=true", ResponseKind::Overlay),
        ("image/png;overlay=true;q=0.5, image/png;q=0.7", ResponseKind::Mask),
        ("image/png;q=high", ResponseKind::Mask),
        ("image/png;q=nan", ResponseKind::Mask),
        ("image/png;q=0.00001", ResponseKind::Mask),
        ("text/html;level=\"1,image/png\", application/json", ResponseKind::Json),
        ("text/html, application/xhtml+xml, image/webp, */*;q=0.8", ResponseKind::Mask),
    ] {
        assert_eq!(negotiated_kind(accept), Some(expected), "{accept}");
    }
}

#[test]
fn what_cannot_be_made_is_406_and_lists_what_can() {
    for accept in [
        "image/jpeg",
        "image/png;q=0",
        "*/*;q=0",
        "png",
        ",",
        "image/png;overlay=maybe",
        "application/x-npy;probabilities=1",
        "text/html;level=\"1,image/png\"",
    ] {
        let refusal = negotiate_for(BodyKind::Image, &[accept]).unwrap_err();
        assert_eq!(refusal.error_type(), ErrorType::NotAcceptable);
        let words = refusal.to_json()["error"].as_str().unwrap().to_owned();
        for form in RESPONSE_KINDS {
            assert!(words.contains(&form.full_media_type()), "{words}");
        }
    }
}

#[test]
fn a_list_of_records_is_answered_by_json_only() {
    for asked in RESPONSE_KINDS {
        let reply = ResponseFormat { kind: asked, json_options: JsonOptions::default() };
        let is_json = matches!(asked, ResponseKind::Json | ResponseKind::JsonLines);
        assert_eq!(reply.check_records_style(RecordsStyle::Instances).is_ok(), is_json);
        assert_eq!(reply.check_records_style(RecordsStyle::JsonLines).is_ok(), is_json);
        assert!(reply.check_records_style(RecordsStyle::Single).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_accept_gives_a_form_or_406(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "image/png", "*/*", "image/*", ";q=", "0.5", ",", "\"", "\\", ";overlay=", "true", "application/json",
                "\u{e9}",
            ]),
            0..9,
        ),
    ) {
        let _ = negotiate_for(BodyKind::Image, &[&parts.concat()]);
    }

    #[test]
    fn a_type_with_a_weight_is_chosen_whatever_surrounds_it(
        before in "[a-z]{1,5}/[a-z]{1,5}(;q=0\\.[1-9])?",
        after in "[a-z]{1,5}/[a-z]{1,5}",
        which in 0..RESPONSE_KINDS.len(),
    ) {
        let asked = RESPONSE_KINDS[which];
        prop_assert_eq!(negotiated_kind(&format!("{before}, {} ,{after}", asked.full_media_type())), Some(asked));
    }
}

#[test]
fn every_format_has_a_row_in_the_guide_and_a_type_in_the_openapi_document() {
    let guide = include_str!("../../../../docs/serving.md");
    let openapi = include_str!("../../routes/openapi/openapi.json");
    for kind in RESPONSE_KINDS {
        let cell = format!("`{}`", kind.full_media_type());
        let is_in_guide = guide
            .lines()
            .any(|line| line.starts_with("| `") && line.split('|').nth(1).unwrap().contains(&cell));
        assert!(is_in_guide, "{cell} is not in the table of answers of docs/serving.md");
        let name = format!("\"{}\"", kind.media_type().0);
        assert!(openapi.contains(&name), "{name} is not in openapi.json");
    }
}
