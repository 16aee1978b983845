//! `maskmaker serve` and `maskmaker predict` as processes.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::time::Duration;

use crate::job::{Job, maskmaker, names};
use image::GenericImageView;

/// A server that is killed when a test ends early.
pub(crate) struct Server {
    process: Child,
    /// `http://HOST:PORT`.
    pub(crate) url: String,
    log: BufReader<std::io::PipeReader>,
}

impl Server {
    /// Serves a job's model on a free port and waits until it is ready.
    pub(crate) fn start(job: &Job) -> Self {
        let mut command = maskmaker();
        command.arg("--ml-root").arg(job.path("")).args(["serve", "--port", "0"]);
        command.args(["--host", "127.0.0.1"]);
        let (read, write) = std::io::pipe().unwrap();
        let process = command.stderr(write).spawn().unwrap();
        drop(command);
        let mut server = Self { process, url: String::new(), log: BufReader::new(read) };
        let mut line = String::new();
        while !line.contains("ready after") {
            line.clear();
            let read = server.log.read_line(&mut line).unwrap();
            assert!(read > 0, "the server ended before it was ready");
            let told: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(address) = told["message"].as_str().unwrap().strip_prefix("listening on ") {
                address.clone_into(&mut server.url);
            }
        }
        server
    }

    /// Posts an image.
    pub(crate) fn post(&self, body: &[u8], content_type: &str) -> (u16, Vec<u8>) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(1)))
            .build()
            .into();
        let request = agent.post(format!("{}/invocations", self.url));
        let mut response = request.header("content-type", content_type).send(body).unwrap();
        let status = response.status().as_u16();
        (status, response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap())
    }

    /// Sends a signal and gives the exit code and the rest of the log.
    fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        let id = self.process.id().to_string();
        let sent = std::process::Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.process.wait().unwrap().code(), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_served_mask_is_what_predict_writes_bit_for_bit() {
    let job = Job::new();
    job.train();
    let server = Server::start(&job);
    let output = job.path("pictures");
    for name in names(&job.path("input/data/validation")) {
        let image = job.file("validation", &name);
        let bytes = fs::read(&image).unwrap();
        let (status, served) = server.post(&bytes, "image/jpeg");
        assert_eq!(status, 200);
        let model = job.path("model");
        let arguments = ["predict", model.to_str().unwrap(), image.to_str().unwrap(), "--output"];
        let run = job.run(&[&arguments[..], &[output.to_str().unwrap()]].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let stem = image.file_stem().unwrap().to_str().unwrap();
        assert!(fs::read(output.join(format!("{stem}.mask.png"))).unwrap() == served);
        let (photo, mask) = (image::load_from_memory(&bytes).unwrap(), decoded(&served));
        assert_eq!(photo.dimensions(), mask.dimensions());
        assert!(mask.as_raw().iter().all(|&id| id < 4));
        assert!(image::open(output.join(format!("{stem}.overlay.png"))).is_ok());
    }
    assert_eq!(server.stop("-TERM").0, Some(0));
}

/// The class ids in a served mask.
pub(crate) fn decoded(png: &[u8]) -> image::GrayImage {
    maskmaker::imaging::decode_mask(png, maskmaker::imaging::DecodeLimits::default()).unwrap()
}

#[test]
fn a_bomb_and_rubbish_are_refused_and_the_server_lives_on() {
    let job = Job::new();
    job.train();
    let server = Server::start(&job);
    // A PNG whose header announces 60000 x 60000 pixels.
    let mut bomb = maskmaker::imaging::encode_png(&image::RgbImage::new(8, 8));
    bomb[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    let checksum = {
        let mut crc = 0xFFFF_FFFFu32;
        for &byte in &bomb[12..29] {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        !crc
    };
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    for (body, content_type, expected) in [
        (&bomb[..], "image/png", 413),
        (b"", "image/png", 400),
        (b"hello", "image/jpeg", 422),
        (b"{}", "application/json", 400),
        (b"hello", "text/plain", 415),
    ] {
        let (status, answer) = server.post(body, content_type);
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(status, expected, "{answer}");
        assert!(answer["error"].as_str().unwrap().len() > 10, "{answer}");
        assert!(!answer["error_type"].as_str().unwrap().is_empty(), "{answer}");
    }
    let good = fs::read(job.first("validation")).unwrap();
    assert_eq!(server.post(&good, "application/x-image").0, 200);
    assert_eq!(server.stop("-INT").0, Some(0));
}

#[test]
fn serve_and_predict_say_what_is_wrong_with_a_model() {
    let job = Job::without_data();
    let run = job.run(&["serve", "--port", "0", "--host", "127.0.0.1"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("holds no model: config.json"), "{}", run.stderr);

    let job = Job::new();
    job.train();
    let config = job.path("model/config.json");
    let text = fs::read_to_string(&config).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["num_classes"] = 3.into();
    json["class_names"] = serde_json::json!(["a", "b", "c"]);
    fs::write(&config, json.to_string()).unwrap();
    let model = job.path("model");
    let image = job.first("validation");
    let run = job.run(&["predict", model.to_str().unwrap(), image.to_str().unwrap()]);
    assert_eq!(run.code, Some(3));
    let said = "the weights are for 4 classes, config.json says num_classes 3";
    assert!(run.stderr.contains(said), "{}", run.stderr);
}

#[test]
fn the_precision_is_a_setting_and_others_than_there_are_are_told() {
    let precise = |precision: &str, words: &[&str]| {
        let mut command = maskmaker();
        command.env("MASKMAKER_PRECISION", precision);
        command.arg("--ml-root").arg(Job::without_data().path("")).args(words);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = precise("fp64", &["serve"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("fp64") && said.contains("auto, fp32, bf16, fp16"), "{said}");
    assert!(said.contains("MASKMAKER_PRECISION"), "{said}");
    let serve = ["serve", "--port", "0", "--host", "127.0.0.1"];
    let (code, said) = precise("bf16", &serve);
    assert_eq!(code, Some(3), "it gets as far as the missing model: {said}");
}

#[test]
fn predict_names_every_image_it_cannot_use_and_does_the_others() {
    let job = Job::new();
    job.train();
    let (model, output) = (job.path("model"), job.path("out"));
    let good = job.first("validation");
    let bad = job.path("bad.jpg");
    fs::write(&bad, "no picture").unwrap();
    let missing = job.path("missing.png");
    let paths = [&model, &bad, &missing, &good].map(|path| path.to_str().unwrap());
    let run =
        job.run(&[&["predict"], &paths[..], &["--output", output.to_str().unwrap()]].concat());
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("bad.jpg: no image that can be read"), "{}", run.stderr);
    assert!(run.stderr.contains("missing.png"), "{}", run.stderr);
    assert_eq!(names(&output).len(), 2);
}
