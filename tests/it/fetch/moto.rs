//! S3 and Secrets Manager, as moto's server plays them. `make test-aws` starts it and runs these.

use std::fs;

use serde_json::json;

use super::fake_label_studio::{FakeLabelStudio, PERSONAL_TOKEN};
use super::*;

/// The address of moto's server.
fn moto() -> String {
    std::env::var("MASKMAKER_TEST_S3").expect("run these by `make test-aws`")
}

/// The header of a signature, which moto does not check here.
fn signature(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, \
         Signature=any"
    )
}

fn put(path: &str, bytes: &[u8]) {
    // Without any signature objects that are there may not be changed.
    let request = ureq::put(format!("{}/{path}", moto())).header("authorization", &signature("s3"));
    request.send(bytes).unwrap();
}

/// Runs `fetch` with a key and a secret that moto takes.
fn fetch(output: &Output, arguments: &[&str]) -> Run {
    let mut command = output.command(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("HOME", output.0.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL", moto())
        .env_remove("LABEL_STUDIO_API_KEY");
    Run::new(&command.output().unwrap())
}

#[test]
#[ignore = "needs moto: make test-aws"]
fn a_prefix_is_fetched_as_it_lies_and_changed_objects_again() {
    put("fetch-prefix", b"");
    for (key, content) in [
        ("data/images/a b.png", "one"),
        ("data/images/sub/ü.png", "two"),
        ("data/annotations/x.json", "[]"),
        ("data2/other.png", "not wanted"),
    ] {
        put(
            &format!("fetch-prefix/{}", key.replace(' ', "%20").replace('ü', "%C3%BC")),
            content.as_bytes(),
        );
    }
    let output = Output::new();
    // Without its slash the name of a folder is also the beginning of another one.
    let run = fetch(&output, &["s3://fetch-prefix/data"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.starts_with("3 files fetched"), "{}", run.stdout);
    let expected = ["annotations/x.json", "images/a b.png", "images/sub/ü.png"];
    assert_eq!(output.files(""), expected);
    put("fetch-prefix/data/images/a%20b.png", b"another");
    let run = fetch(&output, &["s3://fetch-prefix/data/"]);
    assert!(run.stdout.starts_with("1 file fetched (0.0 MB), 2 there already"), "{}", run.stdout);
    assert_eq!(fs::read(output.path("images/a b.png")).unwrap(), b"another");
    let nothing = fetch(&output, &["s3://fetch-prefix/nothing/"]);
    assert!(
        nothing.stderr.contains("s3://fetch-prefix/nothing/: there are no objects"),
        "{}",
        nothing.stderr
    );
    let gone = fetch(&output, &["s3://no-such-bucket-here/data/"]);
    assert_eq!(gone.code, Some(3));
    assert!(gone.stderr.contains("there is no such bucket"), "{}", gone.stderr);
}

#[test]
#[ignore = "needs moto: make test-aws"]
fn a_manifest_is_fetched_with_its_images_and_masks() {
    put("fetch-manifest", b"");
    let line = |name: &str| {
        json!({
            "source-ref": format!("s3://fetch-manifest/raw/{name}.jpg"),
            "job-ref": format!("s3://fetch-manifest/job/annotations/{name}.png"),
            "job-ref-metadata": {"type": "groundtruth/semantic-segmentation"},
        })
        .to_string()
    };
    let manifest = [line("a"), line("b"), "no JSON".to_owned()].join("\n");
    put("fetch-manifest/job/manifests/output/output.manifest", manifest.as_bytes());
    for key in ["raw/a.jpg", "raw/b.jpg", "job/annotations/a.png"] {
        put(&format!("fetch-manifest/{key}"), key.as_bytes());
    }
    let output = Output::new();
    let run = fetch(&output, &["s3://fetch-manifest/job/manifests/output/output.manifest"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stdout.starts_with("3 files fetched (0.0 MB), 0 there already, 1 missing"),
        "{}",
        run.stdout
    );
    assert!(
        run.stderr.contains("missing: s3://fetch-manifest/job/annotations/b.png"),
        "{}",
        run.stderr
    );
    assert_eq!(
        output.files(""),
        [
            "annotations/fetch-manifest/job/annotations/a.png",
            "annotations/fetch-manifest/job/manifests/output/output.manifest",
            "images/fetch-manifest/raw/a.jpg",
            "images/fetch-manifest/raw/b.jpg",
        ]
    );
}

#[test]
#[ignore = "needs moto: make test-aws"]
fn the_token_for_label_studio_may_be_a_secret() {
    let server = FakeLabelStudio::start();
    let create = |name: &str, text: &str| {
        let request = ureq::post(moto())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "secretsmanager.CreateSecret")
            .header("authorization", &signature("secretsmanager"));
        request.send(json!({"Name": name, "SecretString": text}).to_string()).unwrap();
    };
    create("label-studio", PERSONAL_TOKEN);
    create("label-studio-key", &json!({"LABEL_STUDIO_API_KEY": PERSONAL_TOKEN}).to_string());
    create("label-studio-bad", "no token");
    for secret in ["label-studio", "label-studio-key"] {
        let output = Output::new();
        let run = fetch(
            &output,
            &["--label-studio", &server.url(), "--project", "1", "--token-secret", secret],
        );
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stdout.starts_with("7 files fetched"), "{}", run.stdout);
    }
    for (secret, expected) in [
        (
            "label-studio-bad",
            "the secret label-studio-bad has 8 characters and is no token of Label Studio",
        ),
        ("label-studio-gone", "label-studio-gone"),
    ] {
        let output = Output::new();
        let run = fetch(
            &output,
            &["--label-studio", &server.url(), "--project", "1", "--token-secret", secret],
        );
        assert_eq!(run.code, Some(3));
        assert!(run.stderr.contains(expected), "{}", run.stderr);
    }
}
