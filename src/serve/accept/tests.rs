use proptest::prelude::*;

use super::*;

fn negotiate_for(content: Content, accept: &[&str]) -> Result<Reply, Refusal> {
    let values =
        accept.iter().map(|value| (ACCEPT, HeaderValue::from_bytes(value.as_bytes()).unwrap()));
    Reply::negotiate(&values.collect(), content, &Options::default())
}

fn form(accept: &str) -> Option<Form> {
    negotiate_for(Content::Image, &[accept]).ok().map(|reply| reply.form)
}

#[test]
fn every_form_is_had_by_its_own_name() {
    for asked in FORMS {
        assert_eq!(form(&asked.full_name()), Some(asked));
    }
    assert_eq!(form("Image/PNG; Overlay=TRUE; q=0.3"), Some(Form::Overlay));
    assert_eq!(form("image/png;overlay=\"true\""), Some(Form::Overlay));
    assert_eq!(form("image/png;overlay=false"), Some(Form::Mask));
    assert_eq!(form("application/x-npy; probabilities=true"), Some(Form::Probabilities));
    assert_eq!(form("application/json; charset=utf-8"), Some(Form::Json));
}

#[test]
fn who_has_no_preference_gets_the_form_that_goes_with_the_body() {
    for (content, expected) in [
        (Content::Image, Form::Mask),
        (Content::Npy, Form::Mask),
        (Content::Json, Form::Json),
        (Content::JsonLines, Form::JsonLines),
    ] {
        for accept in [&[][..], &[""], &[" "], &["*/*"], &["text/html", "*/*;q=0.001"]] {
            assert_eq!(negotiate_for(content, accept).unwrap().form, expected);
        }
    }
    assert_eq!(form("image/*"), Some(Form::Mask));
    assert_eq!(form("application/*"), Some(Form::Json));
    let npy = negotiate_for(Content::JsonLines, &["application/x-npy"]).unwrap();
    assert_eq!(npy.form, Form::Ids);
}

#[test]
fn weights_and_specific_ranges_decide() {
    for (accept, expected) in [
        ("application/json;q=0.5, image/png;q=0.9", Form::Mask),
        ("application/json;q=0.9, image/png;q=0.5", Form::Json),
        ("application/json, */*", Form::Json),
        ("*/*, application/json", Form::Json),
        ("application/json, image/png", Form::Json),
        ("image/png, application/json", Form::Mask),
        ("image/*;q=0, image/png", Form::Mask),
        ("*/*, image/png;q=0", Form::Json),
        ("image/png, image/png;overlay=true", Form::Overlay),
        ("image/png;overlay=true;q=0.5, image/png;q=0.7", Form::Mask),
        ("image/png;q=high", Form::Mask),
        ("image/png;q=nan", Form::Mask),
        ("image/png;q=0.00001", Form::Mask),
        ("text/html;level=\"1,image/png\", application/json", Form::Json),
        ("text/html, application/xhtml+xml, image/webp, */*;q=0.8", Form::Mask),
    ] {
        assert_eq!(form(accept), Some(expected), "{accept}");
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
        let refusal = negotiate_for(Content::Image, &[accept]).unwrap_err();
        assert_eq!(refusal.error_type(), ErrorType::NotAcceptable);
        let words = refusal.to_json()["error"].as_str().unwrap().to_owned();
        for form in FORMS {
            assert!(words.contains(&form.full_name()), "{words}");
        }
    }
}

#[test]
fn a_list_of_records_is_answered_by_json_only() {
    for asked in FORMS {
        let reply = Reply { form: asked, json: JsonOptions::default() };
        let is_json = matches!(asked, Form::Json | Form::JsonLines);
        assert_eq!(reply.check(RecordsStyle::Instances).is_ok(), is_json);
        assert_eq!(reply.check(RecordsStyle::JsonLines).is_ok(), is_json);
        assert!(reply.check(RecordsStyle::Lone).is_ok());
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
        let _ = negotiate_for(Content::Image, &[&parts.concat()]);
    }

    #[test]
    fn a_type_with_a_weight_is_chosen_whatever_surrounds_it(
        before in "[a-z]{1,5}/[a-z]{1,5}(;q=0\\.[1-9])?",
        after in "[a-z]{1,5}/[a-z]{1,5}",
        which in 0..FORMS.len(),
    ) {
        let asked = FORMS[which];
        prop_assert_eq!(form(&format!("{before}, {} ,{after}", asked.full_name())), Some(asked));
    }
}
