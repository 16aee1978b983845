//! The routes that Label Studio knows. Source: `label_studio/ml/api_connector.py` of Label Studio 1.23.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use reqwest::Method as WebMethod;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::Backend;
use super::api_error::{ApiError, ErrorType, body_error};
use super::interactive::answer_prompt;
use super::requests::{PredictRequest, SetupRequest, parse};
use super::rounds::Ticket;
use crate::annotations::label_config::parse_label_config;
use crate::http::{
    AccessInfo, AccessLog, BodyLimits, Level, discard_unread_body, json_response, log_message,
    receive_body, with_access_log,
};
use crate::preannotation::control::{ControlPlan, plan_control};
use crate::preannotation::segmenter::ModelVersion;
use crate::web_client::{WebRequest, short_digest};

/// Header whose value becomes the id of a request in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest time for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// Longest path in a message, in characters.
const MAX_PATH_CHARS: usize = 100;

pub(super) fn build_router(backend: &Arc<Backend>) -> Router {
    let routes = Router::new()
        .route("/health", get(health))
        // Label Studio's own library answers here, too.
        .route("/", get(health))
        .route("/setup", post(setup))
        .route("/predict", post(predict))
        .route("/versions", get(versions))
        .route("/webhook", post(webhook))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(Arc::clone(backend));
    let access_log = AccessLog {
        metrics: backend.metrics.http.clone(),
        route_label,
        request_id_header: REQUEST_ID,
        health_route: "/health",
        prints_lines: backend.settings.log_requests,
    };
    with_access_log(routes, access_log)
}

/// Returns the route of a path for the metrics; there are no more names than routes.
fn route_label(path: &str) -> &'static str {
    for route in ["/health", "/", "/setup", "/predict", "/versions", "/webhook", "/metrics"] {
        if route == path {
            return route;
        }
    }
    "other"
}

/// Answers `GET /health`: any 2xx with JSON is good for Label Studio, anything else shows "disconnected".
async fn health(
    State(backend): State<Arc<Backend>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    backend.check_auth(&headers)?;
    let model = backend.current_model().await?;
    Ok(answer_json(&json!({ "status": "UP", "model_version": model.name })))
}

async fn versions(
    State(backend): State<Arc<Backend>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    backend.check_auth(&headers)?;
    let model = backend.current_model().await?;
    Ok(answer_json(&json!({ "versions": [model.name] })))
}

async fn metrics(
    State(backend): State<Arc<Backend>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    backend.check_auth(&headers)?;
    Ok(backend.metrics.render(backend.rounds.running()))
}

/// Answers `POST /setup`, which comes before each round.
async fn setup(State(backend): State<Arc<Backend>>, request: Request) -> Response {
    let mut access_info = AccessInfo::default();
    let outcome = match backend.read_body(request, &mut access_info).await {
        Ok(body) => backend.answer_setup(&body).await,
        Err(error) => Err(error),
    };
    with_access_info(outcome, access_info)
}

/// Answers `POST /predict`.
async fn predict(State(backend): State<Arc<Backend>>, request: Request) -> Response {
    let mut access_info = AccessInfo::default();
    let outcome = match backend.read_body(request, &mut access_info).await {
        Ok(body) => backend.answer_predict(&body).await,
        Err(error) => Err(error),
    };
    with_access_info(outcome, access_info)
}

/// Answers `POST /webhook` with 200 whatever comes, since Label Studio sends no name and password there. A
/// request to train that has them is handed on.
async fn webhook(State(backend): State<Arc<Backend>>, request: Request) -> Response {
    let is_authorized = backend.check_auth(request.headers()).is_ok();
    let mut access_info = AccessInfo::default();
    let received = backend.receive(request, &mut access_info).await;
    let event: Value = match received {
        Ok(body) => serde_json::from_slice(&body).unwrap_or_default(),
        Err(_) => Value::Null,
    };
    let mut answer = json!({});
    if event["action"] == "START_TRAINING" {
        answer = backend.hand_on_training(&event, is_authorized);
    }
    with_access_info(Ok(answer_json(&answer)), access_info)
}

fn answer_json(value: &impl Serialize) -> Response {
    json_response(StatusCode::OK, value)
}

/// Makes the response of an outcome, with what the log tells of the request.
fn with_access_info(outcome: Result<Response, ApiError>, access_info: AccessInfo) -> Response {
    let mut response = outcome.unwrap_or_else(IntoResponse::into_response);
    response.extensions_mut().insert(access_info);
    response
}

