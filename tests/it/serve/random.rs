//! Whatever is sent, the answer comes and is never the server's fault.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use maskmaker::serve::{ServeSettings, Server};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::stub::*;

/// One server of each kind; slow bodies are given up soon.
struct Servers {
    runtime: Runtime,
    one: Router,
    many: Router,
}

static SERVERS: LazyLock<Servers> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let settings = ServeSettings { body_timeout: Duration::from_millis(20), ..settings() };
    let one = runtime.block_on(ready(&server(red_modulo_4, &settings)));
    let many = ServeSettings { multi_model: true, models_bytes: Some(10_000), ..settings };
    let loader = Arc::new(Loader(|_: &Path| Ok(boxed(red_modulo_4))));
    let many = runtime.block_on(async { Server::start(&many, loader, None).unwrap().router() });
    Servers { runtime, one, many }
});

/// A body in pieces, some of which are cut off or never come.
fn steps() -> impl Strategy<Value = (Vec<u8>, Vec<prop::sample::Index>, u8)> {
    (body(), proptest::collection::vec(any::<prop::sample::Index>(), 0..4), 0..4_u8)
}

fn in_steps((body, cuts, end): (Vec<u8>, Vec<prop::sample::Index>, u8)) -> Vec<Step> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    cuts.sort_unstable();
    let (mut steps, mut from) = (Vec::new(), 0);
    for cut in cuts {
        steps.push(Step::Bytes(body[from..cut].to_vec()));
        from = cut;
    }
    match end {
        0 => steps.push(Step::Break),
        1 => steps.push(Step::Stall),
        _ => steps.push(Step::Bytes(body[from..].to_vec())),
    }
    steps
}

/// Checks that an answer is one, or a refusal in the documented form that is the client's fault.
fn check(answer: &Answer) -> Result<(), TestCaseError> {
    let status = answer.status.as_u16();
    prop_assert!(status < 500, "{status}");
    if status >= 400 {
        let json = answer.json();
        prop_assert!(json["error"].as_str().is_some_and(|reason| !reason.is_empty()), "{json}");
        prop_assert!(json["error_type"].is_string(), "{json}");
    }
    Ok(())
}

/// Header values as the grammar of HTTP allows them, often near the ones that mean something.
fn value(known: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(prop_oneof![b' '..=b'~', 0x80..=0xff_u8], 0..30);
    let near = (proptest::sample::select(known), noise.clone());
    prop_oneof![noise, near.prop_map(|(known, noise)| [known.as_bytes(), &noise].concat())]
}

/// Noise, or an image with a few bytes changed and cut somewhere.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..200);
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let image = (changes, any::<prop::sample::Index>()).prop_map(|(changes, end)| {
        let mut bytes = png(20, 20);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(end.index(bytes.len() * 2));
        bytes
    });
    prop_oneof![noise, image]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_is_answered_with_a_5xx(
        content_type in value(&[
            "image/png", "image/jpeg", "image/", "application/x-image;", "application/x-npy",
            "application/json", "application/jsonlines",
        ]),
        accept in value(&["*/*", "image/*", "image/png;q=", ", ", "application/json", "application/x-npy"]),
        attributes in value(&["flip=true", "tile=", "scales=1:", ";", ","]),
        body in body(),
        always_readable in any::<bool>(),
    ) {
        let Servers { runtime, one, .. } = &*SERVERS;
        let mut request = Request::post("/invocations").body(Body::from(body)).unwrap();
        let content_type = if always_readable { b"image/png".to_vec() } else { content_type };
        for (name, value) in [
            ("content-type", content_type),
            ("accept", accept),
            ("x-amzn-sagemaker-custom-attributes", attributes),
        ] {
            request.headers_mut().insert(name, HeaderValue::from_bytes(&value).unwrap());
        }
        check(&runtime.block_on(ask(one, request)))?;
        prop_assert_eq!(runtime.block_on(ask(one, self::request("GET", "/ping"))).status, 200);
    }

    #[test]
    fn no_path_or_method_is_answered_with_a_5xx(
        method in "GET|POST|PUT|DELETE|OPTIONS|[A-Z]{1,12}",
        path in "/(ping|invocations|models|models/a|models/a/invoke|)[/a-z0-9%.?&=-]{0,20}",
        many in any::<bool>(),
    ) {
        let Servers { runtime, one, many: multi } = &*SERVERS;
        let app = if many { multi } else { one };
        let answer = runtime.block_on(ask(app, request(&method, &path)));
        prop_assert!(answer.status.as_u16() < 500, "{}", answer.status);
    }

    #[test]
    fn no_load_is_answered_with_a_5xx_but_that_memory_is_full(
        name in ".{0,10}",
        url in "/?.{0,20}",
        noise in proptest::collection::vec(any::<u8>(), 0..40),
        whole in any::<bool>(),
    ) {
        let Servers { runtime, many, .. } = &*SERVERS;
        let json = serde_json::json!({ "model_name": name, "url": url }).to_string();
        let body = if whole { json.into_bytes() } else { noise };
        let answer = runtime.block_on(ask(many, post_to("/models", "application/json", body)));
        if answer.status != 507 {
            check(&answer)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_body_however_it_arrives_is_answered_with_a_5xx(steps in steps()) {
        let Servers { runtime, one, .. } = &*SERVERS;
        // The clock of a body that stalls is the runtime's.
        let answer = runtime.block_on(async { ask(one, post(arriving(in_steps(steps)))).await });
        check(&answer)?;
    }
}
