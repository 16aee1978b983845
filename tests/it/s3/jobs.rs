//! Jobs whose data and weights are objects of a server on loopback.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use maskmaker::model::{Algorithm, Architecture, Backbone, Network};
use tch::Device;

use super::fake::{Act, FakeS3};
use crate::job::{Job, Run, maskmaker, names};

/// The program with an S3 of its own, and without this machine's credentials.
pub(super) fn program(job: &Job, endpoint: &str) -> Command {
    let mut command = maskmaker();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    let home = job.path("home");
    fs::create_dir_all(&home).unwrap();
    fs::create_dir_all(job.path("tmp")).unwrap();
    command
        .env("HOME", home)
        .env("TMPDIR", job.path("tmp"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_ENDPOINT_URL_S3", endpoint);
    command
}

/// Moves the data of a job into objects: `put` gets each one's name in the bucket with its bytes.
/// The channels become manifests with the same order.
pub(super) fn into_objects(job: &Job, bucket: &str, mut put: impl FnMut(&str, Vec<u8>)) {
    let data = job.path("input/data");
    for split in ["train", "validation"] {
        let annotation = format!("{split}_annotation");
        let images = names(&data.join(split));
        let mut lines = String::new();
        for (image, mask) in images.iter().zip(names(&data.join(&annotation))) {
            let (image, mask) = (format!("{split}/{image}"), format!("{annotation}/{mask}"));
            for name in [&image, &mask] {
                put(name, fs::read(data.join(name)).unwrap());
            }
            let line = serde_json::json!({"source-ref": format!("s3://{bucket}/{image}"),
                "labels-ref": format!("s3://{bucket}/{mask}")});
            lines += &line.to_string();
            lines.push('\n');
        }
        fs::remove_dir_all(data.join(split)).unwrap();
        fs::remove_dir_all(data.join(&annotation)).unwrap();
        fs::create_dir(data.join(split)).unwrap();
        fs::write(job.file(split, "output.manifest"), lines).unwrap();
    }
}

/// A job whose data are in the bucket `data`.
fn job(s3: &FakeS3) -> Job {
    let job = Job::new();
    into_objects(&job, "data", |name, bytes| s3.put(&format!("data/{name}"), bytes));
    job
}

pub(super) fn model(job: &Job) -> Vec<u8> {
    fs::read(job.path("model/model.safetensors")).unwrap()
}

pub(super) fn reason(job: &Job, run: &Run) -> String {
    assert_eq!(run.code, Some(3), "{}{}", run.stdout, run.stderr);
    assert!(!job.path("model/model.safetensors").exists());
    assert_eq!(names(&job.path("tmp")), [""; 0], "temporary files are gone");
    fs::read_to_string(job.path("output/failure")).unwrap()
}

#[test]
fn objects_train_to_the_weights_of_folders_whether_they_fit_on_disk_or_not() {
    let folders = Job::new().with("epochs", "2");
    folders.train();
    let s3 = FakeS3::start();
    for (cache, said, requests) in [
        (None, "16 objects (0.000 GB) fetched from S3", 16),
        // For the audit, twice for training and validation; and one before that was found out.
        (
            Some("0"),
            "warning: 16 of 16 objects do not fit on disk within MASKMAKER_S3_CACHE_SIZE",
            48,
        ),
    ] {
        let job = job(&s3).with("epochs", "2");
        // Both splits, now and then.
        s3.acts("data/train/00001.jpg", [Act::Cut(100)]);
        let before = s3.requests().len();
        let mut command = program(&job, &s3.url());
        command.envs(cache.map(|size| ("MASKMAKER_S3_CACHE_SIZE", size)));
        let run = job.run_with(command, &["train"]);
        assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
        assert!(
            run.stdout.contains(said) || run.stderr.contains(said),
            "{}{}",
            run.stdout,
            run.stderr
        );
        assert!(model(&job) == model(&folders), "the weights are the same bit for bit");
        let asked = s3.requests().len() - before;
        assert!(asked >= requests && (cache.is_some() || asked <= 17), "{asked}");
        assert_eq!(names(&job.path("tmp")), [""; 0], "temporary files are gone");
    }
}

#[test]
fn objects_that_cannot_be_read_are_listed_with_their_lines_before_the_first_step() {
    let s3 = FakeS3::start();
    let job = job(&s3);
    let manifest = job.file("train", "output.manifest");
    let text = fs::read_to_string(&manifest).unwrap();
    let text = text.replacen("data/train/", "data/gone/", 1).replacen("data/train/", "other/", 1);
    fs::write(&manifest, text).unwrap();
    let mask = names_in(&s3, "data/train_annotation/").remove(2);
    s3.acts(&mask, [Act::Refuse(403, "AccessDenied")]);
    let reason = reason(&job, &job.run_with(program(&job, &s3.url()), &["train"]));
    for part in [
        "3 objects cannot be read: train/output.manifest line 1: s3://data/gone/",
        "there is no such object, train/output.manifest line 2: s3://other/",
        "there is no such bucket, train/output.manifest line 3: s3://data/train_annotation/",
        "access denied (it is AccessDenied)",
        "the role needs s3:GetObject on arn:aws:s3:::data/*",
        "look at the key",
    ] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
}

/// The objects of a fake S3 below a prefix.
fn names_in(s3: &FakeS3, prefix: &str) -> Vec<String> {
    let mut names = s3.names();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names
}

#[test]
fn every_line_of_both_manifests_is_checked_before_anything_is_fetched() {
    let s3 = FakeS3::start();
    let job = job(&s3);
    for split in ["train", "validation"] {
        let file = job.file(split, "output.manifest");
        let text = fs::read_to_string(&file).unwrap();
        let line = r#"{"source-ref": "s3://Data/a.jpg", "labels-ref": "s3://data/a.png"}"#;
        fs::write(&file, format!("{text}{line}\n")).unwrap();
    }
    let reason = reason(&job, &job.run_with(program(&job, &s3.url()), &["train"]));
    assert!(reason.contains("line 7 has source-ref s3://Data/a.jpg, which names the"), "{reason}");
    assert!(reason.contains("line 3 has source-ref s3://Data/a.jpg, which names the"), "{reason}");
    assert_eq!(s3.requests(), [""; 0]);
}

#[test]
fn objects_are_audited_like_files_and_named_by_line_and_uri() {
    let s3 = FakeS3::start();
    let job = job(&s3);
    let image = names_in(&s3, "data/train/").remove(1);
    s3.put(&image, "no image");
    let reason = reason(&job, &job.run_with(program(&job, &s3.url()), &["train"]));
    assert!(
        reason.contains(&format!("line 2: s3://{image}: no image that can be read")),
        "{reason}"
    );
}

#[test]
fn without_credentials_a_region_or_a_way_to_s3_a_job_says_what_to_do() {
    let s3 = FakeS3::start();
    let job = job(&s3);
    let said = |command: Command| reason(&job, &job.run_with(command, &["train"]));
    let mut without = program(&job, &s3.url());
    without.env_remove("AWS_ACCESS_KEY_ID");
    let text = said(without);
    assert!(text.starts_with("there are no AWS credentials ("), "{text}");
    assert!(text.contains("EnableNetworkIsolation"), "{text}");

    let mut without = program(&job, &s3.url());
    without.env_remove("AWS_ENDPOINT_URL_S3");
    assert!(said(without).starts_with("there is no AWS region; "));

    let text = said(program(&job, "http://127.0.0.1:9"));
    assert!(text.contains("http://127.0.0.1:9 cannot be reached: "), "{text}");
    assert!(text.contains("gateway endpoint"), "{text}");

    s3.always(Act::Silent);
    let mut impatient = program(&job, &s3.url());
    impatient.env("MASKMAKER_S3_TIMEOUT", "1").env("AWS_MAX_ATTEMPTS", "2");
    let text = said(impatient);
    assert!(text.contains("did not answer in time"), "{text}");
}

#[test]
fn a_job_that_is_asked_to_stop_while_it_fetches_ends_at_once_and_without_a_failure() {
    let s3 = FakeS3::start();
    let job = job(&s3);
    s3.always(Act::Silent);
    job.configure();
    let mut command = program(&job, &s3.url());
    command.arg("--ml-root").arg(job.path("")).arg("train").env("MASKMAKER_S3_TIMEOUT", "3600");
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    s3.wait_for_a_request();
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let run = Run::new(&process.wait_with_output().unwrap());
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("asked to stop before the first step"), "{}", run.stdout);
    assert!(!job.path("output/failure").exists());
    assert_eq!(names(&job.path("tmp")), [""; 0]);
}

#[test]
fn a_stop_while_a_batch_is_fetched_leaves_a_checkpoint_that_the_job_goes_on_from() {
    let whole = Job::new().with("epochs", "6");
    whole.train();
    let s3 = FakeS3::start();
    let job = job(&s3).with("epochs", "6");
    job.configure();
    let start = || {
        let mut command = program(&job, &s3.url());
        command.env("MASKMAKER_S3_CACHE_SIZE", "0").env("MASKMAKER_S3_TIMEOUT", "3600");
        command.arg("--ml-root").arg(job.path("")).arg("train");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // 1 to 16 objects are fetched ahead, 16 for the audit, and 20 in each epoch: then, in the
    // second or third of six, nothing more comes.
    s3.silent_after(16 + 16 + 32);
    let process = start();
    s3.wait_for_silence();
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let run = Run::new(&process.wait_with_output().unwrap());
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(!job.path("output/failure").exists());
    s3.silent_after(usize::MAX);
    let run = Run::new(&start().wait_with_output().unwrap());
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("going on from the checkpoint"), "{}", run.stdout);
    assert!(model(&job) == model(&whole), "the weights are the same bit for bit");
}

/// A network that no job with the default seed starts from.
pub(super) fn network() -> Vec<u8> {
    let kind = Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet18 };
    Network::random(kind, 4, 99, Device::Cpu).unwrap().weights.to_safetensors().unwrap()
}

