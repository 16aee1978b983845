//! Whatever is sent, the answer comes and is never the server's fault.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::stub::*;

static SERVER: LazyLock<(Runtime, Router)> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(plain());
    (runtime, app)
});

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
        content_type in value(&["image/png", "image/jpeg", "image/", "application/x-image;"]),
        accept in value(&["*/*", "image/*", "image/png;q=", ", "]),
        body in body(),
        always_readable in any::<bool>(),
    ) {
        let (runtime, app) = &*SERVER;
        let mut request = Request::post("/invocations").body(Body::from(body)).unwrap();
        let content_type = if always_readable { b"image/png".to_vec() } else { content_type };
        for (name, value) in [("content-type", content_type), ("accept", accept)] {
            request.headers_mut().insert(name, HeaderValue::from_bytes(&value).unwrap());
        }
        let answer = runtime.block_on(ask(app, request));
        prop_assert!(answer.status.as_u16() < 500, "{}", answer.status);
        prop_assert_eq!(runtime.block_on(ask(app, self::request("GET", "/ping"))).status, 200);
    }

    #[test]
    fn no_path_or_method_is_answered_with_a_5xx(
        method in "GET|POST|PUT|DELETE|HEAD|OPTIONS|[A-Z]{1,12}",
        path in "/(ping|invocations|models|)[/a-z0-9%.?&=-]{0,20}",
    ) {
        let (runtime, app) = &*SERVER;
        let answer = runtime.block_on(ask(app, request(&method, &path)));
        prop_assert!(answer.status.as_u16() < 500, "{}", answer.status);
    }
}
