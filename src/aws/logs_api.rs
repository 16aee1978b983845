//! Requests and answers of Amazon CloudWatch Logs, as far as this program calls it. Names are the
//! service's: <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/>.

use serde::{Deserialize, Serialize};

use super::json_client::{JsonRequest, JsonService};

pub static CLOUDWATCH_LOGS: JsonService = JsonService {
    name: "CloudWatch Logs",
    signing_name: "logs",
    target_prefix: "Logs_20140328",
    host_prefix: "logs",
    fips_host_prefix: "logs-fips",
    endpoint_variable: "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS",
};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeLogStreams {
    pub log_group_name: String,
    pub log_stream_name_prefix: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl JsonRequest for DescribeLogStreams {
    const OPERATION: &'static str = "DescribeLogStreams";
    type Response = DescribedLogStreams;
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DescribedLogStreams {
    pub log_streams: Vec<LogStream>,
    pub next_token: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogStream {
    pub log_stream_name: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GetLogEvents {
    pub log_group_name: String,
    pub log_stream_name: String,
    /// Place in the stream, from the answer before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub start_from_head: bool,
}

impl JsonRequest for GetLogEvents {
    const OPERATION: &'static str = "GetLogEvents";
    type Response = GotLogEvents;
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GotLogEvents {
    pub events: Vec<LogEvent>,
    /// Place behind the events. At the end of the stream it is the one that the request gave.
    pub next_forward_token: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogEvent {
    /// Time of the event, in milliseconds since 1970.
    pub timestamp: i64,
    pub message: String,
}