fn name_project(project_id: Option<i64>) -> String {
    project_id.map_or(String::new(), |id| format!("project {id}: "))
}

async fn not_found(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(MAX_PATH_CHARS).collect();
    ApiError::new(
        ErrorType::NotFound,
        format!(
            "there is nothing at {path:?}; this is an ML backend of Label Studio with /health, /setup, /predict, \
             /versions, /webhook and /metrics: give Label Studio this server's address without a path"
        ),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(ErrorType::MethodNotAllowed, format!("{method} is not for {}", uri.path()))
}

impl Backend {
    fn check_auth(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        match &self.settings.auth {
            Some(auth) if !auth.allows(headers) => Err(ApiError::new(
                ErrorType::Unauthorized,
                "name or password are missing or wrong; give Label Studio those of this backend (Basic \
                 authentication on the page of the model)",
            )),
            _ => Ok(()),
        }
    }

    async fn current_model(&self) -> Result<Arc<ModelVersion>, ApiError> {
        let model = self.predictor.segmenter.current_model().await;
        model.map_err(|error| ApiError::new(ErrorType::ModelUnavailable, error.message))
    }

    /// Checks name and password, and reads the body.
    async fn read_body(
        &self,
        request: Request,
        access_info: &mut AccessInfo,
    ) -> Result<Vec<u8>, ApiError> {
        if let Err(error) = self.check_auth(request.headers()) {
            let (head, body) = request.into_parts();
            discard_unread_body(&head.headers, body, 0);
            return Err(error);
        }
        self.receive(request, access_info).await
    }

    async fn receive(
        &self,
        request: Request,
        access_info: &mut AccessInfo,
    ) -> Result<Vec<u8>, ApiError> {
        let (head, mut body) = request.into_parts();
        let limits = BodyLimits { max_bytes: self.settings.max_body_bytes, timeout: BODY_TIMEOUT };
        let permit = self.bodies.permit();
        match receive_body(&mut body, limits, permit, &mut access_info.bytes_in).await {
            Ok(received) => Ok(received.bytes),
            Err(error) => {
                discard_unread_body(&head.headers, body, access_info.bytes_in);
                Err(body_error(&error))
            }
        }
    }

    /// Returns the version of the model, or an error if the project has no control tag for its classes.
    async fn answer_setup(&self, body: &[u8]) -> Result<Response, ApiError> {
        let request: SetupRequest = parse(body)?;
        let model = self.current_model().await?;
        let xml = request.schema.as_deref().unwrap_or_default();
        let (_, notes) = self.plan(xml, &model)?;
        for note in &notes {
            log_message(Level::Info, format_args!("{}{note}", name_project(request.project_id())));
        }
        if let Some(project_id) = request.project_id() {
            self.projects.announce(project_id, &model.name);
        }
        Ok(answer_json(&json!({ "model_version": model.name, "notes": notes })))
    }

    async fn answer_predict(&self, body: &[u8]) -> Result<Response, ApiError> {
        #[derive(Serialize)]
        struct PredictAnswer<'a> {
            results: Vec<Box<RawValue>>,
            model_version: &'a str,
        }
        let started = Instant::now();
        let request: PredictRequest = parse(body)?;
        let model = self.current_model().await?;
        let xml = request.label_config.as_deref().unwrap_or_default();
        let (plan, _) = self.plan(xml, &model)?;
        let plan = Arc::new(plan);
        if let Some(project_id) = request.project_id() {
            self.projects.announce(project_id, &model.name);
        }
        let results = match request.prompt() {
            Some(prompt) => self.answer_prompts(&request, prompt, &plan).await?,
            None => self.answer_round(&request, xml, &plan, &model, started).await?,
        };
        Ok(answer_json(&PredictAnswer { results, model_version: &model.name }))
    }

    /// Chooses the control tag of a labeling configuration. Returns what a user should know of it, too.
    fn plan(
        &self,
        xml: &str,
        model: &ModelVersion,
    ) -> Result<(ControlPlan, Vec<String>), ApiError> {
        let unusable = |reason: String| ApiError::new(ErrorType::UnusableConfig, reason);
        let config = parse_label_config(xml.as_bytes())
            .map_err(|cause| unusable(format!("the labeling configuration {cause}")))?;
        let planned = plan_control(&config, &model.class_names, self.settings.control.as_deref())
            .map_err(|error| unusable(error.to_string()))?;
        Ok((planned.plan, planned.notes))
    }

    /// Returns the predictions of a round in the order of its tasks, or 503 if they take too long. Then, and
    /// if Label Studio leaves before its answer, the API brings them.
    async fn answer_round(
        &self,
        request: &PredictRequest,
        xml: &str,
        plan: &Arc<ControlPlan>,
        model: &ModelVersion,
        started: Instant,
    ) -> Result<Vec<Box<RawValue>>, ApiError> {
        let project = request.project_id().map_or(String::new(), |id| id.to_string());
        let identity = format!("{project} {}", short_digest(xml));
        let mut round = Round { backend: self, tickets: Vec::new(), is_answered: false };
        for task in &request.tasks {
            let ticket = self.rounds.request(&identity, task.id, task.to_json(), &model.name, plan);
            round.tickets.push((task.id, ticket));
        }
        let left = self.settings.max_round.saturating_sub(started.elapsed());
        if self.rounds.estimate_wait().is_some_and(|estimate| estimate > left) {
            return Err(self.too_long_error(request.tasks.len()));
        }
        let answers = async {
            let mut results = Vec::with_capacity(round.tickets.len());
            for (_, ticket) in &mut round.tickets {
                results.push(ticket.answer().await);
            }
            results
        };
        match tokio::time::timeout(left, answers).await {
            Ok(results) => {
                round.is_answered = true;
                self.metrics.count_tasks(results.len(), true);
                Ok(results)
            }
            Err(_) => Err(self.too_long_error(request.tasks.len())),
        }
    }

    fn too_long_error(&self, tasks: usize) -> ApiError {
        self.metrics.count_tasks(tasks, false);
        ApiError::new(
            ErrorType::TakesTooLong,
            format!(
                "the predictions of {tasks} tasks take longer than {} s; they are being computed and will be stored \
                 by Label Studio's API. For a whole project `maskmaker label-studio push` does the same without \
                 rounds",
                self.settings.max_round.as_secs_f64()
            ),
        )
    }

    /// Returns the regions for the prompt of an annotator, for each task of the request.
    async fn answer_prompts(
        &self,
        request: &PredictRequest,
        prompt: &Value,
        plan: &Arc<ControlPlan>,
    ) -> Result<Vec<Box<RawValue>>, ApiError> {
        #[derive(Serialize)]
        struct PromptAnswer<'a> {
            result: Vec<Box<RawValue>>,
            model_version: &'a str,
        }
        let mut results = Vec::new();
        for task in &request.tasks {
            let masked = self.predictor.read_mask(task.to_json().as_bytes(), plan).await;
            let mask = masked.map_err(|error| {
                log_message(Level::Warning, format_args!("task {}: {error}", task.id));
                ApiError::new(ErrorType::ModelUnavailable, error.message)
            })?;
            let result = answer_prompt(prompt, &mask, plan, &self.predictor.regions);
            let answer = PromptAnswer { result, model_version: &mask.model.name };
            let written = to_raw_value(&answer);
            results.push(written.map_err(|cause| {
                ApiError::new(
                    ErrorType::ModelUnavailable,
                    format!("the regions cannot be written: {cause}"),
                )
            })?);
        }
        Ok(results)
    }

    /// Hands a request to train on, and returns the answer to Label Studio.
    fn hand_on_training(self: &Arc<Self>, event: &Value, is_authorized: bool) -> Value {
        let project_id = event["project"]["id"].as_i64();
        let name = name_project(project_id);
        let Some(url) = self.settings.retrain_url.clone() else {
            log_message(
                Level::Info,
                format_args!("{name}a request to train is left: no --retrain-url is given"),
            );
            return json!({ "status": "ignored", "reason": "this backend does not train" });
        };
        if !is_authorized {
            log_message(
                Level::Warning,
                format_args!("{name}a request to train without name and password is left"),
            );
            return json!({ "status": "ignored", "reason": "name and password are missing or wrong" });
        }
        // Not the whole event, which holds the project's token.
        let body =
            json!({ "action": "START_TRAINING", "project": { "id": project_id } }).to_string();
        let backend = Arc::clone(self);
        tokio::spawn(async move {
            let request = WebRequest::with_json(WebMethod::POST, &url, body.into_bytes());
            if let Err(error) = backend.web.send_once(&request).await {
                log_message(
                    Level::Warning,
                    format_args!("the request to train was not taken: {error}"),
                );
            }
        });
        json!({ "status": "handed on" })
    }
}

/// Tasks of a round, which the API brings if the round is given up.
struct Round<'a> {
    backend: &'a Backend,
    tickets: Vec<(i64, Ticket)>,
    is_answered: bool,
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.backend.rounds.hand_over(&self.tickets);
        }
    }
}
