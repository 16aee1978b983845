//! Requests and answers of AWS Secrets Manager, as far as this program calls it. Names are the service's:
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/>.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::json_client::{JsonRequest, JsonService};

pub static SECRETS_MANAGER: JsonService = JsonService {
    name: "Secrets Manager",
    signing_name: "secretsmanager",
    target_prefix: "secretsmanager",
    host_prefix: "secretsmanager",
    fips_host_prefix: "secretsmanager-fips",
    endpoint_variable: "AWS_ENDPOINT_URL_SECRETS_MANAGER",
};

/// Request for a secret's current value, by its name or ARN.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetSecretValue {
    pub secret_id: String,
}

impl JsonRequest for GetSecretValue {
    const OPERATION: &'static str = "GetSecretValue";
    type Response = GotSecretValue;
}

/// Value of a secret, whose text is never shown.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GotSecretValue {
    /// None if the secret is binary.
    pub secret_string: Option<String>,
}

impl fmt::Debug for GotSecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GotSecretValue")
    }
}
