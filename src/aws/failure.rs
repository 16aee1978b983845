//! Why an object cannot be read, and what to do about it.

use std::fmt;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;

use super::S3Uri;
use crate::error::Error;

/// What a failure says of other objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Others may well be there.
    Object,
    /// There is no use in asking for others.
    Everything,
    /// Nothing failed: the job was asked to stop.
    Stopped,
}

/// Why an object cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it says of other objects.
    pub scope: Scope,
    /// What happened; it names the object.
    pub what: String,
    /// What to do, the same for all objects that failed alike.
    pub advice: String,
}

impl Failure {
    /// One object cannot be read.
    pub fn object(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { scope: Scope::Object, what: what.into(), advice: advice.into() }
    }

    /// Nothing can be read.
    pub fn everything(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { scope: Scope::Everything, what: what.into(), advice: advice.into() }
    }

    /// The job was asked to stop.
    pub fn stopped() -> Self {
        Self {
            scope: Scope::Stopped,
            what: "the job was asked to stop".to_owned(),
            advice: String::new(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::input(failure.to_string())
    }
}

/// What to do when S3 does not answer.
pub(super) const UNREACHABLE: &str = "with network isolation a job reaches nothing, and in a VPC S3 \
    needs a gateway endpoint in the subnets' route tables: add it, or let SageMaker bring the data \
    (a manifest's by Pipe mode, weights by a channel)";

/// What to do about missing credentials.
pub(super) const CREDENTIALS: &str = "a job has those of its role unless EnableNetworkIsolation is \
    set; elsewhere set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";

/// An error of the SDK in words. `action` is the permission that was needed.
pub(super) fn explain<E>(
    error: &SdkError<E, HttpResponse>,
    uri: &S3Uri,
    action: &str,
    endpoint: &str,
) -> Failure
where
    E: ProvideErrorMetadata + RequestId + std::error::Error + 'static,
{
    let cause = innermost(error);
    let late = || {
        Failure::everything(
            format!("{uri}: {endpoint} did not answer in time"),
            format!("{UNREACHABLE}; MASKMAKER_S3_TIMEOUT sets for how many seconds is waited"),
        )
    };
    match error {
        SdkError::TimeoutError(_) => late(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => late(),
        SdkError::DispatchFailure(_) => {
            let text = DisplayErrorContext(error).to_string().to_lowercase();
            if text.contains("credential") {
                return Failure::everything(
                    format!("{uri}: the AWS credentials cannot be had: {cause}"),
                    CREDENTIALS,
                );
            }
            Failure::everything(
                format!("{uri}: {endpoint} cannot be reached: {cause}"),
                UNREACHABLE,
            )
        }
        SdkError::ServiceError(answer) => {
            let (said, status) = (answer.err(), answer.raw().status().as_u16());
            let region = answer.raw().headers().get("x-amz-bucket-region");
            let meta = said.meta();
            refused(
                uri,
                action,
                &Refusal {
                    status,
                    code: meta.code().unwrap_or(""),
                    message: meta.message().unwrap_or(""),
                    region,
                    request: said.request_id().unwrap_or("none"),
                },
            )
        }
        _ => Failure::object(format!("{uri}: {endpoint} gave no usable answer: {cause}"), ""),
    }
}

/// What S3 said.
struct Refusal<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
    /// Where the bucket is.
    region: Option<&'a str>,
    request: &'a str,
}

fn refused(uri: &S3Uri, action: &str, refusal: &Refusal<'_>) -> Failure {
    let Refusal { status, code, message, region, request } = *refusal;
    match (code, status) {
        ("NoSuchBucket", _) => Failure::object(
            format!("{uri}: there is no such bucket"),
            "look at its name, and at the account",
        ),
        ("NoSuchKey" | "NotFound" | "", 404) => Failure::object(
            format!("{uri}: there is no such object"),
            "look at the key, which is taken as it is written, upper and lower case apart",
        ),
        ("PreconditionFailed", _) | (_, 412) => Failure::object(
            format!("{uri}: the object changed since it was first read"),
            "leave the data alone while a job trains on it",
        ),
        (
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
            _,
        )
        | (_, 301) => Failure::everything(
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
        | (_, 401) => Failure::everything(
            format!("{uri}: S3 does not take the credentials ({code}: {message})"),
            CREDENTIALS,
        ),
        ("InvalidObjectState", _) => Failure::object(
            format!("{uri}: the object is archived"),
            "restore it from its storage class first",
        ),
        (_, 403) => Failure::object(
            format!("{uri}: access denied ({message})"),
            format!(
                "the role needs {action} on {}, and kms:Decrypt on the key if the bucket is encrypted \
                 with one; without s3:ListBucket S3 says this of objects that do not exist, too",
                resource(uri, action)
            ),
        ),
        // Tried again and again before.
        (_, 500..) => Failure::everything(
            format!(
                "{uri}: S3 answered {status} {code} {message} again and again (request {request})"
            ),
            "try again later",
        ),
        _ => Failure::object(
            format!("{uri}: S3 answered {status} {code} {message} (request {request})"),
            "",
        ),
    }
}

/// What an IAM statement about the action names.
fn resource(uri: &S3Uri, action: &str) -> String {
    if action == "s3:ListBucket" {
        return format!("arn:aws:s3:::{}", uri.bucket());
    }
    format!("arn:aws:s3:::{}/*", uri.bucket())
}

/// The last cause, which is the one that says something.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, code: &str) -> Failure {
        let uri: S3Uri = "s3://bucket/a/b.jpg".parse().unwrap();
        let region = Some("eu-west-1");
        refused(&uri, "s3:GetObject", &Refusal { status, code, message: "m", region, request: "r" })
    }

    #[test]
    fn each_refusal_names_the_object_and_the_fix() {
        for (status, code, scope, what, advice) in [
            (404, "NoSuchKey", Scope::Object, "no such object", "the key"),
            (404, "NoSuchBucket", Scope::Object, "no such bucket", "its name"),
            (403, "AccessDenied", Scope::Object, "denied", "s3:GetObject on arn:aws:s3:::bucket/*"),
            (403, "InvalidAccessKeyId", Scope::Everything, "not take the cred", "AWS_PROFILE"),
            (301, "PermanentRedirect", Scope::Everything, "in region eu-west-1", "AWS_REGION"),
            (412, "PreconditionFailed", Scope::Object, "changed since", "leave"),
            (403, "InvalidObjectState", Scope::Object, "archived", "restore"),
            (503, "SlowDown", Scope::Everything, "again and again (request r)", "later"),
            (418, "Teapot", Scope::Object, "418 Teapot m (request r)", ""),
        ] {
            let failure = said(status, code);
            assert_eq!(failure.scope, scope, "{failure}");
            assert!(failure.what.starts_with("s3://bucket/a/b.jpg: "), "{failure}");
            assert!(failure.what.contains(what) && failure.advice.contains(advice), "{failure}");
        }
    }
}
