//! The client: attempts, redirects and answers.

use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Method, Response, Url};

use super::address::{AddressRule, CheckedResolver, proxy_hosts};
use super::authorization::Authorization;
use super::error::{WebError, WebErrorKind, show_url};
use crate::error::{Error, Result};

/// Largest number of redirects that a request follows.
const MAX_REDIRECTS: usize = 10;

/// Largest part of an answer that is read to describe a failure, in bytes.
const MAX_FAILURE_BYTES: u64 = 1 << 16;

/// Longest time to read it.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time after which an answer must have come at this mean rate or faster.
const SLOW_AFTER: Duration = Duration::from_mins(2);
const MIN_BYTES_PER_SECOND: u64 = 1000;

/// Pause before the second attempt; each further pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause between two attempts, also if the server asks for a longer one.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Limits of a client.
#[derive(Debug, Clone)]
pub struct WebClientSettings {
    pub addresses: AddressRule,
    /// Longest time to open a connection.
    pub connect_timeout: Duration,
    /// Longest time without a byte of an answer.
    pub idle_timeout: Duration,
    /// Attempts per request, at least 1.
    pub max_attempts: u32,
}

impl Default for WebClientSettings {
    fn default() -> Self {
        Self {
            addresses: AddressRule::default(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            max_attempts: 5,
        }
    }
}

/// Client with its connections. Clones share them.
#[derive(Debug, Clone)]
pub struct WebClient {
    /// Connections to public addresses alone, and those to servers that may have private ones.
    public: reqwest::Client,
    private: reqwest::Client,
    addresses: Arc<AddressRule>,
    max_attempts: u32,
}

/// Request to a server.
#[derive(Debug, Clone)]
pub struct WebRequest<'a> {
    method: Method,
    url: &'a Url,
    authorization: Option<&'a Authorization>,
    headers: HeaderMap,
    body: Vec<u8>,
    /// True if a second request does no harm after a first one of which nothing is known.
    is_repeatable: bool,
}

/// Answer whose body has not been read yet.
#[derive(Debug)]
pub struct WebAnswer {
    method: Method,
    url: Url,
    response: Response,
    /// True if another server was asked first, which redirected here.
    was_redirected: bool,
    /// Time at which the answer began, and bytes of its body since.
    began: Instant,
    received: u64,
}

/// Reader of an answer's body. It is called once per attempt, so that it may see the beginning of several
/// answers.
pub trait AnswerReader {
    type Output;

    /// Reads an answer from its first byte.
    fn read(
        &mut self,
        answer: WebAnswer,
    ) -> impl Future<Output = Result<Self::Output, WebError>> + Send;
}

/// Reads a whole body into memory.
#[derive(Debug, Clone, Copy)]
struct WholeAnswer {
    /// Largest body, in bytes.
    max_bytes: u64,
}

impl AnswerReader for WholeAnswer {
    type Output = Vec<u8>;

    async fn read(&mut self, answer: WebAnswer) -> Result<Vec<u8>, WebError> {
        answer.read(self.max_bytes).await
    }
}

/// Reads a whole body into memory, and refuses a page for people in its place.
#[derive(Debug, Clone, Copy)]
pub struct DataAnswer {
    /// Largest body, in bytes.
    pub max_bytes: u64,
}

impl AnswerReader for DataAnswer {
    type Output = Vec<u8>;

    async fn read(&mut self, answer: WebAnswer) -> Result<Vec<u8>, WebError> {
        answer.refuse_page()?;
        answer.read(self.max_bytes).await
    }
}

impl<'a> WebRequest<'a> {
    /// Makes a request that reads.
    pub fn get(url: &'a Url) -> Self {
        Self {
            method: Method::GET,
            url,
            authorization: None,
            headers: HeaderMap::new(),
            body: Vec::new(),
            is_repeatable: true,
        }
    }

    /// Makes a request that sends JSON. It is sent once, unless [`Self::repeatable`] says otherwise.
    pub fn with_json(method: Method, url: &'a Url, body: Vec<u8>) -> Self {
        let headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Self { method, url, authorization: None, headers, body, is_repeatable: false }
    }

    #[must_use]
    pub fn authorized(mut self, authorization: &'a Authorization) -> Self {
        self.authorization = Some(authorization);
        self
    }

