//! Requests to Label Studio's API.

use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::ACCEPT;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

use super::Token;
use crate::error::{Error, Result};
use crate::web_client::{
    AddressRule, AnswerReader, Authorization, DataAnswer, Url, WebClient, WebClientSettings,
    WebError, WebErrorKind, WebRequest, show_url,
};

/// Time for which an access token is used. Label Studio's own end after 5 minutes.
const ACCESS_LIFETIME: Duration = Duration::from_mins(4);

/// Largest answer about projects and tokens, in bytes.
const MAX_DOCUMENT_BYTES: u64 = 16 << 20;

/// Largest answer with a page of tasks or their annotations, in bytes. Brush regions may have megabytes.
pub(super) const MAX_PAGE_BYTES: u64 = 1 << 30;

/// Where Label Studio is, and how it knows the user.
#[derive(Debug, Clone)]
pub struct LabelStudioSettings {
    /// Address of the server, such as `https://label-studio.example.com/`; with a path if it lies below one.
    pub server: Url,
    pub token: Token,
    /// True if images may lie on other servers with private addresses.
    pub allow_private: bool,
}

/// Connection to Label Studio as one user.
#[derive(Debug)]
pub struct LabelStudio {
    web: WebClient,
    server: Url,
    token: Token,
    /// Authorization that is in use, with the time from which on it is renewed.
    access: Mutex<Option<(Authorization, Instant)>>,
}

/// A project.
#[derive(Debug, Clone, Deserialize)]
pub struct Project {
    pub id: i64,
    #[serde(default)]
    pub title: Option<String>,
    /// Labeling configuration, in XML.
    #[serde(default)]
    pub label_config: Option<String>,
    /// Version of predictions that the project shows, and by whose scores it chooses the next task.
    #[serde(default)]
    pub model_version: Option<String>,
}

impl Project {
    /// Names the project for people.
    pub fn describe(&self) -> String {
        match &self.title {
            Some(title) => format!("project {} ({title:?})", self.id),
            None => format!("project {}", self.id),
        }
    }
}

impl LabelStudio {
    /// Makes a connection. Nothing is sent yet.
    pub fn new(settings: LabelStudioSettings) -> Result<Self> {
        let LabelStudioSettings { mut server, token, allow_private } = settings;
        if !matches!(server.scheme(), "http" | "https") || server.host_str().is_none() {
            return Err(Error::input(format!(
                "{server} is no address of Label Studio; its form is https://label-studio.example.com"
            )));
        }
        if !server.username().is_empty() || server.password().is_some() {
            return Err(Error::input(format!(
                "{} is given with a name or password; leave them out: the token says who asks",
                show_url(&server)
            )));
        }
        server.set_query(None);
        server.set_fragment(None);
        if !server.path().ends_with('/') {
            let path = format!("{}/", server.path());
            server.set_path(&path);
        }
        let addresses = AddressRule { allow_private, private_servers: vec![server.clone()] };
        let web = WebClient::new(WebClientSettings { addresses, ..Default::default() })?;
        Ok(Self { web, server, token, access: Mutex::new(None) })
    }

    /// Returns the address of the server, with a slash at its end.
    pub fn server(&self) -> &Url {
        &self.server
    }

    /// Returns a project.
    pub async fn read_project(&self, project_id: i64) -> Result<Project> {
        let url = self.join(&format!("api/projects/{project_id}/"));
        let request = WebRequest::get(&url).header(ACCEPT, "application/json");
        let read = self.read_authorized(&request, MAX_DOCUMENT_BYTES).await;
        let body = read.map_err(|error| match error.kind {
            WebErrorKind::Status(404) => error.with_advice(format_args!(
                "check the number of the project (--project), which its address on Label Studio's pages has, that \
                 the token's user is in its organization, and that {} is the address of Label Studio",
                self.server
            )),
            _ => error,
        })?;
        self.parse(&url, &body)
    }

    /// Returns the export of some tasks of a project, which is a JSON list of tasks with their annotations.
    pub async fn export_tasks(&self, project_id: i64, task_ids: &[i64]) -> Result<Vec<u8>> {
        let mut query =
            vec![("exportType", "JSON".to_owned()), ("download_all_tasks", "true".to_owned())];
        for id in task_ids {
            query.push(("ids[]", id.to_string()));
        }
        let url = self.address(&format!("api/projects/{project_id}/export"), &query)?;
        let exported = self.read_authorized(&WebRequest::get(&url), MAX_PAGE_BYTES).await;
        Ok(exported.map_err(|error| match error.kind {
            WebErrorKind::Status(404) => error.with_advice(
                "Label Studio Enterprise has no such export: export a snapshot on the project's page, and give \
                 its file to preprocess",
            ),
            _ => error,
        })?)
    }

    /// Reads a file from an address of Label Studio itself, which may redirect to a storage.
    pub async fn read_file<R: AnswerReader>(
        &self,
        url: &Url,
        reader: &mut R,
    ) -> Result<R::Output, WebError> {
        self.send_authorized(&WebRequest::get(url), reader).await
    }

