//! The same against moto's S3, which checks signatures and permissions. `make test-aws` starts two
//! of its servers and runs these; their addresses are in the environment.

use std::fs;

use super::jobs::{
    into_objects, model, network, program, reason, trained_from, trained_from_a_file,
};
use crate::job::{Job, Run};

/// A moto server by the variable that has its address.
struct Moto(String);

impl Moto {
    fn of(variable: &str) -> Self {
        let url = std::env::var(variable);
        Self(url.unwrap_or_else(|_| panic!("{variable} is not set: run these by `make test-aws`")))
    }

    /// Everything is allowed.
    fn open() -> Self {
        Self::of("MASKMAKER_TEST_S3")
    }

    /// Requests without a signature are taken, as long as permissions are not enforced.
    fn put(&self, path: &str, bytes: &[u8]) {
        ureq::put(format!("{}/{path}", self.0)).send(bytes).unwrap();
    }

    /// A job whose data are in a new bucket.
    fn job(&self, bucket: &str) -> Job {
        let job = Job::new();
        self.put(bucket, b"");
        into_objects(&job, bucket, |name, bytes| self.put(&format!("{bucket}/{name}"), &bytes));
        job
    }

    fn run(&self, job: &Job, environment: &[(&str, &str)]) -> Run {
        let mut command = program(job, &self.0);
        command.envs(environment.iter().copied());
        job.run_with(command, &["train"])
    }

    /// Asks the service of users and keys, and gives its answer.
    fn iam(&self, form: &str) -> String {
        let request =
            ureq::post(&self.0).header("content-type", "application/x-www-form-urlencoded").header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/iam/aws4_request, \
                 SignedHeaders=host, Signature=any",
            );
        let mut answer = request.send(form).unwrap();
        answer.body_mut().read_to_string().unwrap()
    }
}

/// Returns the text between the tags of an answer.
fn element<'a>(text: &'a str, tag: &str) -> &'a str {
    let found = text.split(&format!("<{tag}>")).nth(1).and_then(|rest| rest.split('<').next());
    found.unwrap_or_else(|| panic!("{tag}: {text}"))
}

#[test]
#[ignore = "needs moto: make test-aws"]
fn moto_objects_train_to_the_weights_of_folders() {
    let folders = Job::new();
    folders.train();
    let moto = Moto::open();
    let job = moto.job("as-folders");
    let run = moto.run(&job, &[]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("16 objects (0.000 GB) fetched from S3"), "{}", run.stdout);
    assert!(model(&job) == model(&folders), "the weights are the same bit for bit");
}

#[test]
#[ignore = "needs moto: make test-aws"]
fn moto_objects_without_room_on_disk_train_to_the_same_weights() {
    let folders = Job::new();
    folders.train();
    let moto = Moto::open();
    let job = moto.job("without-room");
    let run = moto.run(&job, &[("MASKMAKER_S3_CACHE_SIZE", "0")]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("16 of 16 objects do not fit on disk"), "{}", run.stderr);
    assert!(model(&job) == model(&folders), "the weights are the same bit for bit");
}

#[test]
#[ignore = "needs moto: make test-aws"]
fn motos_missing_keys_and_buckets_are_named_by_line() {
    let moto = Moto::open();
    let job = moto.job("with-gaps");
    let manifest = job.file("train", "output.manifest");
    let text = fs::read_to_string(&manifest).unwrap();
    let text = text.replacen("with-gaps/train/", "with-gaps/gone/", 1);
    let text = text.replacen("with-gaps/train/", "no-such-bucket/", 1);
    fs::write(&manifest, text).unwrap();
    let reason = reason(&job, &moto.run(&job, &[]));
    for part in [
        "2 objects cannot be read: train/output.manifest line 1: s3://with-gaps/gone/",
        "there is no such object, train/output.manifest line 2: s3://no-such-bucket/",
        "there is no such bucket",
    ] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
}

#[test]
#[ignore = "needs moto: make test-aws"]
fn moto_weights_are_fetched_from_a_file_and_from_a_folder() {
    let moto = Moto::open();
    let (folder, weights) = (tempfile::tempdir().unwrap(), network());
    moto.put("weights", b"");
    moto.put("weights/resnet/resnet18-f37072fd.safetensors", &weights);
    moto.put("weights/resnet/resnet50-0676ba61.pth", b"not read");
    let expected = trained_from_a_file(&weights, folder.path());
    for uri in ["s3://weights/resnet/resnet18-f37072fd.safetensors", "s3://weights/resnet/"] {
        let (model, _) = trained_from(&moto.0, uri);
        assert!(model == expected, "{uri}: the weights are the same bit for bit");
    }
}

#[test]
#[ignore = "needs moto: make test-aws"]
fn moto_refuses_foreign_credentials_and_roles_without_the_permission() {
    let moto = Moto::of("MASKMAKER_TEST_S3_IAM");
    let job = moto.job("guarded");
    moto.iam("Action=CreateUser&UserName=nobody&Version=2010-05-08");
    let answer = moto.iam("Action=CreateAccessKey&UserName=nobody&Version=2010-05-08");
    let (id, secret) = (element(&answer, "AccessKeyId"), element(&answer, "SecretAccessKey"));
    // From now on every request needs a permission.
    let enforce = ureq::post(format!("{}/moto-api/reset-auth", moto.0));
    enforce.header("content-type", "text/plain").send("0").unwrap();

    let text = reason(&job, &moto.run(&job, &[]));
    assert!(text.contains("S3 does not take the credentials (InvalidAccessKeyId"), "{text}");
    assert!(text.contains("AWS_ACCESS_KEY_ID"), "{text}");
    let wrong = [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", "wrong")];
    let text = reason(&job, &moto.run(&job, &wrong));
    assert!(text.contains("S3 does not take the credentials (SignatureDoesNotMatch"), "{text}");
    let denied = [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)];
    let text = reason(&job, &moto.run(&job, &denied));
    assert!(text.contains("access denied (") && text.contains("s3:GetObject on arn:"), "{text}");
}
