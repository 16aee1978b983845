//! The client against a server on this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Requests that a server got: path, and `Authorization` if there was one.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

async fn answer(
    State((seen, other)): State<(Seen, Option<SocketAddr>)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let authorization =
        headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let count = {
        let mut seen = seen.lock().unwrap();
        seen.push((uri.path().to_owned(), authorization));
        seen.len()
    };
    match uri.path() {
        "/ok" => "content".into_response(),
        "/secret" => (StatusCode::UNAUTHORIZED, r#"{"detail": "who are you?"}"#).into_response(),
        "/page" => {
            (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/html")], "<html>").into_response()
        }
        "/busy" if count < 3 => {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "0")]).into_response()
        }
        "/busy" => "at last".into_response(),
        "/away" => Redirect::to(&format!("http://{}/secret", other.unwrap())).into_response(),
        "/within" => Redirect::to("/ok").into_response(),
        "/circle" => Redirect::to("/circle").into_response(),
        "/file" => Redirect::to("file:///etc/passwd").into_response(),
        "/metadata" => Redirect::to("http://169.254.169.254/latest/meta-data/").into_response(),
        path => panic!("unexpected request {path}"),
    }
}

async fn start_server(other: Option<SocketAddr>) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state((Arc::clone(&seen), other));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, seen)
}

fn client(addresses: AddressRule) -> WebClient {
    WebClient::new(WebClientSettings {
        addresses,
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(20),
        max_attempts: 3,
    })
    .unwrap()
}

fn local_client() -> WebClient {
    client(AddressRule { allow_private: true, ..Default::default() })
}

fn url(address: SocketAddr, path: &str) -> Url {
    format!("http://{address}{path}").parse().unwrap()
}

async fn read(client: &WebClient, url: &Url) -> Result<String, WebError> {
    let body = client.read(&WebRequest::get(url), 1000).await?;
    Ok(String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn an_authorization_goes_to_its_server_and_along_no_redirect() {
    let (other, seen_by_other) = start_server(None).await;
    let (server, seen) = start_server(Some(other)).await;
    let authorization = Authorization::new(&url(server, "/"), "Token abc").unwrap();
    assert!(!format!("{authorization:?}").contains("abc"));
    let send = async |url: Url| {
        local_client().read(&WebRequest::get(&url).authorized(&authorization), 1000).await
    };
    assert_eq!(send(url(server, "/ok")).await.unwrap(), b"content");
    assert_eq!(send(url(server, "/within")).await.unwrap(), b"content");
    let error = send(url(server, "/away")).await.unwrap_err();
    assert!(error.was_redirected && error.kind == WebErrorKind::Status(401), "{error}");
    assert!(
        error.to_string().contains("says: who are you?; the request was redirected there"),
        "{error}"
    );
    // Another server is asked without it, also directly.
    send(url(other, "/ok")).await.unwrap();
    let token = || Some("Token abc".to_owned());
    let expected = [("/ok", token()), ("/within", token()), ("/ok", None), ("/away", token())]
        .map(|(path, value)| (path.to_owned(), value));
    assert_eq!(*seen.lock().unwrap(), expected);
    assert!(seen_by_other.lock().unwrap().iter().all(|(_, authorization)| authorization.is_none()));
}

#[tokio::test]
async fn passing_faults_are_tried_again_and_others_are_not() {
    let (server, seen) = start_server(None).await;
    assert_eq!(read(&local_client(), &url(server, "/busy")).await.unwrap(), "at last");
    assert_eq!(seen.lock().unwrap().len(), 3);
    let error = read(&local_client(), &url(server, "/page")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "GET http://{server}/page: the server answers 404 (Not Found), and says: a page for people (HTML)"
        )
    );
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_request_that_changes_something_is_sent_once_unless_it_may_be_repeated() {
    let (server, seen) = start_server(None).await;
    let url = url(server, "/busy");
    let request = WebRequest::with_json(reqwest::Method::POST, &url, b"{}".to_vec());
    let error = local_client().read(&request, 1000).await.unwrap_err();
    assert_eq!(error.kind, WebErrorKind::Status(503));
    assert_eq!(local_client().read(&request.repeatable(), 1000).await.unwrap(), b"at last");
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn redirects_lead_to_allowed_addresses_of_the_web_alone() {
    let (server, _) = start_server(None).await;
    for (path, expected) in [
        ("/circle", "redirects more than 10 times"),
        ("/file", "redirects to what is no web address"),
        (
            "/metadata",
            "169.254.169.254 is a link-local address, and only public addresses may be asked",
        ),
    ] {
        let error = read(&local_client(), &url(server, path)).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn private_addresses_are_asked_only_if_they_are_allowed() {
    let (server, seen) = start_server(None).await;
    let by_name: Url = format!("http://localhost:{}/ok", server.port()).parse().unwrap();
    for url in [&url(server, "/ok"), &by_name] {
        let error = read(&client(AddressRule::default()), url).await.unwrap_err();
        assert_eq!(error.kind, WebErrorKind::ForbiddenAddress, "{error}");
        assert!(error.to_string().contains("only public addresses may be asked"), "{error}");
    }
    assert!(seen.lock().unwrap().is_empty());
    let rule = AddressRule { private_servers: vec![by_name.clone()], ..Default::default() };
    assert!(read(&client(rule.clone()), &url(server, "/ok")).await.is_err());
    // The name may also stand for ::1, where nobody listens; the client tries its other addresses.
    assert_eq!(read(&client(rule), &by_name).await.unwrap(), "content");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_cut_off() {
    let (server, _) = start_server(None).await;
    let url = url(server, "/ok");
    let error = local_client().read(&WebRequest::get(&url), 6).await.unwrap_err();
    assert!(
        error.to_string().ends_with("the answer has more than the 6 bytes that are allowed"),
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    static ANSWERS: AtomicUsize = AtomicUsize::new(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let body =
                if ANSWERS.fetch_add(1, Ordering::SeqCst) == 0 { "half" } else { "half and half" };
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\n{body}");
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    assert_eq!(read(&local_client(), &url(address, "/")).await.unwrap(), "half and half");
    assert_eq!(ANSWERS.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn errors_show_neither_query_nor_password() {
    let nobody: Url = "http://user:hidden@127.0.0.1:9/a?signature=hidden#x".parse().unwrap();
    let error = read(&local_client(), &nobody).await.unwrap_err();
    assert_eq!(error.kind, WebErrorKind::Unreachable);
    assert!(error.to_string().starts_with("GET http://127.0.0.1:9/a: no connection ("), "{error}");
    assert!(!error.to_string().contains("hidden"), "{error}");
}