    /// Adds a header. Values that no header can have are left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Says that the request does the same once and several times.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.is_repeatable = true;
        self
    }
}

impl WebClient {
    /// Makes a client. Nothing is sent yet.
    pub fn new(settings: WebClientSettings) -> Result<Self> {
        install_tls_provider();
        let proxies = proxy_hosts();
        let build = |allows_private| {
            reqwest::Client::builder()
                .user_agent(concat!("maskmaker/", env!("CARGO_PKG_VERSION")))
                // Followed here, because the address must be checked and the authorization left out.
                .redirect(Policy::none())
                .dns_resolver(Arc::new(CheckedResolver {
                    allows_private,
                    proxies: proxies.clone(),
                }))
                .connect_timeout(settings.connect_timeout)
                .read_timeout(settings.idle_timeout)
                .build()
                .map_err(|cause| Error::internal(format!("cannot prepare HTTPS: {cause}")))
        };
        let (public, private) = (build(false)?, build(true)?);
        Ok(Self {
            public,
            private,
            addresses: Arc::new(settings.addresses),
            max_attempts: settings.max_attempts.max(1),
        })
    }

    /// Sends a request and reads the answer, of at most `max_bytes`; again after passing faults.
    pub async fn read(
        &self,
        request: &WebRequest<'_>,
        max_bytes: u64,
    ) -> Result<Vec<u8>, WebError> {
        self.attempt(request, &mut WholeAnswer { max_bytes }).await
    }

