//! The connection to Label Studio, with the user's token.

use std::env;
use std::sync::Arc;

use crate::aws::SECRETS_MANAGER;
use crate::aws::secrets_api::GetSecretValue;
use crate::commands::remote_pipeline::connect;
use crate::error::{Error, Result};
use crate::label_studio::{LabelStudio, LabelStudioSettings, Token};
use crate::preannotation::TaskImages;
use crate::sagemaker::StopSignal;
use crate::settings::LABEL_STUDIO_TOKEN_VARIABLE;
use crate::web_client::{AddressRule, Url, WebClient, WebClientSettings};

/// Where Label Studio is, and where the user's token is.
#[derive(Debug, Clone)]
pub struct LabelStudioConnection {
    pub server: Url,
    /// Name or ARN of the secret with the token; without it the token is in the environment.
    pub token_secret: Option<String>,
    /// True if images may lie on other servers with private addresses.
    pub allow_private: bool,
}

/// Connects to Label Studio as the user of the token. Nothing is sent to it yet.
pub(crate) fn connect_label_studio(
    connection: &LabelStudioConnection,
    stop: &StopSignal,
) -> Result<LabelStudio> {
    LabelStudio::new(LabelStudioSettings {
        server: connection.server.clone(),
        token: read_token(connection.token_secret.as_deref(), stop)?,
        allow_private: connection.allow_private,
    })
}

/// Connects to Label Studio and to the servers on which images of its tasks may lie.
pub(super) fn connect_images(
    connection: &LabelStudioConnection,
    max_bytes: u64,
    stop: &StopSignal,
) -> Result<TaskImages> {
    let label_studio = Arc::new(connect_label_studio(connection, stop)?);
    let addresses =
        AddressRule { allow_private: connection.allow_private, ..AddressRule::default() };
    let web = WebClient::new(WebClientSettings { addresses, ..WebClientSettings::default() })?;
    Ok(TaskImages { label_studio, web, max_bytes })
}

/// Returns the user's token for Label Studio: of a secret, or of the environment.
fn read_token(secret: Option<&str>, stop: &StopSignal) -> Result<Token> {
    let (name, text) = if let Some(secret) = secret {
        let client = connect(&SECRETS_MANAGER, stop)?;
        let answer = client.send(&GetSecretValue { secret_id: secret.to_owned() });
        let answer = answer.map_err(|error| {
            Error::from(error).with_context(format_args!("the secret {secret}"))
        })?;
        let text = answer.secret_string.ok_or_else(|| {
            Error::input(format!(
                "the secret {secret} is binary; store the token of Label Studio as text"
            ))
        })?;
        (format!("the secret {secret}"), find_token_text(&text).unwrap_or(text))
    } else {
        let text = env::var(LABEL_STUDIO_TOKEN_VARIABLE).unwrap_or_default();
        if text.trim().is_empty() {
            return Err(Error::input(format!(
                "there is no token for Label Studio; set {LABEL_STUDIO_TOKEN_VARIABLE}, or name a secret of AWS Secrets \
                 Manager with --token-secret"
            )));
        }
        (LABEL_STUDIO_TOKEN_VARIABLE.to_owned(), text)
    };
    text.parse().map_err(|reason| Error::input(format!("{name} {reason}")))
}

/// Returns the token of a secret with keys and values, as the console makes them: the only text, or that of
/// the key with the variable's name.
fn find_token_text(secret: &str) -> Option<String> {
    let serde_json::Value::Object(object) = serde_json::from_str(secret).ok()? else { return None };
    let named = object.get(LABEL_STUDIO_TOKEN_VARIABLE);
    let only = if object.len() == 1 { object.values().next() } else { None };
    named.or(only)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_token_or_an_object_that_holds_it() {
        assert_eq!(find_token_text("abc"), None);
        assert_eq!(find_token_text(r#"{"token": "abc"}"#).as_deref(), Some("abc"));
        let both = r#"{"user": "x", "LABEL_STUDIO_API_KEY": "abc"}"#;
        assert_eq!(find_token_text(both).as_deref(), Some("abc"));
        assert_eq!(find_token_text(r#"{"user": "x", "token": "abc"}"#), None);
        assert_eq!(find_token_text(r#"{"token": 7}"#), None);
    }
}
