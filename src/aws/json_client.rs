//! Client of AWS' services that speak JSON over HTTP (the protocol `awsJson1_1` of Smithy).
//!
//! A full SDK of a service is large to build for a few calls, so requests are types of this program
//! (`sagemaker_api`, `logs_api`), and the SDK's own runtime signs them, sends them and tries them again
//! as it does for every service.

use std::fmt;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{
    HttpStatusCodeClassifier, TransientErrorClassifier,
};
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{
    AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
};
use aws_smithy_runtime_api::client::identity::SharedIdentityResolver;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{CREDENTIALS_ADVICE, root_cause};
use super::service_error::{Refusal, ServiceError, ServiceErrorKind, describe_refusal};
use super::session::{
    CONNECT_TIMEOUT, MAX_BACKOFF, Session, StopCheck, first_env_variable, https_client,
    read_max_attempts,
};
use crate::error::shorten_text;

/// Longest time without an answer, after which an attempt has failed.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// Pause before the second attempt; each further pause is about twice the one before.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);

/// Largest part of a message of a service that is told, in characters.
const MAX_MESSAGE_CHARS: usize = 2000;

/// Service that speaks JSON.
#[derive(Debug)]
pub struct JsonService {
    /// Name for people.
    pub name: &'static str,
    /// Name in signatures and IAM actions.
    pub signing_name: &'static str,
    /// Part before the dot of the header `X-Amz-Target`.
    pub target_prefix: &'static str,
    /// First part of the endpoint's host name, and the one of endpoints that follow FIPS 140.
    pub host_prefix: &'static str,
    pub fips_host_prefix: &'static str,
    /// Environment variable that names another endpoint.
    pub endpoint_variable: &'static str,
}

/// Request of an operation.
pub trait JsonRequest: Serialize {
    /// Name of the operation, such as `CreatePipeline`.
    const OPERATION: &'static str;
    type Response: DeserializeOwned;
}

/// Client of one service in one region. Calls block.
#[derive(Debug)]
pub struct JsonClient {
    service: &'static JsonService,
    session: Session,
    endpoint: String,
    region: Region,
    retries: RetryConfig,
}

impl JsonClient {
    /// Finds region and credentials. `AWS_ENDPOINT_URL` and the service's own variable name another
    /// endpoint.
    pub fn connect(
        service: &'static JsonService,
        fallback_region: Option<&str>,
        should_stop: StopCheck,
    ) -> Result<Self, ServiceError> {
        let endpoint = first_env_variable([service.endpoint_variable, "AWS_ENDPOINT_URL"]);
        let session = Session::connect(fallback_region, endpoint.is_some(), should_stop)?;
        let retries = RetryConfig::standard()
            .with_max_attempts(read_max_attempts()?)
            .with_initial_backoff(INITIAL_BACKOFF)
            .with_max_backoff(MAX_BACKOFF);
        let config = &session.config;
        let region = config.region().cloned().unwrap_or(Region::from_static("us-east-1"));
        let endpoint = endpoint
            .or_else(|| config.endpoint_url().map(str::to_owned))
            .unwrap_or_else(|| name_endpoint(service, region.as_ref(), config));
        Ok(Self { service, session, endpoint, region, retries })
    }

    /// Returns the region, such as `eu-west-1`.
    pub fn region(&self) -> &str {
        self.region.as_ref()
    }

    /// Sends a request, and again after throttling and passing faults.
    pub fn send<R: JsonRequest>(&self, request: &R) -> Result<R::Response, ServiceError> {
        let operation = R::OPERATION;
        let unusable = |what: &str, cause: &dyn fmt::Display| {
            let message = format!("{operation}: {what}: {cause}");
            ServiceError::new(ServiceErrorKind::Other, message, "")
        };
        let body = serde_json::to_vec(request)
            .map_err(|cause| unusable("the request cannot be written", &cause))?;
        let call = self.prepare_call(operation);
        let answer =
            self.session.runtime.run(call.invoke(body)).ok_or_else(ServiceError::stopped)?;
        let answer = answer.map_err(|error| self.describe_failure(operation, &error))?;
        // Some operations answer with nothing.
        let answer: &[u8] = if answer.is_empty() { b"{}" } else { &answer };
        serde_json::from_slice(answer)
            .map_err(|cause| unusable("the service's answer cannot be read", &cause))
    }

