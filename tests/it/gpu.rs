//! What needs a GPU: `make test-gpu` runs these.

use maskmaker::data::loader::Batch;
use maskmaker::model::forward::ForwardMode;
use maskmaker::model::{Algorithm, Architecture, Backbone, Network};
use maskmaker::train::optimizer::OptimizerConfig;
use maskmaker::train::{TrainConfig, TrainStep};
use tch::{Device, Kind, Tensor};

use crate::job::Job;

fn gpu() -> Device {
    let device = maskmaker::torch::default_device();
    assert!(matches!(device, Device::Cuda(_)), "there is a GPU, but libtorch cannot use it");
    device
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn logits_are_those_of_the_processor() {
    let device = gpu();
    let bytes: Vec<u8> = (0..65 * 72 * 3).map(|i| (i * 7919 % 251) as u8).collect();
    let picture = Tensor::f_from_data_size(&bytes, &[1, 65, 72, 3], Kind::Uint8).unwrap();
    for algorithm in Algorithm::ALL {
        let logits = |device| {
            let architecture = Architecture { algorithm, backbone: Backbone::Resnet50 };
            let network = Network::random(architecture, 4, 1, device).unwrap();
            let mode = ForwardMode::Eval { aux: false };
            let logits = tch::no_grad(|| network.logits(&picture, mode)).unwrap();
            logits.out.to_device(Device::Cpu)
        };
        let (there, here) = (logits(device), logits(Device::Cpu));
        let largest = here.abs().max().double_value(&[]);
        let difference = (there - here).abs().max().double_value(&[]);
        // Convolutions on GPUs round their inputs to 10 bits (TF32).
        assert!(difference <= 5e-3 * largest, "{algorithm:?}: {difference} of {largest}");
    }
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn a_job_trains_on_the_gpu_in_every_precision_and_goes_on_from_its_checkpoint() {
    gpu();
    for precision in ["fp32", "bf16", "fp16", "auto"] {
        let job = Job::new().with("precision", precision).with("ema_decay", "0.9");
        let run = job.run(&["train"]);
        assert_eq!(run.code, Some(0), "{precision}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("training on GPU 0"), "{}", run.stdout);
        let longer = job.with("epochs", "2");
        let run = longer.run(&["train"]);
        assert_eq!(run.code, Some(0), "{precision}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("going on from the checkpoint"), "{}", run.stdout);
    }
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn a_batch_that_does_not_fit_names_the_fix() {
    const IMAGES: usize = 1024;
    const SIDE: usize = 1024;
    let architecture = Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet101 };
    let network = Network::random(architecture, 4, 1, gpu()).unwrap();
    let rule = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 };
    let mut stepper = TrainStep::new(network, TrainConfig::new(rule)).unwrap();
    let batch = Batch {
        pixels: vec![0; IMAGES * SIDE * SIDE * 3],
        ids: vec![0; IMAGES * SIDE * SIDE],
        dropout_seeds: vec![0; IMAGES],
        crop_size: SIDE as u32,
        part_sizes: vec![IMAGES],
    };
    let error = stepper.run(&batch, 0.1).unwrap_err().to_string();
    assert!(error.contains("lower mini_batch_size"), "{error}");
    assert!(error.contains("set precision to bf16"), "{error}");
}