    pub(super) fn address(&self, path: &str, query: &[(&str, String)]) -> Result<Url> {
        let joined = self.server.join(path);
        let mut url =
            joined.map_err(|cause| Error::internal(format!("{path} is no address: {cause}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Sends JSON and returns the answer. A request that does the same once and several times is sent again
    /// after passing faults.
    pub(super) async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: &impl Serialize,
        is_repeatable: bool,
    ) -> Result<T, WebError> {
        let url = self.join(path);
        let fault = |reason: String| WebError::new(WebErrorKind::Answer, &method, &url, reason);
        let body = serde_json::to_vec(content)
            .map_err(|cause| fault(format!("the request cannot be written: {cause}")))?;
        let mut request = WebRequest::with_json(method.clone(), &url, body);
        if is_repeatable {
            request = request.repeatable();
        }
        let request = request.header(ACCEPT, "application/json");
        let answer = self.read_authorized(&request, MAX_DOCUMENT_BYTES).await?;
        serde_json::from_slice(&answer)
            .map_err(|cause| fault(format!("the answer is not that of Label Studio ({cause})")))
    }

    /// Returns the address of a path below the server's. Paths are this program's own, so that they join.
    pub(super) fn join(&self, path: &str) -> Url {
        self.server.join(path).unwrap_or_else(|_| self.server.clone())
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, url: &Url, body: &[u8]) -> Result<T> {
        let deserializer = &mut serde_json::Deserializer::from_slice(body);
        serde_path_to_error::deserialize(deserializer).map_err(|cause| {
            Error::input(format!(
                "{}{} does not answer as Label Studio does ({cause}); check that {} is its address",
                url.origin().ascii_serialization(),
                url.path(),
                self.server
            ))
        })
    }

    /// Sends a request with the user's authorization and reads the answer, of at most `max_bytes`.
    pub(super) async fn read_authorized(
        &self,
        request: &WebRequest<'_>,
        max_bytes: u64,
    ) -> Result<Vec<u8>, WebError> {
        self.send_authorized(request, &mut DataAnswer { max_bytes }).await
    }

    /// Sends a request with the user's authorization. One that has ended meanwhile is renewed once.
    async fn send_authorized<R: AnswerReader>(
        &self,
        request: &WebRequest<'_>,
        reader: &mut R,
    ) -> Result<R::Output, WebError> {
        let authorization = self.authorize(None).await?;
        let sent = self.web.attempt(&request.clone().authorized(&authorization), reader).await;
        let sent = match (sent, &self.token) {
            (Err(error), Token::Personal(_))
                if error.kind == WebErrorKind::Status(401) && !error.was_redirected =>
            {
                let renewed = self.authorize(Some(&authorization)).await?;
                self.web.attempt(&request.clone().authorized(&renewed), reader).await
            }
            (sent, _) => sent,
        };
        sent.map_err(|error| self.advise(error))
    }

    /// Returns the authorization to use. `refused` is one that the server did not take.
    async fn authorize(&self, refused: Option<&Authorization>) -> Result<Authorization, WebError> {
        let refresh_token = match &self.token {
            Token::Legacy(token) => return self.make_authorization(&format!("Token {token}")),
            Token::Personal(token) => token,
        };
        // The lock is kept while the token is renewed, so that many requests renew it once.
        let mut access = self.access.lock().await;
        if let Some((authorization, renewal)) = &*access {
            let was_refused = refused.is_some_and(|refused| refused.is_same(authorization));
            if !was_refused && Instant::now() < *renewal {
                return Ok(authorization.clone());
            }
        }
        let refreshed = self.refresh_access(refresh_token).await;
        let authorization =
            refreshed.map_err(|error| self.advise(error).with_kind(WebErrorKind::Authorization))?;
        *access = Some((authorization.clone(), Instant::now() + ACCESS_LIFETIME));
        Ok(authorization)
    }

    /// Exchanges a personal access token for an access token.
    async fn refresh_access(&self, refresh_token: &str) -> Result<Authorization, WebError> {
        #[derive(Deserialize)]
        struct Refreshed {
            access: String,
        }
        let url = self.address("api/token/refresh/", &[]).unwrap_or_else(|_| self.server.clone());
        let body = json!({ "refresh": refresh_token }).to_string().into_bytes();
        let request = WebRequest::with_json(Method::POST, &url, body).repeatable();
        let mut reader = DataAnswer { max_bytes: MAX_DOCUMENT_BYTES };
        let refreshed = self.web.attempt(&request, &mut reader).await.and_then(|body| {
            let fault = "the server does not answer with an access token, as Label Studio does";
            serde_json::from_slice::<Refreshed>(&body)
                .map_err(|_| WebError::new(WebErrorKind::Answer, &Method::POST, &url, fault))
        });
        let refreshed = refreshed.map_err(|error| match error.kind {
            WebErrorKind::Status(401 | 403) => error.with_advice(
                "the personal access token has ended or was revoked: make another on Label Studio's page \
                 \"Account & Settings\"",
            ),
            WebErrorKind::Status(404) => error.with_advice(
                "this Label Studio has no personal access tokens: give the user's legacy token",
            ),
            _ => error,
        })?;
        self.make_authorization(&format!("Bearer {}", refreshed.access))
    }

    fn make_authorization(&self, value: &str) -> Result<Authorization, WebError> {
        Authorization::new(&self.server, value).ok_or_else(|| {
            WebError::new(
                WebErrorKind::Answer,
                &Method::POST,
                &self.server,
                "the access token is no text of a header",
            )
        })
    }

    /// Adds what the user can do about an error.
    fn advise(&self, error: WebError) -> WebError {
        if error.was_redirected {
            return error;
        }
        match (error.kind, &self.token) {
            (WebErrorKind::Status(401), Token::Legacy(_)) => error.with_advice(
                "the legacy token is not the user's, or legacy tokens are off \
                 (LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN, or the organization's settings): give a personal access token",
            ),
            (WebErrorKind::Status(403), _) => {
                error.with_advice("the token's user may not do that in this project or organization")
            }
            (WebErrorKind::Unreachable, _) => {
                error.with_advice(format_args!("check that Label Studio runs at {}", self.server))
            }
            _ => error,
        }
    }
}
