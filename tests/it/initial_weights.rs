//! Jobs that start from weights: pretrained ones, and the model of an earlier job.

use std::fs;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use maskmaker::model::{Algorithm, Architecture, Backbone, Network, state_dict::StateDict};
use safetensors::SafeTensors;
use tch::Device;

use crate::job::{Job, maskmaker};

const FCN18: Architecture =
    Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet18 };

/// A network that no job with the default seed starts from.
fn network() -> Vec<u8> {
    Network::random(FCN18, 4, 99, Device::Cpu).unwrap().weights.to_safetensors().unwrap()
}

/// The legacy form of `.pth`, which is simple to write, of the backbone by itself.
fn backbone_pth(network: &[u8]) -> Vec<u8> {
    let file = SafeTensors::deserialize(network).unwrap();
    let text =
        |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let int = |number: usize| [b"J", &(number as u32).to_le_bytes()[..]].concat();
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    let (mut keys, mut data) = (b"\x80\x02](".to_vec(), Vec::new());
    for (name, view) in file.iter() {
        let Some(name) = name.strip_prefix("backbone.") else { continue };
        let integer = name.ends_with("num_batches_tracked");
        let storage = if integer { "LongStorage" } else { "FloatStorage" };
        let count: usize = view.shape().iter().product();
        pickle.extend(text(name));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle.extend(text("storage"));
        pickle.extend(format!("ctorch\n{storage}\n").bytes());
        pickle.extend([text(name), text("cpu"), int(count)].concat());
        pickle.extend(b"tQK\x00(");
        view.shape().iter().for_each(|&side| pickle.extend(int(side)));
        pickle.extend(b"t(");
        let mut stride = count;
        for &side in view.shape() {
            stride /= side;
            pickle.extend(int(stride));
        }
        pickle.extend(b"t\x89ccollections\nOrderedDict\n)RtR");
        keys.extend(text(name));
        data.extend((count as u64).to_le_bytes());
        data.extend(view.data());
    }
    let magic =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    [&magic[..], &pickle, b"u.", &keys, b"e.", &data].concat()
}

/// A job whose weights hardly move, so that they tell where they started.
fn job() -> Job {
    Job::new().with("use_pretrained_model", "True").with("learning_rate", "1e-12")
}

fn put(job: &Job, channel: &str, name: &str, bytes: &[u8]) {
    fs::create_dir_all(job.path("input/data").join(channel)).unwrap();
    fs::write(job.file(channel, name), bytes).unwrap();
}

/// The bytes of a tensor in a model.
fn tensor(model: &[u8], name: &str) -> tch::Tensor {
    let file = StateDict::open(model).unwrap();
    file.tensor(file.entry(name).unwrap()).unwrap()
}

fn starts_from(job: &Job, network: &[u8], name: &str) -> bool {
    let model = fs::read(job.path("model/model.safetensors")).unwrap();
    tensor(&model, name).allclose(&tensor(network, name), 1e-6, 1e-6, false)
}

fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

#[test]
fn the_pretrained_channels_resnet_is_where_the_backbone_starts() {
    let (job, network) = (job(), network());
    put(&job, "pretrained", "resnet18-f37072fd.pth", &backbone_pth(&network));
    let run = job.train();
    assert!(
        run.stdout
            .contains("resnet18-f37072fd.pth: 100 tensors of resnet-18; initialized at random"),
        "{}",
        run.stdout
    );
    assert!(starts_from(&job, &network, "backbone.layer4.1.conv2.weight"));
    assert!(!starts_from(&job, &network, "classifier.4.weight"));

    // The same job again knows its weights; with others it is another job.
    job.train();
    put(&job, "pretrained", "resnet18-f37072fd.pth", &network);
    let reason = job.failure();
    assert!(reason.contains("initial weights was pretrained (checksum "), "{reason}");
}

