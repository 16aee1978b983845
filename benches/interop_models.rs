//! Writes models and what they compute, for comparison with Python (`make test-interop`): per
//! algorithm and backbone a folder with the artifact's files and `answers.safetensors`, which holds
//! for images of three odd sizes the pixels (`HEIGHTxWIDTH.pixels`, `[batch, height, width, 3]`),
//! what the first layer reads (`.input`) and the logits of both heads (`.out`, `.aux`).

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use std::path::Path;

use maskmaker::model::forward::ForwardMode;
use maskmaker::model::{
    Algorithm, Architecture, Artifact, Backbone, ModelConfig, Network, artifact,
};
use tch::{Device, Kind, Tensor};

const CLASSES: usize = 5;
const SIZES: [[i64; 2]; 3] = [[65, 72], [96, 103], [127, 81]];

fn main() {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: interop_models FOLDER");
        std::process::exit(2);
    };
    for algorithm in [Algorithm::Fcn, Algorithm::Psp, Algorithm::Deeplab] {
        for backbone in [Backbone::Resnet18, Backbone::Resnet50] {
            let name = format!("{}-{}", algorithm.name(), backbone.name());
            write(&Path::new(&folder).join(name), Architecture { algorithm, backbone });
        }
    }
}

fn write(folder: &Path, kind: Architecture) {
    let mut network = Network::random(kind, CLASSES, 11, Device::Cpu).unwrap();
    // As after a training: BatchNorm is not the identity.
    for (name, tensor) in network.weights.named_tensors().unwrap() {
        let range = match name.rsplit('.').next() {
            Some("running_mean") => (-0.3, 0.3),
            Some("running_var") => (0.5, 1.5),
            _ => continue,
        };
        let other = tensor.f_empty_like().unwrap().f_uniform_(range.0, range.1).unwrap();
        network.weights.replace(&name, &other).unwrap();
    }
    network.weights.set_batches_tracked(123);
    artifact::write_model(folder, &ModelConfig::new(kind, CLASSES, None), &network).unwrap();
    artifact::add_torchscript(folder).unwrap();
    let model = Artifact::read(folder, Device::Cpu).unwrap();
    model.write_onnx(&folder.join(artifact::ONNX_FILE)).unwrap();

    let mut answers: Vec<(String, Tensor)> = Vec::new();
    for [height, width] in SIZES {
        let pixels = Tensor::randint(256, [2, height, width, 3], (Kind::Uint8, Device::Cpu));
        let input = network.normalize(&pixels).unwrap().contiguous();
        let mode = ForwardMode::Eval { aux: true };
        let logits = tch::no_grad(|| network.logits(&pixels, mode)).unwrap();
        let aux = logits.aux.unwrap().contiguous();
        let tensors =
            [("pixels", pixels), ("input", input), ("out", logits.out.contiguous()), ("aux", aux)];
        let named = tensors.map(|(what, tensor)| (format!("{height}x{width}.{what}"), tensor));
        answers.extend(named);
    }
    Tensor::write_safetensors(&answers, folder.join("answers.safetensors")).unwrap();
}
