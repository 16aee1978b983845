//! `resourceconfig.json`: the hosts of a training job.

use serde::Deserialize;

use super::{MlRoot, raw};
use crate::error::{Error, Result};

/// The hosts of a job. Without `resourceconfig.json` there is one host, `localhost`. The file's
/// `network_interface_name` is not read: the SageMaker SDK's local mode names one that does not
/// exist.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Cluster {
    /// Name of this container among `hosts`, for example `algo-1` or `algo-1-ab12c`.
    pub current_host: String,
    /// Names of all containers, in SageMaker's order, which is lexicographic.
    pub hosts: Vec<String>,
    /// Type of this host's instance, for example `ml.p4d.24xlarge`. The SageMaker SDK's local mode
    /// names none.
    #[serde(default)]
    pub current_instance_type: Option<String>,
}

/// Families of GPU instances whose network is an Elastic Fabric Adapter
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa.html#efa-instance-types>). Sizes of other
/// families have one as well, where it makes less of a difference.
const FABRIC_FAMILIES: [&str; 8] =
    ["p3dn", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200", "p6-b300"];

impl Cluster {
    /// Reads `resourceconfig.json`.
    pub fn read(root: &MlRoot) -> Result<Self> {
        let path = root.resource_config_file();
        let Some(map) = raw::read_json_object(&path)? else {
            let host = "localhost".to_owned();
            return Ok(Self {
                current_host: host.clone(),
                hosts: vec![host],
                current_instance_type: None,
            });
        };
        let cluster: Self = serde_json::from_value(map.into()).map_err(|cause| {
            Error::input(format!(
                "resourceconfig.json: {cause}; expected {{\"current_host\": \"algo-1\", \
                 \"hosts\": [\"algo-1\"]}}"
            ))
        })?;
        if !cluster.hosts.contains(&cluster.current_host) {
            return Err(Error::input(format!(
                "resourceconfig.json: current_host {:?} is not among hosts: {}",
                cluster.current_host,
                cluster.hosts.join(", ")
            )));
        }
        let mut names: Vec<&String> = cluster.hosts.iter().collect();
        names.sort();
        names.dedup();
        if names.len() < cluster.hosts.len() {
            return Err(Error::input(format!(
                "resourceconfig.json names a host twice: {}",
                cluster.hosts.join(", ")
            )));
        }
        Ok(cluster)
    }

    /// Returns this host's instance type if such instances have NVIDIA GPUs: those of the families
    /// that begin with p or g, and `local_gpu` of the SageMaker SDK's local mode.
    pub fn instance_type_with_gpus(&self) -> Option<&str> {
        let instance_type = self.current_instance_type.as_deref()?;
        let family = instance_type.strip_prefix("ml.").unwrap_or_default();
        let has_gpus = instance_type == "local_gpu"
            || family.starts_with("gr")
            || family.starts_with(['p', 'g'])
                && family[1..].starts_with(|c: char| c.is_ascii_digit());
        has_gpus.then_some(instance_type)
    }

    /// Returns this host's instance type if such instances have an Elastic Fabric Adapter.
    pub fn instance_type_with_fabric(&self) -> Option<&str> {
        let instance_type = self.current_instance_type.as_deref()?;
        let family = instance_type.strip_prefix("ml.")?.split('.').next()?;
        FABRIC_FAMILIES.contains(&family).then_some(instance_type)
    }

    /// Returns the position of this host among all.
    pub fn current_position(&self) -> usize {
        self.hosts.iter().position(|host| *host == self.current_host).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: Option<&str>) -> Result<Cluster> {
        let folder = tempfile::tempdir().unwrap();
        let root = MlRoot::new(folder.path());
        std::fs::create_dir_all(folder.path().join("input/config")).unwrap();
        if let Some(text) = text {
            std::fs::write(root.resource_config_file(), text).unwrap();
        }
        Cluster::read(&root)
    }

    #[test]
    fn one_host_is_fine_with_or_without_the_file_and_extra_keys_are_ignored() {
        assert_eq!(read(None).unwrap().hosts, ["localhost"]);
        let text = r#"{"current_host": "algo-1-x9", "hosts": ["algo-1-x9"], "topology": null,
                       "network_interface_name": "eth7", "current_instance_type": "local"}"#;
        assert_eq!(read(Some(text)).unwrap().current_host, "algo-1-x9");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_files_never_panic(text in ".{0,40}", host in ".{0,9}", other in ".{0,9}") {
            let _ = read(Some(&text));
            let json = serde_json::json!({"current_host": host, "hosts": [other]}).to_string();
            proptest::prop_assert_eq!(read(Some(&json)).is_ok(), host == other);
        }
    }

    #[test]
    fn of_several_hosts_the_own_position_is_known() {
        let text = r#"{"current_host": "b", "hosts": ["a", "b"], "instance_groups": [
            {"instance_group_name": "g", "instance_type": "ml.g5.xlarge", "hosts": ["a", "b"]}]}"#;
        let cluster = read(Some(text)).unwrap();
        assert_eq!((cluster.hosts.len(), cluster.current_position()), (2, 1));
    }

    #[test]
    fn instances_with_gpus_and_fabric_adapters_are_known_by_their_family() {
        for (instance_type, has_gpus, has_fabric) in [
            ("ml.p4d.24xlarge", true, true),
            ("ml.p5.48xlarge", true, true),
            ("ml.p3.16xlarge", true, false),
            ("ml.g4dn.xlarge", true, false),
            ("ml.gr6.4xlarge", true, false),
            ("local_gpu", true, false),
            ("ml.m5.large", false, false),
            ("ml.p", false, false),
            ("p5", false, false),
            ("local", false, false),
        ] {
            let text = format!(
                r#"{{"current_host": "a", "hosts": ["a"], "current_instance_type": "{instance_type}"}}"#
            );
            let cluster = read(Some(&text)).unwrap();
            assert_eq!(cluster.instance_type_with_gpus(), has_gpus.then_some(instance_type));
            assert_eq!(cluster.instance_type_with_fabric(), has_fabric.then_some(instance_type));
        }
    }

    #[test]
    fn missing_keys_strangers_and_repeated_hosts_are_refused() {
        for (text, said) in [
            (r#"{"current_host": "a", "hosts": ["a", "b", "a"]}"#, "names a host twice: a, b, a"),
            (r#"{"hosts": ["a"]}"#, "current_host"),
            (r#"{"current_host": "c", "hosts": ["a"]}"#, "\"c\" is not among hosts: a"),
        ] {
            let error = read(Some(text)).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
