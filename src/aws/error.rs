//! Errors of S3 with their advice for users.

use std::fmt;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;

use super::S3Uri;
use crate::error::Error;

/// Range of objects that a failure concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorScope {
    /// The failure concerns one object; others may be readable.
    Object,
    /// The failure concerns every object, so reading others is useless.
    AllObjects,
    /// Nothing failed: the job was asked to stop.
    Stopped,
}

/// Failure to read an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Error {
    /// Objects that the failure concerns.
    pub scope: ErrorScope,
    /// Description of the failure, which names the object.
    pub message: String,
    /// Advice for the user, equal for all objects that failed in the same way; may be empty.
    pub advice: String,
}

impl S3Error {
    /// Makes an error that concerns one object.
    pub fn for_object(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { scope: ErrorScope::Object, message: message.into(), advice: advice.into() }
    }

    /// Makes an error that concerns every object.
    pub fn for_all_objects(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { scope: ErrorScope::AllObjects, message: message.into(), advice: advice.into() }
    }

    /// Makes the error of a job that was asked to stop.
    pub fn stopped() -> Self {
        Self {
            scope: ErrorScope::Stopped,
            message: "the job was asked to stop".to_owned(),
            advice: String::new(),
        }
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}

impl From<S3Error> for Error {
    fn from(failure: S3Error) -> Self {
        Self::input(failure.to_string())
    }
}

/// Advice if S3 cannot be reached.
pub(super) const UNREACHABLE_ADVICE: &str = "with network isolation a job reaches nothing, and \
    in a VPC S3 needs a gateway endpoint in the subnets' route tables: add it, or let SageMaker \
    bring the data (a manifest's by Pipe mode, weights by a channel)";

/// Advice if credentials are missing or refused.
pub(super) const CREDENTIALS_ADVICE: &str = "a job has those of its role unless \
    EnableNetworkIsolation is set; elsewhere set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
    AWS_PROFILE";

/// Converts an error of the SDK to a message and advice. `action` is the IAM permission that the
/// request needed.
pub(super) fn convert_sdk_error<E>(
    error: &SdkError<E, HttpResponse>,
    uri: &S3Uri,
    action: &str,
    endpoint: &str,
) -> S3Error
where
    E: ProvideErrorMetadata + RequestId + std::error::Error + 'static,
{
    let cause = root_cause(error);
    match error {
        SdkError::TimeoutError(_) => timeout_error(uri, endpoint),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => timeout_error(uri, endpoint),
        SdkError::DispatchFailure(_) => {
            let error_context = DisplayErrorContext(error).to_string().to_lowercase();
            if error_context.contains("credential") {
                return S3Error::for_all_objects(
                    format!("{uri}: the AWS credentials cannot be had: {cause}"),
                    CREDENTIALS_ADVICE,
                );
            }
            S3Error::for_all_objects(
                format!("{uri}: {endpoint} cannot be reached: {cause}"),
                UNREACHABLE_ADVICE,
            )
        }
        SdkError::ServiceError(service_error) => {
            let (operation_error, response) = (service_error.err(), service_error.raw());
            let metadata = operation_error.meta();
            let info = ServiceErrorInfo {
                status: response.status().as_u16(),
                code: metadata.code().unwrap_or(""),
                message: metadata.message().unwrap_or(""),
                region: response.headers().get("x-amz-bucket-region"),
                request_id: operation_error.request_id().unwrap_or("none"),
            };
            convert_service_error(uri, action, &info)
        }
        _ => S3Error::for_object(format!("{uri}: {endpoint} gave no usable answer: {cause}"), ""),
    }
}

fn timeout_error(uri: &S3Uri, endpoint: &str) -> S3Error {
    S3Error::for_all_objects(
        format!("{uri}: {endpoint} did not answer in time"),
        format!("{UNREACHABLE_ADVICE}; MASKMAKER_S3_TIMEOUT sets for how many seconds is waited"),
    )
}

/// Parts of S3's error response.
struct ServiceErrorInfo<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
    /// AWS region of the bucket, if the response names it.
    region: Option<&'a str>,
    request_id: &'a str,
}

