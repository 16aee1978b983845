//! Errors of AWS' services that speak JSON, with their advice for users.

use std::fmt;

use super::S3Error;
use super::error::{CREDENTIALS_ADVICE, ErrorScope};
use crate::error::Error;

/// Reason of a failed call that a caller acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceErrorKind {
    /// The named resource is not there.
    NotFound,
    /// A resource of that name is there, or another change of it is under way.
    Conflict,
    /// The call was refused for its content.
    Invalid,
    /// The call was refused for another reason, such as credentials, a permission or a quota.
    Refused,
    /// Nothing failed: the program was asked to stop.
    Stopped,
    /// No usable answer came; the call may have had its effect.
    Other,
}

impl ServiceErrorKind {
    /// Returns true if the service refused the call, so that it had no effect.
    pub fn is_final(self) -> bool {
        matches!(self, Self::NotFound | Self::Conflict | Self::Invalid | Self::Refused)
    }
}

/// Failure of a call of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    pub kind: ServiceErrorKind,
    /// Description of the failure, which names the operation.
    pub message: String,
    /// Advice for the user; may be empty.
    pub advice: String,
}

impl ServiceError {
    pub(super) fn new(
        kind: ServiceErrorKind,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { kind, message: message.into(), advice: advice.into() }
    }

    /// Makes the error of a program that was asked to stop.
    pub(super) fn stopped() -> Self {
        Self::new(ServiceErrorKind::Stopped, "the program was asked to stop", "")
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}

impl From<ServiceError> for Error {
    fn from(failure: ServiceError) -> Self {
        Self::input(failure.to_string())
    }
}

/// Region, credentials and attempts are found in the same way for S3 and the services.
impl From<S3Error> for ServiceError {
    fn from(failure: S3Error) -> Self {
        let kind = if failure.scope == ErrorScope::Stopped {
            ServiceErrorKind::Stopped
        } else {
            ServiceErrorKind::Other
        };
        Self::new(kind, failure.message, failure.advice)
    }
}

/// Answer of a service that refuses a call.
#[derive(Debug)]
pub(super) struct Refusal<'a> {
    /// Name of the operation, such as `CreatePipeline`.
    pub operation: &'a str,
    /// IAM action of the operation, such as `sagemaker:CreatePipeline`.
    pub action: &'a str,
    /// Endpoint's URL.
    pub endpoint: &'a str,
    /// HTTP status.
    pub status: u16,
    /// Code of the error, such as `ValidationException`; empty if the answer has none.
    pub code: &'a str,
    pub message: &'a str,
}

/// Converts a refusal to a message and advice.
pub(super) fn describe_refusal(refusal: &Refusal<'_>) -> ServiceError {
    let Refusal { operation, action, endpoint, status, code, message } = *refusal;
    let error = |kind, text: String, advice: &str| ServiceError::new(kind, text, advice);
    match (code, status) {
        ("ResourceNotFound" | "ResourceNotFoundException", _) => {
            error(ServiceErrorKind::NotFound, format!("{operation}: {message}"), "")
        }
        ("ConflictException" | "ResourceInUse", _) => {
            error(ServiceErrorKind::Conflict, format!("{operation}: {message}"), "")
        }
        // The service has no code of its own for a name that is taken, and not for each that is not
        // there.
        ("ValidationException" | "ValidationError", _) if message.contains("already exist") => {
            error(ServiceErrorKind::Conflict, format!("{operation}: {message}"), "")
        }
        ("ValidationException" | "ValidationError", _) if tells_missing(message) => {
            error(ServiceErrorKind::NotFound, format!("{operation}: {message}"), "")
        }
        ("ValidationException" | "ValidationError", _) => {
            error(ServiceErrorKind::Invalid, format!("{operation}: {message}"), "")
        }
        ("ResourceLimitExceeded" | "LimitExceededException", _) => error(
            ServiceErrorKind::Refused,
            format!("{operation}: a quota of the account is reached: {message}"),
            "ask for a higher one in the console of Service Quotas, or wait until others end",
        ),
        (
            "ThrottlingException"
            | "Throttling"
            | "TooManyRequestsException"
            | "RequestLimitExceeded",
            _,
        ) => error(
            ServiceErrorKind::Refused,
            format!("{operation}: the service throttles this account's calls again and again"),
            "try again later; AWS_MAX_ATTEMPTS sets how often a call is tried",
        ),
        ("ExpiredTokenException" | "ExpiredToken", _) => error(
            ServiceErrorKind::Refused,
            format!("{operation}: the AWS credentials have expired"),
            "sign in again (aws sso login), or set new ones",
        ),
        (
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "InvalidClientTokenId"
            | "IncompleteSignature"
            | "MissingAuthenticationTokenException",
            _,
        ) => error(
            ServiceErrorKind::Refused,
            format!("{operation}: the service does not take the credentials ({code}: {message})"),
            CREDENTIALS_ADVICE,
        ),
        ("AccessDeniedException" | "AccessDenied", _) => ServiceError::new(
            ServiceErrorKind::Refused,
            format!("{operation}: access denied: {message}"),
            describe_missing_permission(message, action),
        ),
        // An answer without a code is none of the service.
        ("", _) => error(
            ServiceErrorKind::Other,
            format!("{operation}: {endpoint} answered {status} and no error of the service"),
            "a proxy or another program may answer there",
        ),
        // The SDK has made all attempts when this error arrives.
        (_, 500..) => error(
            ServiceErrorKind::Other,
            format!("{operation}: the service answered {status} {code} {message} again and again"),
            "try again later",
        ),
        _ => error(
            ServiceErrorKind::Refused,
            format!("{operation}: the service answered {status} {code}: {message}"),
            "",
        ),
    }
}