    /// Puts together the parts of the SDK that make a call.
    fn prepare_call(&self, operation: &'static str) -> Operation<Vec<u8>, Vec<u8>, OperationError> {
        let service = self.service;
        let target = format!("{}.{operation}", service.target_prefix);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build();
        let mut builder = Operation::builder()
            .service_name(service.name)
            .operation_name(operation)
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.endpoint)
            .standard_retry(&self.retries)
            .retry_classifier(HttpStatusCodeClassifier::default())
            .retry_classifier(TransientErrorClassifier::<OperationError>::new())
            .retry_classifier(AwsErrorCodeClassifier::<OperationError>::new())
            .timeout_config(timeouts)
            .runtime_plugin(self.signing_plugin());
        let config = &self.session.config;
        builder = match config.http_client() {
            Some(client) => builder.http_client(client),
            None => builder.http_client(https_client()),
        };
        if let Some(sleep) = config.sleep_impl() {
            builder = builder.sleep_impl(sleep);
        }
        if let Some(time_source) = config.time_source() {
            builder = builder.time_source(time_source);
        }
        builder
            .with_connection_poisoning()
            .serializer(move |body: Vec<u8>| {
                let mut request = HttpRequest::new(SdkBody::from(body));
                request.set_method("POST")?;
                request.set_uri("/")?;
                let headers = request.headers_mut();
                headers.insert("content-type", "application/x-amz-json-1.1");
                headers.insert("x-amz-target", target.clone());
                headers.insert("user-agent", concat!("maskmaker/", env!("CARGO_PKG_VERSION")));
                Ok(request)
            })
            .deserializer(read_response)
            .build()
    }

    /// Returns the part that signs requests with the session's credentials (Signature Version 4).
    fn signing_plugin(&self) -> StaticRuntimePlugin {
        let config = &self.session.config;
        let mut layer = Layer::new("signing");
        layer.store_put(AuthSchemeOptionResolverParams::new(()));
        layer.store_put(SigV4OperationSigningConfig::default());
        layer.store_put(SigningName::from_static(self.service.signing_name));
        layer.store_put(SigningRegion::from(self.region.clone()));
        let options = StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]);
        let mut components = RuntimeComponentsBuilder::new("signing")
            .with_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()))
            .with_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(options)));
        components.set_identity_cache(config.identity_cache());
        if let Some(provider) = config.credentials_provider() {
            components.set_identity_resolver(SCHEME_ID, SharedIdentityResolver::new(provider));
        }
        StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components)
    }

    fn describe_failure(
        &self,
        operation: &str,
        error: &SdkError<OperationError, HttpResponse>,
    ) -> ServiceError {
        let (service, endpoint) = (self.service, &self.endpoint);
        let cause = root_cause(error);
        match error {
            SdkError::ServiceError(failure) => {
                let metadata = &failure.err().0;
                describe_refusal(&Refusal {
                    operation,
                    action: &format!("{}:{operation}", service.signing_name),
                    endpoint,
                    status: failure.raw().status().as_u16(),
                    code: metadata.code().unwrap_or_default(),
                    message: &shorten_text(
                        metadata.message().unwrap_or_default(),
                        MAX_MESSAGE_CHARS,
                    ),
                })
            }
            SdkError::DispatchFailure(_)
                if DisplayErrorContext(error).to_string().to_lowercase().contains("credential") =>
            {
                ServiceError::new(
                    ServiceErrorKind::Other,
                    format!("{operation}: the AWS credentials cannot be had: {cause}"),
                    CREDENTIALS_ADVICE,
                )
            }
            _ => ServiceError::new(
                ServiceErrorKind::Other,
                format!("{operation}: {} cannot be reached at {endpoint}: {cause}", service.name),
                format!(
                    "look at AWS_REGION and the network; in a VPC without internet {} needs an \
                     interface endpoint",
                    service.name
                ),
            ),
        }
    }
}

/// Error that a service answered.
#[derive(Debug)]
struct OperationError(ErrorMetadata);

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for OperationError {}

impl ProvideErrorMetadata for OperationError {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

/// Reads the body of an answer, or the error that it holds.
fn read_response(response: &HttpResponse) -> Result<Vec<u8>, OrchestratorError<OperationError>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return Ok(body.to_vec());
    }
    let header = response.headers().get("x-amzn-errortype");
    Err(OrchestratorError::operation(OperationError(read_error(body, header))))
}

/// Reads code and message of an error. The code may follow a namespace and a hash, and may be followed
/// by a colon and a URI.
fn read_error(body: &[u8], header: Option<&str>) -> ErrorMetadata {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |keys: &[&str]| keys.iter().find_map(|key| body.get(key).and_then(Value::as_str));
    let code = header.or_else(|| text(&["__type", "code"])).unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    let message = text(&["message", "Message", "errorMessage"]).unwrap_or_default();
    ErrorMetadata::builder().code(code).message(message).build()
}

/// Returns the URL of a service in a region. Host names of AWS' partitions end differently.
fn name_endpoint(service: &JsonService, region: &str, config: &SdkConfig) -> String {
    let suffix = match region {
        _ if region.starts_with("cn-") => "amazonaws.com.cn",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("us-isof-") => "csp.hci.ic.gov",
        _ if region.starts_with("eu-isoe-") => "cloud.adc-e.uk",
        _ if region.starts_with("eusc-") => "amazonaws.eu",
        _ => "amazonaws.com",
    };
    let prefix = if config.use_fips() == Some(true) {
        service.fips_host_prefix
    } else {
        service.host_prefix
    };
    format!("https://{prefix}.{region}.{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errors_code_is_found_in_every_form() {
        for (body, header, code, message) in [
            (r#"{"__type":"ValidationException","message":"m"}"#, None, "ValidationException", "m"),
            (r#"{"__type":"com.amazon#Bad:http://x","Message":"m"}"#, None, "Bad", "m"),
            (r#"{"message":"m"}"#, Some("Denied:http://x/"), "Denied", "m"),
            ("<html>", None, "", ""),
            ("[1]", None, "", ""),
        ] {
            let error = read_error(body.as_bytes(), header);
            assert_eq!(error.code().unwrap_or_default(), code, "{body}");
            assert_eq!(error.message().unwrap_or_default(), message, "{body}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_answers_never_panic(body: Vec<u8>, header: Option<String>) {
            read_error(&body, header.as_deref());
        }
    }

    #[test]
    fn endpoints_are_those_of_the_regions_partition() {
        let config = SdkConfig::builder().build();
        let name = |region| name_endpoint(&super::super::SAGEMAKER, region, &config);
        assert_eq!(name("us-east-2"), "https://api.sagemaker.us-east-2.amazonaws.com");
        assert_eq!(name("cn-north-1"), "https://api.sagemaker.cn-north-1.amazonaws.com.cn");
    }
}
