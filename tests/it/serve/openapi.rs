//! The document at `/openapi.json` against the router: what it says is so, and what is so it says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use maskmaker::serve::ErrorType;
use regex::Regex;
use serde_json::Value;

use super::modes::*;
use super::schema::{Document, check};
use super::stub::*;

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// Every name. Whoever adds a variant comes by here, as the match below stops compiling.
const ERROR_TYPES: [ErrorType; 26] = {
    use ErrorType::*;
    const fn known(name: ErrorType) -> ErrorType {
        match name {
            EmptyBody
            | BrokenBody
            | InvalidOption
            | InvalidJson
            | InvalidModel
            | ReferencesNotAllowed
            | NotFound
            | ModelNotFound
            | MethodNotAllowed
            | NotAcceptable
            | BodyTimeout
            | ModelExists
            | BodyTooLarge
            | ImageTooLarge
            | TooMuchWork
            | ReplyTooLarge
            | UnsupportedMediaType
            | UnsupportedContentEncoding
            | UndecodableImage
            | InvalidArray
            | ReferenceFailed
            | InferenceFailed
            | Overloaded
            | ModelLoading
            | ModelUnavailable
            | InsufficientMemory => name,
        }
    }
    [
        known(EmptyBody),
        BrokenBody,
        InvalidOption,
        InvalidJson,
        InvalidModel,
        ReferencesNotAllowed,
        NotFound,
        ModelNotFound,
        MethodNotAllowed,
        NotAcceptable,
        BodyTimeout,
        ModelExists,
        BodyTooLarge,
        ImageTooLarge,
        TooMuchWork,
        ReplyTooLarge,
        UnsupportedMediaType,
        UnsupportedContentEncoding,
        UndecodableImage,
        InvalidArray,
        ReferenceFailed,
        InferenceFailed,
        Overloaded,
        ModelLoading,
        ModelUnavailable,
        InsufficientMemory,
    ]
};

/// The routers of both modes, each with its own document.
async fn both() -> [(Router, Document); 2] {
    let mut both = Vec::new();
    for app in [plain().await, many().await] {
        let document = document(&app).await;
        both.push((app, document));
    }
    both.try_into().unwrap_or_else(|_| unreachable!())
}

async fn document(app: &Router) -> Document {
    let answer = ask(app, request("GET", "/openapi.json")).await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    Document(serde_json::from_slice(&answer.body).unwrap())
}

/// A path of the document with a name in the place of its parameter.
fn filled(path: &str) -> String {
    path.replace("{name}", MODEL)
}

