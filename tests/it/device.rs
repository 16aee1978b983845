//! Which device is used, what `doctor` says of it, and that nothing computes on the processor in silence where a GPU is
//! expected. Machines whose GPU can be used are told apart: nothing is refused there.

use std::fs;

use crate::job::{Job, Run, maskmaker};

/// Returns a small job on an instance of this type.
fn job_on(instance_type: &str) -> Job {
    let job = Job::new();
    let config = job.path("input/config");
    fs::create_dir_all(&config).unwrap();
    let text = serde_json::json!({
        "current_host": "algo-1",
        "hosts": ["algo-1"],
        "current_instance_type": instance_type,
    });
    fs::write(config.join("resourceconfig.json"), text.to_string()).unwrap();
    job
}

fn run_with_variable(job: &Job, arguments: &[&str], device: &str) -> Run {
    let mut command = maskmaker();
    command.env("MASKMAKER_DEVICE", device);
    job.run_with(command, arguments)
}

fn has_usable_gpu() -> bool {
    maskmaker::torch::gpu_count() > 0
}

#[test]
fn training_on_a_gpu_instance_without_a_usable_gpu_is_refused() {
    if has_usable_gpu() {
        return;
    }
    for instance_type in ["ml.p3.2xlarge", "local_gpu"] {
        let job = job_on(instance_type);
        let run = job.run(&["train"]);
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        let failure = fs::read_to_string(job.path("output/failure")).unwrap();
        for said in [instance_type, "has a GPU", "scripts/libtorch.sh", "MASKMAKER_DEVICE=cpu"] {
            assert!(failure.contains(said), "{failure}");
        }
    }
}

#[test]
fn the_processor_is_used_where_it_is_asked_for() {
    let job = job_on("ml.p3.2xlarge");
    let run = run_with_variable(&job, &["train"], "cpu");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(!run.stdout.contains("GPU") && run.stderr.is_empty(), "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_gpu_that_is_asked_for_and_cannot_be_used_is_an_error_of_every_command() {
    if has_usable_gpu() {
        return;
    }
    let job = job_on("ml.m5.large");
    for arguments in [
        &["train", "--device", "cuda"] as &[&str],
        &["serve", "--port", "0", "--device", "cuda:1"],
        &["predict", "--device", "cuda", "model", "image.png"],
    ] {
        let run = job.run(arguments);
        assert_eq!(run.code, Some(3), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains("a GPU is asked for"), "{}", run.stderr);
        assert!(run.stderr.contains("scripts/libtorch.sh"), "{}", run.stderr);
    }
}

#[test]
fn devices_of_other_names_are_refused() {
    let job = Job::without_data();
    let run = run_with_variable(&job, &["train"], "gpu");
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    let said =
        "the environment variable MASKMAKER_DEVICE is \"gpu\": give auto, cpu, cuda, or cuda:N";
    assert!(run.stderr.contains(said), "{}", run.stderr);
}

#[test]
fn doctor_tells_problems_by_its_exit_code_and_all_it_found_as_json() {
    if has_usable_gpu() {
        return;
    }
    let job = job_on("ml.g5.xlarge");
    let run = job.run(&["doctor"]);
    assert_eq!(run.code, Some(3), "{}", run.stdout);
    assert!(run.stdout.contains("ml.g5.xlarge has a GPU"), "{}", run.stdout);
    assert!(run.stderr.contains("doctor found 1 problem"), "{}", run.stderr);

    let run = job.run(&["doctor", "--json", "--device", "cpu"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let level = |check: &str| {
        let finding = findings.iter().find(|finding| finding["check"] == check);
        finding.map(|finding| finding["level"].as_str().unwrap().to_owned())
    };
    for check in ["device", "processor", "memory", "hyperparameters.json", "model"] {
        assert_eq!(level(check).as_deref(), Some("ok"), "{check}: {findings:?}");
    }
}

#[test]
fn a_gpu_that_is_hidden_is_never_used() {
    for (visible, device) in [("4,5", "cuda:2"), ("", "cuda:0"), ("-1", "cuda:1")] {
        let job = job_on("ml.m5.large");
        let mut command = maskmaker();
        command.env("CUDA_VISIBLE_DEVICES", visible);
        let run = job.run_with(command, &["train", "--device", device]);
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        let failure = fs::read_to_string(job.path("output/failure")).unwrap();
        let said = format!("CUDA_VISIBLE_DEVICES is {visible:?}, which does not show GPU");
        assert!(failure.contains(&said), "{failure}");
    }
}
