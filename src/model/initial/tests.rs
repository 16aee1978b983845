use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tch::{Kind, Tensor};

use super::*;
use crate::model::artifact::{self, ModelConfig};
use crate::model::weights::tensor_bytes;
use crate::model::{Algorithm, Architecture, Backbone};

const FCN18: Architecture =
    Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet18 };
const DEEPLAB18: Architecture =
    Architecture { algorithm: Algorithm::Deeplab, backbone: Backbone::Resnet18 };

type NamedTensors = Vec<(String, Tensor)>;

fn network(architecture: Architecture, classes: usize) -> Network {
    Network::random(architecture, classes, 7, Device::Cpu).unwrap()
}

/// Returns the tensors of a random network under changed names; those without a name are left out.
fn tensors(
    architecture: Architecture,
    classes: usize,
    rename: impl Fn(&str) -> Option<String>,
) -> NamedTensors {
    let named = network(architecture, classes).weights.named_tensors().unwrap();
    named.into_iter().filter_map(|(name, tensor)| Some((rename(&name)?, tensor))).collect()
}

/// Returns a ResNet under torchvision's names, with the layer for ImageNet's classes.
fn resnet18() -> NamedTensors {
    let mut named = tensors(FCN18, 2, |name| name.strip_prefix("backbone.").map(str::to_owned));
    named.push(("fc.weight".to_owned(), Tensor::zeros([1000, 512], (Kind::Float, Device::Cpu))));
    named
}

