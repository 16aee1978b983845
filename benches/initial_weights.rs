//! Writes the random weights that `maskmaker train` starts from, for benchmarks whose peer must
//! start from the same: `initial_weights fcn resnet-18 CLASSES SEED FILE`.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use maskmaker::model::{Algorithm, Architecture, Backbone, Network};
use tch::Device;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [algorithm, backbone, classes, seed, file] = arguments.as_slice() else {
        eprintln!("usage: initial_weights ALGORITHM BACKBONE CLASSES SEED FILE");
        std::process::exit(2);
    };
    let word = |text: &str| serde_json::Value::from(text);
    let algorithm: Algorithm = serde_json::from_value(word(algorithm)).unwrap();
    let backbone: Backbone = serde_json::from_value(word(backbone)).unwrap();
    let (classes, seed) = (classes.parse().unwrap(), seed.parse().unwrap());
    let architecture = Architecture { algorithm, backbone };
    let network = Network::random(architecture, classes, seed, Device::Cpu).unwrap();
    std::fs::write(file, network.weights.to_safetensors().unwrap()).unwrap();
}
