//! The flags of `serve`, and the variables that SageMaker sets.

// clap prints the comments on flags as help texts, so they hold no Markdown.
#![allow(clippy::doc_markdown)]

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;

use super::{InferenceArgs, integer_parser, megabytes_to_bytes};
use crate::sagemaker::MlRoot;
use crate::serve::{BatchStrategy, EndpointKind, ServeSettings};
use crate::settings;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address to listen on
    #[arg(long, env = "MASKMAKER_HOST", default_value_t = settings::DEFAULT_HOST)]
    host: IpAddr,
    /// Port to listen on, 0 for any free one [default: SAGEMAKER_BIND_TO_PORT, else 8080]
    #[arg(long, env = "MASKMAKER_PORT")]
    port: Option<u16>,
    #[arg(long, env = "SAGEMAKER_BIND_TO_PORT", hide = true, id = "bind-to-port")]
    bind_to_port: Option<u16>,
    /// Serve models that come and go by /models, as multi-model endpoints do
    #[arg(long, env = "SAGEMAKER_MULTI_MODEL", num_args = 0..=1, default_value_t = false,
          default_missing_value = "true", action = clap::ArgAction::Set,
          value_parser = parse_bool_flag)]
    multi_model: bool,
    /// What stands between clients and the server: realtime, serverless, async or batch; it decides
    /// the limits below [default: batch if SAGEMAKER_BATCH is true, else realtime]
    #[arg(long, env = "MASKMAKER_ENDPOINT", value_name = "KIND")]
    endpoint: Option<EndpointKind>,
    #[arg(long, env = "SAGEMAKER_BATCH", hide = true, default_value_t = false,
          action = clap::ArgAction::Set, value_parser = parse_bool_flag)]
    batch: bool,
    #[arg(long, env = "SAGEMAKER_MAX_PAYLOAD_IN_MB", hide = true, value_parser = parse_count)]
    max_payload_in_mb: Option<u32>,
    #[arg(long, env = "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", hide = true,
          value_parser = parse_count)]
    max_concurrent_transforms: Option<u32>,
    #[arg(long, env = "SAGEMAKER_BATCH_STRATEGY", hide = true)]
    batch_strategy: Option<BatchStrategy>,
    /// Largest request body [default: 25; serverless 4, async 1024, batch 100 or
    /// SAGEMAKER_MAX_PAYLOAD_IN_MB]
    #[arg(long, env = "MASKMAKER_MAX_BODY_MB", value_name = settings::MAX_BODY_MB.unit,
          value_parser = integer_parser::<u32>(settings::MAX_BODY_MB))]
    max_body_mb: Option<u32>,
    /// Largest answer; one that is known to be larger is refused before it is computed [default:
    /// 25; serverless 4, async 1024, batch 100]
    #[arg(long, env = "MASKMAKER_MAX_REPLY_MB", value_name = settings::MAX_REPLY_MB.unit,
          value_parser = integer_parser::<u32>(settings::MAX_REPLY_MB))]
    max_reply_mb: Option<u32>,
    /// Longest time that one request may be computed, by what others took; longer ones are refused
    /// [default: 60; async 3600, batch 600]
    #[arg(long, env = "MASKMAKER_MAX_SECONDS", value_name = settings::MAX_SECONDS.unit,
          value_parser = integer_parser::<u64>(settings::MAX_SECONDS))]
    max_seconds: Option<u64>,
    /// Computing that may wait, by the same measure; further requests are answered 503
    #[arg(long, env = "MASKMAKER_MAX_WAIT", default_value_t = settings::DEFAULT_MAX_WAIT_S,
          value_name = settings::MAX_WAIT.unit,
          value_parser = integer_parser::<u64>(settings::MAX_WAIT))]
    max_wait: u64,
    /// Requests that are worked on or wait, whatever their size
    #[arg(long, env = "MASKMAKER_QUEUE_DEPTH", default_value_t = settings::DEFAULT_QUEUE_DEPTH,
          value_name = settings::QUEUE_DEPTH.unit,
          value_parser = integer_parser::<u32>(settings::QUEUE_DEPTH))]
    queue_depth: u32,
    /// Images that are computed together, at most
    #[arg(long, env = "MASKMAKER_MAX_BATCH", default_value_t = settings::DEFAULT_MAX_BATCH,
          value_name = settings::MAX_BATCH.unit,
          value_parser = integer_parser::<u16>(settings::MAX_BATCH))]
    max_batch: u16,
    /// Memory for the models of a multi-model endpoint [default: 60 % of the
    /// GPU's where there is one, else of the container's]
    #[arg(long, env = "MASKMAKER_MODELS_MB", value_name = settings::MODELS_MB.unit,
          value_parser = integer_parser::<u64>(settings::MODELS_MB))]
    models_mb: Option<u64>,
    /// Let requests name images as s3://BUCKET/KEY, which are read with the endpoint's role
    /// [default: true in batch transform]
    #[arg(long, env = "MASKMAKER_S3_REFERENCES", num_args = 0..=1, default_missing_value = "true",
          value_parser = parse_bool_flag)]
    s3_references: Option<bool>,
    /// Leave out the line that is logged for every request
    #[arg(long, env = "MASKMAKER_QUIET", num_args = 0..=1, default_value_t = false,
          default_missing_value = "true", action = clap::ArgAction::Set,
          value_parser = parse_bool_flag)]
    quiet: bool,
    /// Seconds that requests in flight may take after SIGTERM
    #[arg(long, env = "MASKMAKER_DRAIN_TIMEOUT",
          default_value_t = settings::DEFAULT_DRAIN_TIMEOUT_S,
          value_name = settings::DRAIN_TIMEOUT.unit,
          value_parser = integer_parser::<u64>(settings::DRAIN_TIMEOUT))]
    drain_timeout: u64,
    #[command(flatten)]
    pub(super) inference: InferenceArgs,
}