fn convert_service_error(uri: &S3Uri, action: &str, info: &ServiceErrorInfo<'_>) -> S3Error {
    let ServiceErrorInfo { status, code, message, region, request_id: request } = *info;
    match (code, status) {
        ("NoSuchBucket", _) => S3Error::for_object(
            format!("{uri}: there is no such bucket"),
            "look at its name, and at the account",
        ),
        ("NoSuchKey" | "NotFound" | "", 404) => S3Error::for_object(
            format!("{uri}: there is no such object"),
            "look at the key, which is taken as it is written, upper and lower case apart",
        ),
        ("PreconditionFailed", _) | (_, 412) => S3Error::for_object(
            format!("{uri}: the object changed since it was first read"),
            "leave the data alone while a job trains on it",
        ),
        (
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
            _,
        )
        | (_, 301) => S3Error::for_all_objects(
            format!(
                "{uri}: the bucket is in {}",
                region.map_or("another region".to_owned(), |region| format!("region {region}"))
            ),
            "set AWS_REGION to it, or copy the data to the job's region",
        ),
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "RequestTimeTooSkewed",
            _,
        )
        | (_, 401) => S3Error::for_all_objects(
            format!("{uri}: S3 does not take the credentials ({code}: {message})"),
            CREDENTIALS_ADVICE,
        ),
        ("InvalidObjectState", _) => S3Error::for_object(
            format!("{uri}: the object is archived"),
            "restore it from its storage class first",
        ),
        (_, 403) => S3Error::for_object(
            format!("{uri}: access denied ({message})"),
            format!(
                "the role needs {action} on {}, and kms:Decrypt on the key if the bucket is \
                 encrypted with one; without s3:ListBucket S3 says this of objects that do not \
                 exist, too",
                resource_arn(uri, action)
            ),
        ),
        // The SDK has made all attempts when this error arrives.
        (_, 500..) => S3Error::for_all_objects(
            format!(
                "{uri}: S3 answered {status} {code} {message} again and again (request {request})"
            ),
            "try again later",
        ),
        _ => S3Error::for_object(
            format!("{uri}: S3 answered {status} {code} {message} (request {request})"),
            "",
        ),
    }
}

/// Returns the ARN that an IAM statement about `action` must name.
fn resource_arn(uri: &S3Uri, action: &str) -> String {
    if action == "s3:ListBucket" {
        return format!("arn:aws:s3:::{}", uri.bucket());
    }
    format!("arn:aws:s3:::{}/*", uri.bucket())
}

/// Returns the text of the innermost cause, which is the most specific.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_for(status: u16, code: &str) -> S3Error {
        let uri: S3Uri = "s3://bucket/a/b.jpg".parse().unwrap();
        let region = Some("eu-west-1");
        convert_service_error(
            &uri,
            "s3:GetObject",
            &ServiceErrorInfo { status, code, message: "m", region, request_id: "r" },
        )
    }

    #[test]
    fn each_refusal_names_the_object_and_the_fix() {
        for (status, code, scope, text, advice) in [
            (404, "NoSuchKey", ErrorScope::Object, "no such object", "the key"),
            (404, "NoSuchBucket", ErrorScope::Object, "no such bucket", "its name"),
            (
                403,
                "AccessDenied",
                ErrorScope::Object,
                "denied",
                "s3:GetObject on arn:aws:s3:::bucket/*",
            ),
            (403, "InvalidAccessKeyId", ErrorScope::AllObjects, "not take the cred", "AWS_PROFILE"),
            (301, "PermanentRedirect", ErrorScope::AllObjects, "in region eu-west-1", "AWS_REGION"),
            (412, "PreconditionFailed", ErrorScope::Object, "changed since", "leave"),
            (403, "InvalidObjectState", ErrorScope::Object, "archived", "restore"),
            (503, "SlowDown", ErrorScope::AllObjects, "again and again (request r)", "later"),
            (418, "Teapot", ErrorScope::Object, "418 Teapot m (request r)", ""),
        ] {
            let failure = error_for(status, code);
            assert_eq!(failure.scope, scope, "{failure}");
            assert!(failure.message.starts_with("s3://bucket/a/b.jpg: "), "{failure}");
            assert!(failure.message.contains(text) && failure.advice.contains(advice), "{failure}");
        }
    }
}