fn serialize_tensors(named: &NamedTensors) -> Vec<u8> {
    let dtype = |tensor: &Tensor| match tensor.kind() {
        Kind::Int64 => Dtype::I64,
        Kind::Int => Dtype::I32,
        Kind::Half => Dtype::F16,
        Kind::Double => Dtype::F64,
        _ => Dtype::F32,
    };
    let pieces: Vec<_> = named
        .iter()
        .map(|(name, tensor)| (name, dtype(tensor), tensor.size(), tensor_bytes(tensor).unwrap()))
        .collect();
    let views = pieces.iter().map(|(name, dtype, shape, bytes)| {
        let shape = shape.iter().map(|&side| side as usize).collect();
        (name.as_str(), TensorView::new(*dtype, shape, bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn change_tensor(named: &mut NamedTensors, name: &str, change: impl Fn(&Tensor) -> Tensor) {
    let (_, tensor) = named.iter_mut().find(|(own, _)| own == name).unwrap();
    *tensor = change(tensor);
}

/// Writes a file to a folder of its own, and returns the network that a job starts from with it.
fn start_from_bytes(
    architecture: Architecture,
    classes: usize,
    bytes: &[u8],
) -> Result<(Network, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    std::fs::write(&path, bytes).unwrap();
    let places = PretrainedLocations { explicit: Some(path), ..PretrainedLocations::default() };
    let wanted = InitialWeightsRequest {
        architecture,
        classes,
        pretrained: true,
        model_channel: None,
        locations: &places,
    };
    InitialWeights::find(&wanted)?.into_network(1, Device::Cpu)
}

fn failure(architecture: Architecture, bytes: &[u8]) -> String {
    start_from_bytes(architecture, 4, bytes).unwrap_err().to_string()
}

/// Returns true if a tensor is equal in two networks.
fn is_copied(network: &Network, like: &Network, name: &str) -> bool {
    let (module, leaf) = name.rsplit_once('.').unwrap();
    network.weights.get(module, leaf).unwrap().equal(like.weights.get(module, leaf).unwrap())
}

#[test]
fn a_resnet_of_torchvision_becomes_the_backbone_and_the_heads_stay_random() {
    let (started, said) = start_from_bytes(FCN18, 4, &serialize_tensors(&resnet18())).unwrap();
    assert!(
        said.ends_with(
            "weights.pth: 100 tensors of resnet-18; initialized at random: classifier (not in the \
             file), aux_classifier (not in the file)"
        ),
        "{said}"
    );
    let like = network(FCN18, 4);
    assert!(is_copied(&started, &like, "backbone.layer4.1.bn2.weight"));
    assert!(is_copied(&started, &like, "backbone.conv1.weight"));
    assert!(!is_copied(&started, &like, "classifier.0.weight"));
    let random = Network::random(FCN18, 4, 1, Device::Cpu).unwrap();
    assert!(is_copied(&started, &random, "classifier.0.weight"), "as the seed has it");
}

#[test]
fn names_of_parallel_training_other_float_types_and_old_files_are_fine() {
    let mut named = resnet18();
    named.retain(|(name, _)| !name.ends_with("num_batches_tracked"));
    for (name, _) in &mut named {
        name.insert_str(0, "module.");
    }
    change_tensor(&mut named, "module.conv1.weight", |tensor| tensor.to_kind(Kind::Half));
    change_tensor(&mut named, "module.bn1.weight", |tensor| tensor.to_kind(Kind::Double));
    let (started, _) = start_from_bytes(FCN18, 4, &serialize_tensors(&named)).unwrap();
    let conv = started.weights.get("backbone.conv1", "weight").unwrap();
    let like = network(FCN18, 4);
    let exact = like.weights.get("backbone.conv1", "weight").unwrap();
    assert_eq!(conv.kind(), Kind::Float);
    assert!(conv.equal(&exact.to_kind(Kind::Half).to_kind(Kind::Float)));
    assert!(is_copied(&started, &like, "backbone.bn1.weight"));
}

/// Returns the tensors under names with a prefix.
fn prefixed(named: NamedTensors, prefix: &str) -> NamedTensors {
    named.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
}

#[test]
fn any_prefix_behind_which_a_whole_backbone_lies_is_left_out_and_told() {
    let like = network(FCN18, 4);
    for prefix in [
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "model.",
        "encoder.",
        "backbone.body.",
        "a.b.c.",
    ] {
        let named = prefixed(resnet18(), prefix);
        let (started, said) = start_from_bytes(FCN18, 4, &serialize_tensors(&named)).unwrap();
        let note = format!("resnet-18; the prefix {prefix} of their names is left out; init");
        assert!(said.contains(&note), "{said}");
        assert!(is_copied(&started, &like, "backbone.layer3.0.downsample.0.weight"));
    }

    // Whole networks keep their heads, and what lies beside them is told.
    let all = |name: &str| Some(format!("model.{name}"));
    let mut named = tensors(FCN18, 4, all);
    named.push(("n_averaged".to_owned(), Tensor::from(5_i64)));
    named.push(("model.loss.weight".to_owned(), Tensor::from(5_f32)));
    let (started, said) = start_from_bytes(FCN18, 4, &serialize_tensors(&named)).unwrap();
    assert!(
        said.contains("100 tensors of resnet-18 and 14 of the heads; the prefix model. "),
        "{said}"
    );
    assert!(said.ends_with("; 2 tensors with other names are not used"), "{said}");
    assert!(is_copied(&started, &like, "classifier.0.weight"));
}

#[test]
fn of_two_networks_an_average_is_taken_and_others_cannot_be_chosen_from() {
    let zeros: NamedTensors =
        resnet18().into_iter().map(|(name, tensor)| (name, tensor.zeros_like())).collect();
    let two = |first: &str, second: &str| {
        let mut named = prefixed(resnet18(), first);
        named.extend(prefixed(
            zeros.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect(),
            second,
        ));
        start_from_bytes(FCN18, 4, &serialize_tensors(&named))
    };
    let (started, said) = two("model_ema.", "model.").unwrap();
    assert!(said.contains("the prefix model_ema. of their names"), "{said}");
    assert!(is_copied(&started, &network(FCN18, 4), "backbone.conv1.weight"));
    let said = two("query.", "key.").unwrap_err().to_string();
    assert!(
        said.contains("2 networks, which begin with key.conv1.weight, query.conv1.weight"),
        "{said}"
    );
}

#[test]
fn weights_of_another_backbone_or_other_names_behind_a_prefix_are_one_sentence() {
    let named = prefixed(resnet18(), "_orig_mod.");
    let resnet50 = Architecture { backbone: Backbone::Resnet50, ..FCN18 };
    let said = failure(resnet50, &serialize_tensors(&named));
    assert!(said.contains("are for backbone resnet-18") && !said.contains('\n'), "{said}");

    let renamed: NamedTensors = resnet18()
        .into_iter()
        .map(|(name, tensor)| (format!("stages.{}", name.replace("conv", "c")), tensor))
        .collect();
    let said = failure(FCN18, &serialize_tensors(&renamed));
    assert!(said.contains("are not those of resnet-18: 100 are missing (conv1.weight, "), "{said}");
    assert!(said.contains("and 97 more") && said.contains("behind any one prefix"), "{said}");
    assert!(!said.contains('\n') && said.len() < 600, "{said}");

    // A part is missing behind a prefix: the prefix is named.
    let mut part = prefixed(resnet18(), "net.");
    part.retain(|(name, _)| !name.contains("layer4"));
    let said = failure(FCN18, &serialize_tensors(&part));
    assert!(said.contains("the tensors behind the prefix net. are not"), "{said}");
}

#[test]
fn of_a_whole_network_all_is_taken_but_a_layer_for_other_classes() {
    let all = |name: &str| Some(name.to_owned());
    let (started, said) =
        start_from_bytes(FCN18, 4, &serialize_tensors(&tensors(FCN18, 21, all))).unwrap();
    assert!(
        said.contains(
            "100 tensors of resnet-18 and 10 of the heads; initialized at random: the last layer of \
             classifier (of 21 classes), the last layer of aux_classifier (of 21 classes)"
        ),
        "{said}"
    );
    assert!(is_copied(&started, &network(FCN18, 21), "classifier.0.weight"));

    let (started, said) =
        start_from_bytes(DEEPLAB18, 4, &serialize_tensors(&tensors(DEEPLAB18, 4, all))).unwrap();
    assert!(!said.contains("at random"), "{said}");
    assert!(is_copied(&started, &network(DEEPLAB18, 4), "classifier.4.bias"));

    // torchvision leaves the auxiliary head out unless asked.
    let main = |name: &str| (!name.starts_with("aux_")).then(|| name.to_owned());
    let (_, said) =
        start_from_bytes(FCN18, 4, &serialize_tensors(&tensors(FCN18, 4, main))).unwrap();
    assert!(said.ends_with("initialized at random: aux_classifier (not in the file)"), "{said}");
}

#[test]
fn a_head_of_another_algorithm_starts_at_random_and_says_so() {
    let all = |name: &str| Some(name.to_owned());
    let (started, said) =
        start_from_bytes(FCN18, 4, &serialize_tensors(&tensors(DEEPLAB18, 4, all))).unwrap();
    assert!(
        said.contains("classifier (of another algorithm: tensor classifier.0.weight is"),
        "{said}"
    );
    assert!(said.contains(" more do not fit)"), "{said}");
    assert!(is_copied(&started, &network(DEEPLAB18, 4), "aux_classifier.4.bias"), "FCN's in both");
}

#[test]
fn weights_of_another_backbone_name_both() {
    for (held, asked) in [
        (Backbone::Resnet18, Backbone::Resnet50),
        (Backbone::Resnet34, Backbone::Resnet18),
        (Backbone::Resnet18, Backbone::Resnet34),
    ] {
        let architecture = Architecture { backbone: held, ..FCN18 };
        let named =
            tensors(architecture, 2, |name| name.strip_prefix("backbone.").map(str::to_owned));
        let said = failure(Architecture { backbone: asked, ..FCN18 }, &serialize_tensors(&named));
        let (held, asked) = (held.name(), asked.name());
        let expected =
            format!("are for backbone {held}, the job's backbone is {asked}; set backbone");
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn every_tensor_that_does_not_fit_is_named() {
    let mut named = resnet18();
    change_tensor(&mut named, "conv1.weight", |_| {
        Tensor::zeros([64, 1, 7, 7], (Kind::Float, Device::Cpu))
    });
    change_tensor(&mut named, "bn1.weight", |_| Tensor::zeros([64], (Kind::Int, Device::Cpu)));
    named.retain(|(name, _)| name != "bn1.bias");
    named.push(("layer9.weight".to_owned(), Tensor::from(1_f32)));
    let said = failure(FCN18, &serialize_tensors(&named));
    for part in [
        "weights.pth: tensor conv1.weight has shape [64, 1, 7, 7]; the network needs [64, 3, 7, 7]",
        "tensor bn1.weight holds I32; weights are F32, F64, F16 or BF16",
        "tensor bn1.bias is missing",
        "tensor layer9.weight is not part of resnet-18",
        "(and 3 more problems",
    ] {
        assert!(said.contains(part), "{said}");
    }

    let mut named = resnet18();
    for name in ["conv1.weight", "layer4.1.bn2.running_var"] {
        change_tensor(&mut named, name, |tensor| tensor / 0.0);
    }
    let said = failure(FCN18, &serialize_tensors(&named));
    assert!(said.contains("tensor conv1.weight holds values that are infinite"), "{said}");
    assert!(said.contains("tensor layer4.1.bn2.running_var holds values"), "{said}");
}

#[test]
fn other_files_are_told_what_they_are() {
    for (bytes, what) in [
        (&b"version https://git-lfs.github.com/spec/v1\n"[..], "`git lfs pull` fetches"),
        (b"", "it is empty"),
        (b"<!DOCTYPE html>", "neither a safetensors file nor one of Python's torch.save"),
    ] {
        let said = failure(FCN18, bytes);
        assert!(said.contains(what) && said.contains("weights.pth: "), "{said}");
    }
}

fn model_folder(architecture: Architecture, classes: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let names = (0..classes).map(|id| format!("name {id}")).collect();
    let config = ModelConfig::new(architecture, classes, Some(names));
    artifact::write_model(folder.path(), &config, &network(architecture, classes)).unwrap();
    folder
}

fn start_from_model_channel(
    folder: &Path,
    architecture: Architecture,
    classes: usize,
) -> Result<InitialWeights> {
    let places = PretrainedLocations::default();
    let model_channel = Some(folder);
    InitialWeights::find(&InitialWeightsRequest {
        architecture,
        classes,
        pretrained: true,
        model_channel,
        locations: &places,
    })
}

#[test]
fn a_model_that_was_trained_before_is_taken_whole() {
    let folder = model_folder(FCN18, 3);
    let initial = start_from_model_channel(folder.path(), FCN18, 3).unwrap();
    assert_eq!(initial.class_names().unwrap()[2], "name 2");
    assert!(initial.checksum().unwrap().starts_with("model channel (checksum "));
    let (started, said) = initial.into_network(1, Device::Cpu).unwrap();
    assert!(said.starts_with("starting from ") && said.contains(": all "), "{said}");
    assert!(is_copied(&started, &network(FCN18, 3), "aux_classifier.4.weight"));
}

#[test]
fn a_model_of_another_network_names_both_sides_of_every_difference() {
    let folder = model_folder(DEEPLAB18, 3);
    let fcn50 = Architecture { backbone: Backbone::Resnet50, ..FCN18 };
    let said = start_from_model_channel(folder.path(), fcn50, 4).unwrap_err().to_string();
    for part in [
        "the model has algorithm deeplab, the job's algorithm is fcn; set algorithm to deeplab",
        "the model has backbone resnet-18, the job's backbone is resnet-50",
        "the model has num_classes 3, the job's num_classes is 4",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_channel_without_our_model_says_what_it_holds() {
    for (names, what) in [
        (&[][..], "found: nothing"),
        (&["weights.bin"][..], "found: weights.bin"),
        (&["config.json", "model.tar.gz"], "model.tar.gz and an unpacked model beside it"),
        (&["model_algo-1", "hyperparams.json"], "a model of Amazon's built-in algorithm"),
        (&["model_best.params"], "whose weights only MXNet can read; remove the channel"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let said = start_from_model_channel(folder.path(), FCN18, 3).unwrap_err().to_string();
        assert!(said.contains(what), "{said}");
    }
    let pipe = PathBuf::from("/dev/zero");
    assert!(read_weights_file(&pipe).unwrap_err().to_string().contains("is not a regular file"));
}

proptest! {
    #[test]
    fn arbitrary_files_are_an_error_not_a_panic(bytes: Vec<u8>, names: BTreeMap<String, Vec<u8>>) {
        prop_assert!(StateDict::open(&bytes).is_err());
        let whole: Vec<_> = names.iter().map(|(name, bytes)| {
            (name, TensorView::new(Dtype::U8, vec![bytes.len()], bytes).unwrap())
        }).collect();
        let bytes = safetensors::serialize(whole, None).unwrap();
        if let Ok(file) = StateDict::open(&bytes) {
            prop_assert!(WeightMapping::new(FCN18, 3, &file).is_err());
        }
    }
}