fn parse_count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("give a whole number, 0 to {}", u32::MAX))
}

/// Parses `true` or `false` in any case, `1` or `0`.
fn parse_bool_flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("give true or false".to_owned()),
    }
}

impl ServeArgs {
    fn endpoint_kind(&self) -> EndpointKind {
        let default = if self.batch { EndpointKind::Batch } else { EndpointKind::default() };
        self.endpoint.unwrap_or(default)
    }

    /// Returns true if requests may name images in S3.
    pub(super) fn allows_s3_references(&self) -> bool {
        self.s3_references.unwrap_or(self.endpoint_kind() == EndpointKind::Batch)
    }

    pub(super) fn to_settings(&self, root: &MlRoot) -> ServeSettings {
        let defaults = ServeSettings::for_endpoint(self.endpoint_kind(), self.max_payload_in_mb);
        let max_body_bytes = match self.max_body_mb {
            Some(megabytes) => megabytes_to_bytes(megabytes.into()) as usize,
            None => defaults.max_body_bytes,
        };
        let max_reply_bytes = match self.max_reply_mb {
            Some(megabytes) => megabytes_to_bytes(megabytes.into()) as usize,
            None => defaults.max_reply_bytes,
        };
        let defaults = defaults.with_max_body_bytes(max_body_bytes);
        ServeSettings {
            host: self.host,
            port: self.port.or(self.bind_to_port).unwrap_or(defaults.port),
            model_dir: root.model_folder(),
            multi_model: self.multi_model,
            models_bytes: self.models_mb.map(megabytes_to_bytes),
            max_reply_bytes,
            max_compute: self.max_seconds.map_or(defaults.max_compute, Duration::from_secs),
            max_wait: Duration::from_secs(self.max_wait),
            max_pixels: self.inference.max_pixels,
            queue_depth: self.queue_depth as usize,
            max_batch: self.max_batch.into(),
            max_concurrent_transforms: self.max_concurrent_transforms,
            batch_strategy: self.batch_strategy.unwrap_or_default(),
            log_requests: !self.quiet,
            drain_timeout: Duration::from_secs(self.drain_timeout),
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct TestCli {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn settings(arguments: &[&str]) -> ServeSettings {
        let cli = TestCli::parse_from(["serve"].iter().chain(arguments));
        cli.serve.to_settings(&MlRoot::new("/ml"))
    }

    #[test]
    fn the_port_is_ours_then_sagemakers_then_8080() {
        assert_eq!(settings(&[]).port, 8080);
        assert_eq!(settings(&["--bind-to-port", "9000"]).port, 9000);
        assert_eq!(settings(&["--bind-to-port", "9000", "--port", "0"]).port, 0);
    }

    #[test]
    fn help_texts_say_the_defaults_that_clap_does_not_know() {
        let command = TestCli::command();
        let help = |id: &str| {
            let flag = command.get_arguments().find(|flag| flag.get_id() == id).unwrap();
            flag.get_help().unwrap().to_string()
        };
        assert!(help("port").contains(&format!("else {}]", settings::DEFAULT_PORT)));
        let realtime = EndpointKind::Realtime.limits(None);
        for kind in EndpointKind::ALL {
            let limits = kind.limits(None);
            for (id, value, default) in [
                ("max_body_mb", limits.max_body_bytes >> 20, realtime.max_body_bytes >> 20),
                ("max_reply_mb", limits.max_reply_bytes >> 20, realtime.max_reply_bytes >> 20),
                (
                    "max_seconds",
                    limits.max_compute.as_secs() as usize,
                    realtime.max_compute.as_secs() as usize,
                ),
            ] {
                let help = help(id);
                assert!(help.contains(&format!("[default: {default};")), "{help}");
                let is_named = help.contains(&format!("{kind} {value}"));
                assert!(is_named || value == default, "{id} of {kind} is {value}: {help}");
            }
        }
    }

    #[test]
    fn limits_follow_the_endpoint_unless_they_are_given() {
        let batch = settings(&["--batch", "TRUE", "--max-payload-in-mb", "7"]);
        assert_eq!(batch.max_body_bytes, 7 << 20);
        assert_eq!(batch.max_compute.as_secs(), 600);
        let serverless = settings(&["--endpoint", "Serverless", "--max-reply-mb", "2"]);
        assert_eq!((serverless.max_body_bytes, serverless.max_reply_bytes), (4 << 20, 2 << 20));
        assert!(settings(&["--multi-model"]).multi_model);
        assert!(!settings(&["--multi-model", "false"]).multi_model);
    }

    #[test]
    fn images_in_s3_may_be_named_in_batch_transform_alone_unless_it_is_said() {
        let references = |arguments: &[&str]| {
            TestCli::parse_from(["serve"].iter().chain(arguments)).serve.allows_s3_references()
        };
        assert!(!references(&[]));
        assert!(references(&["--batch", "true"]));
        assert!(references(&["--s3-references"]));
        assert!(!references(&["--batch", "true", "--s3-references", "false"]));
    }
}