    /// Sends a request until `reader` has read an answer, or a fault does not pass.
    pub async fn attempt<R: AnswerReader>(
        &self,
        request: &WebRequest<'_>,
        reader: &mut R,
    ) -> Result<R::Output, WebError> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let outcome = match self.send_once(request).await {
                Ok(answer) => reader.read(answer).await,
                Err(error) => Err(error),
            };
            match outcome {
                Err(error)
                    if error.is_passing()
                        && request.is_repeatable
                        && attempt < self.max_attempts =>
                {
                    let wait = error.retry_after.unwrap_or(pause).min(MAX_PAUSE);
                    tokio::time::sleep(wait).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Err(error) if attempt > 1 => {
                    return Err(error.with_advice(format_args!("{attempt} attempts failed")));
                }
                outcome => return outcome,
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Sends a request once, follows redirects of those that read, and refuses every status but 2xx.
    pub async fn send_once(&self, request: &WebRequest<'_>) -> Result<WebAnswer, WebError> {
        let mut redirects = 0;
        let sent = self.follow(request, &mut redirects).await;
        sent.map_err(|error| error.redirected(redirects > 0))
    }

    /// Does the work of [`Self::send_once`], and counts redirects.
    async fn follow(
        &self,
        request: &WebRequest<'_>,
        redirects: &mut usize,
    ) -> Result<WebAnswer, WebError> {
        let WebRequest { method, authorization, .. } = request;
        let mut url = without_user(request.url.clone());
        while *redirects <= MAX_REDIRECTS {
            self.addresses
                .check_host(&url)
                .map_err(|forbidden| WebError::forbidden(method, &url, &forbidden))?;
            let client =
                if self.addresses.allows_private(&url) { &self.private } else { &self.public };
            let mut builder =
                client.request(method.clone(), url.clone()).headers(request.headers.clone());
            if *redirects == 0
                && let Some(value) = authorization.and_then(|known| known.value_for(&url))
            {
                builder = builder.header(AUTHORIZATION, value.clone());
            }
            if !request.body.is_empty() {
                builder = builder.body(request.body.clone());
            }
            let sent = builder.send().await;
            let response = sent.map_err(|error| WebError::from_transport(method, &url, &error))?;
            let answer = WebAnswer {
                method: method.clone(),
                url: url.clone(),
                response,
                was_redirected: *redirects > 0,
                began: Instant::now(),
                received: 0,
            };
            if !answer.response.status().is_redirection() {
                return answer.require_success(*redirects > 0 && authorization.is_some()).await;
            }
            url = without_user(answer.find_redirect()?);
            if *method != Method::GET {
                let reason = format_args!(
                    "the server sends the request on to {}; give that address",
                    show_url(&url)
                );
                return Err(answer.fault(reason));
            }
            *redirects += 1;
        }
        let reason = format!("the server redirects more than {MAX_REDIRECTS} times");
        Err(WebError::new(WebErrorKind::Answer, method, request.url, reason))
    }
}

impl WebAnswer {
    /// Returns a header that is text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Returns the length that the server states, in bytes.
    pub fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Returns the next bytes of the body, and none at its end. A server that sends next to nothing for
    /// minutes is too slow.
    pub async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, WebError> {
        let chunk = self.response.chunk().await;
        let chunk = chunk.map_err(|error| {
            let error = WebError::from_transport(&self.method, &self.url, &error);
            error.redirected(self.was_redirected)
        })?;
        self.received += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let elapsed = self.began.elapsed();
        if chunk.is_some()
            && elapsed > SLOW_AFTER
            && self.received / elapsed.as_secs() < MIN_BYTES_PER_SECOND
        {
            let error = self.fault(format_args!(
                "the server sends fewer than {MIN_BYTES_PER_SECOND} bytes per second"
            ));
            return Err(error.with_kind(WebErrorKind::Timeout));
        }
        Ok(chunk)
    }

    /// Reads the whole body, of at most `max_bytes`.
    pub async fn read(mut self, max_bytes: u64) -> Result<Vec<u8>, WebError> {
        self.check_length(self.content_length().unwrap_or(0), max_bytes)?;
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(chunk.as_ref());
            self.check_length(body.len() as u64, max_bytes)?;
        }
        Ok(body)
    }

    /// Refuses a body of more than `max_bytes`.
    pub fn check_length(&self, bytes: u64, max_bytes: u64) -> Result<(), WebError> {
        if bytes <= max_bytes {
            return Ok(());
        }
        Err(self
            .fault(format_args!("the answer has more than the {max_bytes} bytes that are allowed")))
    }

    /// Makes the error of an answer that cannot be used.
    pub fn fault(&self, reason: impl std::fmt::Display) -> WebError {
        let error = WebError::new(WebErrorKind::Answer, &self.method, &self.url, reason);
        error.redirected(self.was_redirected)
    }

    /// Refuses a page for people, which servers show instead of what was asked for: a login, or an error.
    pub fn refuse_page(&self) -> Result<(), WebError> {
        if self.header(CONTENT_TYPE).unwrap_or("").starts_with("text/html") {
            return Err(self.fault(
                "the server answers with a page for people (HTML); check the address, and that no login page \
                 stands before it",
            ));
        }
        Ok(())
    }

    /// Returns the address that a redirect leads to.
    fn find_redirect(&self) -> Result<Url, WebError> {
        let status = self.status();
        let Some(location) = self.header(LOCATION) else {
            return Err(
                self.fault(format_args!("the server answers {status} without saying where to go"))
            );
        };
        let target = self.url.join(location).ok();
        target
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| self.fault("the server redirects to what is no web address"))
    }

    /// Returns the answer if it is a success. `lost_authorization` says that the request was redirected
    /// and so came without its authorization.
    async fn require_success(self, lost_authorization: bool) -> Result<Self, WebError> {
        if self.response.status().is_success() {
            return Ok(self);
        }
        let (method, url, status) = (self.method.clone(), self.url.clone(), self.status());
        let content_type = self.header(CONTENT_TYPE).unwrap_or("").to_owned();
        let retry_after = self.header(RETRY_AFTER).and_then(parse_retry_after);
        // What the server says is more than nothing, also if it breaks off.
        let body = tokio::time::timeout(FAILURE_TIMEOUT, self.read(MAX_FAILURE_BYTES)).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        let mut error = WebError::from_answer(&method, &url, status, &content_type, &body);
        error.retry_after = retry_after;
        if lost_authorization && matches!(status, 401 | 403) {
            error = error.with_advice(
                "the request was redirected there, and no token goes along a redirect: give the address that \
                 it leads to",
            );
        }
        Err(error)
    }
}

/// Parses the header `Retry-After` as seconds. Its other form, a date, is as good as none.
fn parse_retry_after(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

/// Returns an address without name and password, which would be sent beside an authorization.
fn without_user(mut url: Url) -> Url {
    // Both fail only for addresses that have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// Chooses the program's one implementation of TLS for all clients that ask for none.
fn install_tls_provider() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // An error says that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
