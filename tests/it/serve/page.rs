//! The page at `/`, as it is sent; what it does in a browser is `make test-page`.

use axum::body::Body;
use axum::http::Request;

use super::modes::many;
use super::stub::*;

#[tokio::test]
async fn the_page_is_one_document_that_may_do_nothing_but_ask_its_server() {
    for (app, mode) in [(plain().await, "single-model"), (many().await, "multi-model")] {
        let answer = ask(&app, request("GET", "/")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cache-control"], "no-cache");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "connect-src 'self'",
            "script-src 'sha256-",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let text = std::str::from_utf8(&answer.body).unwrap();
        assert!(
            text.starts_with("<!doctype html>") && text.contains(&format!("data-mode=\"{mode}\""))
        );
        let head = ask(&app, request("HEAD", "/")).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    }
}

#[tokio::test]
async fn a_page_that_the_browser_has_is_not_sent_again() {
    let app = plain().await;
    let tag = ask(&app, request("GET", "/")).await.headers["etag"].clone();
    let again = Request::get("/").header("if-none-match", tag.clone()).body(Body::empty()).unwrap();
    let answer = ask(&app, again).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0));
    assert_eq!(answer.headers["etag"], tag);
    let other = Request::get("/").header("if-none-match", "\"other\"").body(Body::empty()).unwrap();
    assert_eq!(ask(&app, other).await.status, 200);
}
