//! A server of many models, for tests that hold in both modes, and bodies of other kinds than image
//! files.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maskmaker::serve::{ServeSettings, Server};

use super::stub::*;

/// The model that [`many`] has loaded.
pub(crate) const MODEL: &str = "scenes";

/// The router of a server that loads models by name, with [`MODEL`] loaded.
pub(crate) async fn many() -> Router {
    let settings = ServeSettings { multi_model: true, ..settings() };
    let loader = Arc::new(Loader(|_: &Path| Ok(boxed(red_modulo_4))));
    let app = ready(&Server::start(&settings, loader, None).unwrap()).await;
    load(&app).await;
    app
}

/// Loads [`MODEL`].
pub(crate) async fn load(app: &Router) {
    let body = format!(r#"{{"model_name": "{MODEL}", "url": "/opt/ml/models/1/model"}}"#);
    let answer = ask(app, post_to("/models", "application/json", body)).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

/// [`picture`] as `numpy.save` writes it.
pub(crate) fn npy(width: u32, height: u32) -> Vec<u8> {
    let shape =
        format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({height}, {width}, 3), }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend_from_slice(format!("{shape:<117}\n").as_bytes());
    bytes.extend_from_slice(picture(width, height).as_raw());
    bytes
}

/// As records in JSON hold bytes.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