/// Whether the router leads anywhere, whatever it is that is answered.
fn is_routed(answer: &Answer) -> bool {
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    !(answer.status == 405 || answer.status == 404 && json["error_type"] == "NotFound")
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_operation_is_whole() {
    let reference = Regex::new(r#""\$ref":"([^"]+)""#).unwrap();
    for (_, document) in both().await {
        assert!(document.0["openapi"].as_str().unwrap().starts_with("3.1."));
        let text = document.0.to_string();
        let references: BTreeSet<_> =
            reference.captures_iter(&text).map(|found| found[1].to_owned()).collect();
        assert!(references.len() > 20, "{references:?}");
        for reference in references {
            document.at(&reference);
        }
        let mut names = BTreeSet::new();
        for (path, method, operation) in document.operations() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            assert!(names.insert(name.clone()), "{name} is there twice");
            assert!(operation["summary"].is_string(), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(
                    document.followed(response)["description"].is_string(),
                    "{method} {path} {status}"
                );
            }
            assert!(operation["responses"]["200"].is_object(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn what_is_documented_is_routed_and_nothing_else_is() {
    for (app, document) in both().await {
        let documented: BTreeSet<_> =
            document.operations().map(|(path, method, _)| (path, method.to_uppercase())).collect();
        let paths: BTreeSet<_> = documented.iter().map(|(path, _)| path.clone()).collect();
        for path in paths.into_iter().chain(
            ["/models", "/models/{name}", "/models/{name}/invoke", "/invocations"].map(Into::into),
        ) {
            // The one that takes the model away comes last.
            for method in METHODS.into_iter().filter(|&m| m != "DELETE").chain(["DELETE"]) {
                let answer = ask(&app, request(method, &filled(&path))).await;
                let is_documented = documented.contains(&(path.clone(), method.to_owned()));
                assert_eq!(is_routed(&answer), is_documented, "{method} {path}: {}", answer.status);
            }
            if documented.contains(&(path, "DELETE".to_owned())) {
                load(&app).await;
            }
        }
    }
}

#[tokio::test]
async fn every_route_of_the_sources_is_documented() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve")];
    let route = Regex::new(r#"\.route\(\s*"([^"]+)""#).unwrap();
    let mut routes = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(path).unwrap();
                routes.extend(route.captures_iter(&text).map(|found| found[1].to_owned()));
            }
        }
    }
    let mut documented = BTreeSet::new();
    for (_, document) in both().await {
        documented.extend(document.operations().map(|(path, _, _)| path));
    }
    assert_eq!(routes, documented);
}

#[tokio::test]
async fn every_error_type_stands_with_its_status_and_no_other_does() {
    for (_, document) in both().await {
        let mut expected = BTreeSet::new();
        for error_type in ERROR_TYPES {
            let name = serde_json::to_value(error_type).unwrap();
            expected.insert((
                error_type.status().as_u16().to_string(),
                name.as_str().unwrap().to_owned(),
            ));
        }
        let names: BTreeSet<_> = expected.iter().map(|(_, name)| name.clone()).collect();
        assert_eq!(names.len(), ERROR_TYPES.len());
        let listed = document.at("#/components/schemas/ErrorType")["enum"].as_array().unwrap();
        let listed: BTreeSet<_> =
            listed.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        assert_eq!(listed, names);
        let mut found = BTreeSet::new();
        for (status, response) in document.at("#/components/responses").as_object().unwrap() {
            let schema = &response["content"]["application/json"]["schema"]["allOf"][1];
            for name in schema["properties"]["error_type"]["enum"].as_array().into_iter().flatten()
            {
                let name = name.as_str().unwrap().to_owned();
                assert!(
                    response["description"].as_str().unwrap().contains(&format!("{name}: ")),
                    "{name}"
                );
                found.insert((status.clone(), name));
            }
        }
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn every_documented_body_is_read_and_every_documented_form_of_the_answer_is_made() {
    for (app, document) in both().await {
        let (path, operation) = document.segmenting();
        let post = |content_type: &str, body: Vec<u8>, accept: &str| {
            let request = Request::post(filled(&path)).header("content-type", content_type);
            request.header("accept", accept).body(Body::from(body)).unwrap()
        };
        let bodies = document.followed(&operation["requestBody"])["content"].as_object().unwrap();
        for (content_type, body) in bodies {
            let mut examples: Vec<Vec<u8>> = Vec::new();
            for example in body["examples"].as_object().into_iter().flat_map(|all| all.values()) {
                let value = &example["value"];
                if content_type == "application/json" {
                    check(&document, &body["schema"], value);
                }
                examples.push(value.as_str().map_or_else(|| value.to_string(), Into::into).into());
            }
            match content_type.as_str() {
                "application/json" | "application/jsonlines" => assert!(!examples.is_empty()),
                "application/x-npy" => examples.push(npy(6, 4)),
                _ => examples.push(png(6, 4)),
            }
            for example in examples {
                let answer = ask(&app, post(content_type, example, "*/*")).await;
                assert_eq!(
                    answer.status,
                    200,
                    "{content_type}: {}",
                    String::from_utf8_lossy(&answer.body)
                );
            }
        }
        let forms =
            document.followed(&operation["responses"]["200"])["content"].as_object().unwrap();
        assert!(forms.len() >= 6, "{forms:?}");
        for content_type in forms.keys() {
            let answer = ask(&app, post("image/png", png(6, 4), content_type)).await;
            assert_eq!(answer.status, 200, "{content_type}");
            let got = answer.headers["content-type"].to_str().unwrap();
            assert_eq!(got.split(';').next(), Some(content_type.as_str()));
        }
    }
}

#[tokio::test]
async fn answers_in_json_have_the_documented_form_and_no_other_key() {
    for (app, document) in both().await {
        let (path, operation) = document.segmenting();
        let schema = &document.followed(&operation["responses"]["200"])["content"]["application/json"]
            ["schema"];
        let all = "polygons=true,rle=both,background=true";
        let several = format!(
            r#"{{"instances": [{{"image": "{0}", "id": 7}}, {{"image": "AAAA", "id": "b"}}, {{"image": "{0}"}}]}}"#,
            base64(&png(9, 7))
        );
        for (content_type, body, attributes) in [
            ("image/png", png(9, 7), "rle=none,polygons=false"),
            ("image/png", png(9, 7), all),
            (
                "application/json",
                format!(r#"{{"image": "{}", "id": 7}}"#, base64(&png(9, 7))).into_bytes(),
                all,
            ),
            ("application/json", several.into_bytes(), all),
        ] {
            let request = Request::post(filled(&path))
                .header("content-type", content_type)
                .header("accept", "application/json")
                .header("x-amzn-sagemaker-custom-attributes", attributes);
            let answer = ask(&app, request.body(Body::from(body)).unwrap()).await;
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
            check(&document, schema, &serde_json::from_slice(&answer.body).unwrap());
            for name in document.followed(&operation["responses"]["200"])["headers"]
                .as_object()
                .unwrap()
                .keys()
            {
                assert!(answer.headers.contains_key(name.as_str()), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn the_other_answers_and_refusals_have_the_documented_form() {
    for (app, document) in both().await {
        for (path, method, operation) in document.operations() {
            let post_body = |body: &'static str| {
                let request =
                    Request::builder().method(method.to_uppercase().as_str()).uri(filled(&path));
                request.header("content-type", "application/json").body(Body::from(body)).unwrap()
            };
            if (path.as_str(), method.as_str()) == ("/models/{name}", "delete") {
                continue;
            }
            let is_post = method == "post" && path != "/ping";
            let answer = ask(&app, post_body(if is_post { "[" } else { "" })).await;
            let status = answer.status.as_u16().to_string();
            let described = &operation["responses"][&status];
            assert!(
                described.is_object(),
                "{method} {path} answers {status}, which is not documented"
            );
            assert_eq!(status, if is_post { "400" } else { "200" }, "{method} {path}");
            let response = document.followed(described);
            for name in response["headers"].as_object().into_iter().flat_map(|all| all.keys()) {
                assert!(answer.headers.contains_key(name.as_str()), "{method} {path}: {name}");
            }
            let Some(forms) = response["content"].as_object() else {
                assert_eq!(answer.body.len(), 0, "{method} {path}");
                continue;
            };
            let content_type =
                answer.headers["content-type"].to_str().unwrap().split(';').next().unwrap();
            assert!(forms.contains_key(content_type), "{method} {path} answers {content_type}");
            if content_type == "application/json" {
                let json = serde_json::from_slice(&answer.body).unwrap();
                if path != "/openapi.json" {
                    check(&document, &forms[content_type]["schema"], &json);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_document_that_the_client_has_is_not_sent_again() {
    let app = plain().await;
    let first = ask(&app, request("GET", "/openapi.json")).await;
    let again = Request::get("/openapi.json").header("if-none-match", &first.headers["etag"]);
    let second = ask(&app, again.body(Body::empty()).unwrap()).await;
    assert_eq!((second.status.as_u16(), second.body.len()), (304, 0));
    assert_eq!(second.headers["etag"], first.headers["etag"]);
    let other = Request::get("/openapi.json").header("if-none-match", "\"other\"");
    assert_eq!(ask(&app, other.body(Body::empty()).unwrap()).await.body, first.body);
}

#[tokio::test]
async fn the_guide_tells_every_error_option_and_format() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/serving.md");
    let guide = fs::read_to_string(guide).unwrap();
    for error_type in ERROR_TYPES {
        let row = format!("| {} | `{error_type:?}` |", error_type.status().as_u16());
        assert!(guide.contains(&row), "{row}");
    }
    let document = document(&plain().await).await;
    let options = &document.at("#/components/parameters/CustomAttributes")["description"];
    let option = Regex::new(r"([a-z_]+)=").unwrap();
    let mut options: BTreeSet<_> =
        option.captures_iter(options.as_str().unwrap()).map(|found| found[1].to_owned()).collect();
    // The word for what an option is: "key=value".
    assert!(options.remove("key") && options.len() >= 8, "{options:?}");
    for name in options {
        assert!(guide.contains(&format!("| `{name}` |")), "{name}");
    }
    let (_, operation) = document.segmenting();
    let bodies = document.followed(&operation["requestBody"]);
    let answers = document.followed(&operation["responses"]["200"]);
    for of in [bodies, answers] {
        for name in of["content"].as_object().unwrap().keys() {
            assert!(guide.contains(&format!("`{name}`")), "{name}");
        }
    }
}