#[test]
fn a_path_in_the_environment_wins_over_the_channel_and_may_be_a_whole_network() {
    let (job, network) = (job(), network());
    put(&job, "pretrained", "resnet18.pth", b"not read");
    let path = job.path("mine.safetensors");
    fs::write(&path, &network).unwrap();
    let mut command = maskmaker();
    command.env("MASKMAKER_PRETRAINED", &path);
    let run = job.run_with(command, &["train"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("mine.safetensors: 100 tensors of resnet-18 and 14 of the heads\n")
    );
    assert!(starts_from(&job, &network, "classifier.4.weight"));
}

#[test]
fn the_images_own_weights_lie_beside_the_program() {
    let (job, network) = (job(), network());
    // On the disk of the build, where the program need not be copied.
    let image = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = |name: &str| image.path().join(name);
    fs::create_dir(folder("bin")).unwrap();
    fs::create_dir(folder("pretrained")).unwrap();
    fs::write(folder("pretrained/resnet18-f37072fd.pth"), backbone_pth(&network)).unwrap();
    fs::hard_link(maskmaker().get_program(), folder("bin/maskmaker")).unwrap();
    let mut command = std::process::Command::new(folder("bin/maskmaker"));
    command.env("OMP_NUM_THREADS", "1").env("MASKMAKER_PRETRAINED", "");
    let run = job.run_with(command, &["train"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("/pretrained/resnet18-f37072fd.pth: 100 tensors"),
        "{}",
        run.stdout
    );
}

#[test]
fn without_weights_the_job_fails_and_says_how_to_give_or_do_without_them() {
    let reason = Job::new().with("use_pretrained_model", "True").failure();
    for part in
        ["a channel named pretrained", "MASKMAKER_PRETRAINED", "set use_pretrained_model to False"]
    {
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn weights_that_do_not_fit_and_wrong_data_are_told_together() {
    let job = job().with("backbone", "resnet-34");
    put(&job, "pretrained", "mine.pth", &network());
    fs::remove_file(job.first("train_annotation")).unwrap();
    let reason = job.failure();
    assert!(
        reason.contains("the job's backbone is resnet-34; set backbone to resnet-18"),
        "{reason}"
    );
    assert!(reason.contains("1 image without a mask"), "{reason}");
}

#[test]
fn a_job_goes_on_from_the_artifact_of_an_earlier_one() {
    let first = Job::new().with("class_names", "background,disc,box,triangle");
    first.train();
    let read = |name: &str| fs::read(first.path("model").join(name)).unwrap();
    // The whole artifact.
    let files = [
        "config.json",
        "metrics.json",
        "model.safetensors",
        "model.pt",
        "labels.json",
        "README.md",
    ];
    let files = files.map(|name| (name, read(name)));
    let files = files.each_ref().map(|(name, bytes)| (*name, &bytes[..]));

    let archive = job();
    put(&archive, "model", "model.tar.gz", &packed(&files));
    let run = archive.train();
    assert!(run.stdout.contains("model/model.tar.gz: all 136 tensors"), "{}", run.stdout);
    assert!(run.stderr.contains("the model channel wins: use_pretrained_model"), "{}", run.stderr);
    assert!(starts_from(&archive, files[2].1, "classifier.4.weight"));
    let config = fs::read_to_string(archive.path("model/config.json")).unwrap();
    assert!(config.contains("triangle"), "the classes keep their names: {config}");

    let unpacked = job();
    for (name, bytes) in files {
        put(&unpacked, "model", name, bytes);
    }
    unpacked.train();
    let model = |job: &Job| fs::read(job.path("model/model.safetensors")).unwrap();
    assert!(model(&unpacked) == model(&archive), "packed or not is all the same");
}

#[test]
fn a_model_of_another_network_or_of_the_built_in_is_refused() {
    let config = r#"{"format_version": 1, "maskmaker_version": "0.1.0", "algorithm": "psp",
        "backbone": "resnet-50", "num_classes": 2, "class_names": ["a", "b"],
        "mean": [0.485, 0.456, 0.406], "deviation": [0.229, 0.224, 0.225]}"#;
    let other = job();
    put(&other, "model", "config.json", config.as_bytes());
    put(&other, "model", "model.safetensors", b"x");
    let reason = other.failure();
    for part in ["algorithm psp", "backbone resnet-50", "num_classes 2, the job's num_classes is 4"]
    {
        assert!(reason.contains(part), "{reason}");
    }
    let built_in = job();
    let files: [(&str, &[u8]); 3] =
        [("model_algo-1", b"x"), ("model_best.params", b"x"), ("hyperparams.json", b"{}")];
    put(&built_in, "model", "model.tar.gz", &packed(&files));
    let reason = built_in.failure();
    assert!(reason.contains("a model of Amazon's built-in algorithm (model_algo-1)"), "{reason}");
    let cut = job();
    put(&cut, "model", "model.tar.gz", &packed(&files)[..60]);
    let reason = cut.failure();
    assert!(reason.contains("model.tar.gz: not a whole .tar.gz: it is cut short"), "{reason}");
    assert!(!Path::new("model_algo-1").exists());
}