/// Returns true if a message of the service says that a resource is not there.
fn tells_missing(message: &str) -> bool {
    let message = message.to_lowercase();
    ["does not exist", "not found", "could not find"].iter().any(|text| message.contains(text))
}

/// Returns the permission that is missing, and whose it is, if the service's message tells that.
/// Its form: `User: ARN is not authorized to perform: ACTION on resource: ARN because ...`.
fn describe_missing_permission(message: &str, action: &str) -> String {
    let between = |start: &str, end: &str| {
        let (_, rest) = message.split_once(start)?;
        rest.split(end).next().map(str::trim).filter(|text| !text.is_empty())
    };
    let action = between("perform: ", " ").unwrap_or(action);
    let resource = between("on resource: ", " ").unwrap_or("*");
    let user = between("User: ", " is not authorized").unwrap_or("who calls");
    let user = match user.split_once(":assumed-role/") {
        // arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
        Some((_, role)) => format!("the role {}", role.split('/').next().unwrap_or(role)),
        None => user.to_owned(),
    };
    format!("{user} needs {action} on {resource}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(status: u16, code: &str, message: &str) -> ServiceError {
        describe_refusal(&Refusal {
            operation: "CreatePipeline",
            action: "sagemaker:CreatePipeline",
            endpoint: "https://api.sagemaker.us-east-2.amazonaws.com",
            status,
            code,
            message,
        })
    }

    #[test]
    fn a_denied_call_names_action_role_and_resource() {
        let error = refuse(
            400,
            "AccessDeniedException",
            "User: arn:aws:sts::111122223333:assumed-role/annotator/me is not authorized to perform: \
             sagemaker:AddTags on resource: arn:aws:sagemaker:us-east-2:111122223333:pipeline/x \
             because no identity-based policy allows the sagemaker:AddTags action",
        );
        assert_eq!(
            error.advice,
            "the role annotator needs sagemaker:AddTags on \
             arn:aws:sagemaker:us-east-2:111122223333:pipeline/x"
        );
        let error = refuse(403, "AccessDeniedException", "");
        assert_eq!(error.advice, "who calls needs sagemaker:CreatePipeline on *");
    }

    #[test]
    fn each_refusal_says_what_helps() {
        for (status, code, message, kind, text) in [
            (400, "ResourceNotFound", "no x", ServiceErrorKind::NotFound, "no x"),
            (
                400,
                "ValidationException",
                "Pipeline with name (x) already exists.",
                ServiceErrorKind::Conflict,
                "already exists",
            ),
            (400, "ValidationException", "Bad", ServiceErrorKind::Invalid, "CreatePipeline: Bad"),
            (
                400,
                "ValidationException",
                "Requested resource not found.",
                ServiceErrorKind::NotFound,
                "resource not found",
            ),
            (400, "ResourceLimitExceeded", "2", ServiceErrorKind::Refused, "Service Quotas"),
            (400, "ThrottlingException", "", ServiceErrorKind::Refused, "AWS_MAX_ATTEMPTS"),
            (400, "ExpiredTokenException", "", ServiceErrorKind::Refused, "aws sso login"),
            (403, "InvalidSignatureException", "", ServiceErrorKind::Refused, "AWS_PROFILE"),
            (502, "", "<html>", ServiceErrorKind::Other, "answered 502 and no error"),
            (500, "InternalFailure", "", ServiceErrorKind::Other, "again and again"),
            (418, "Teapot", "short", ServiceErrorKind::Refused, "418 Teapot: short"),
        ] {
            let error = refuse(status, code, message);
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