/// What a job writes that starts from weights at `pretrained`.
pub(super) fn trained_from(endpoint: &str, pretrained: &str) -> (Vec<u8>, Run) {
    let job = Job::new().with("use_pretrained_model", "True");
    let mut command = program(&job, endpoint);
    command.env("MASKMAKER_PRETRAINED", pretrained);
    let run = job.run_with(command, &["train"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert_eq!(names(&job.path("tmp")), [""; 0], "temporary files are gone");
    (model(&job), run)
}

/// The same with the weights in a file.
pub(super) fn trained_from_a_file(weights: &[u8], folder: &Path) -> Vec<u8> {
    let path = folder.join("weights.safetensors");
    fs::write(&path, weights).unwrap();
    trained_from("http://127.0.0.1:9", path.to_str().unwrap()).0
}

#[test]
fn weights_are_fetched_by_the_uri_of_a_file_or_of_a_folder_with_one_for_the_backbone() {
    let s3 = FakeS3::start();
    let (folder, weights) = (tempfile::tempdir().unwrap(), network());
    s3.put("models/resnet/resnet18-f37072fd.safetensors", weights.clone());
    s3.put("models/resnet/resnet50-0676ba61.pth", "not read");
    s3.put("models/resnet/deeper/resnet18.pth", "not read");
    let expected = trained_from_a_file(&weights, folder.path());
    for uri in ["s3://models/resnet/resnet18-f37072fd.safetensors", "s3://models/resnet/"] {
        let (model, run) = trained_from(&s3.url(), uri);
        assert!(model == expected, "{uri}: the weights are the same bit for bit");
        let said = "starting from s3://models/resnet/resnet18-f37072fd.safetensors: ";
        assert!(run.stdout.contains(said), "{}", run.stdout);
    }
}

#[test]
fn weights_that_cannot_be_fetched_are_told_with_the_variable_and_the_fix() {
    let s3 = FakeS3::start();
    s3.put("models/a/resnet50.pth", "x");
    s3.put("models/b/resnet18.pth", "no weights");
    s3.put("models/c/resnet18-a.pth", "x");
    s3.put("models/c/resnet18-b.pth", "x");
    for (uri, said) in [
        (
            "s3://models/none.pth",
            "MASKMAKER_PRETRAINED: s3://models/none.pth: there is no such obj",
        ),
        ("s3://models/a/", "s3://models/a/ holds no weights for resnet-18: expected resnet18*.pth"),
        ("s3://models/c/", "resnet18-a.pth, resnet18-b.pth; keep one"),
        ("s3://models/b/resnet18.pth", "s3://models/b/resnet18.pth: "),
        ("s3://M/x", "MASKMAKER_PRETRAINED: s3://M/x names the bucket \"M\""),
        ("https://host/x.pth", "allowed: a file, a folder, s3://BUCKET/KEY"),
    ] {
        let job = Job::new().with("use_pretrained_model", "True");
        let mut command = program(&job, &s3.url());
        command.env("MASKMAKER_PRETRAINED", uri);
        let text = reason(&job, &job.run_with(command, &["train"]));
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn a_job_without_references_to_s3_asks_it_nothing() {
    let s3 = FakeS3::start();
    let job = Job::new();
    let mut command = program(&job, &s3.url());
    // Not used: use_pretrained_model is False.
    command.env("MASKMAKER_PRETRAINED", "s3://models/resnet18.pth");
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", s3.url());
    let run = job.run_with(command, &["train"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert_eq!(s3.requests(), [""; 0]);
}
