//! Golden numbers from PyTorch and torchvision; `tests/golden/make_golden.py` wrote them and states
//! every formula used here.

use maskmaker::metrics::IGNORE_INDEX;
use maskmaker::model::forward::{ForwardMode, Logits};
use maskmaker::model::graph::ParameterSpec;
use maskmaker::model::network::build_graph;
use maskmaker::model::tensor_file::parse_safetensors;
use maskmaker::model::{Algorithm, Architecture, Backbone, ModelConfig, Network};
use maskmaker::train::criterion::{Criterion, Loss};
use maskmaker::train::optimizer::{Optimizer, OptimizerConfig};
use maskmaker::train::schedule::{LrCurve, LrSchedule, Warmup};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

const CLASSES: usize = 4;

fn fnv1a(name: &str) -> u32 {
    name.bytes().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn fmix32(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
    x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

/// The formula's hash of elements 0, 1, ... of a name.
fn hashes(name: &str) -> impl Iterator<Item = u32> + use<> {
    let start = fnv1a(name);
    (0..).map(move |i: u32| fmix32(i.wrapping_mul(0x9E37_79B1).wrapping_add(start)))
}

fn units(name: &str) -> impl Iterator<Item = f64> + use<> {
    hashes(name).map(|hash| f64::from(hash) / 4_294_967_296.0 * 2.0 - 1.0)
}

fn weights_of(spec: &ParameterSpec) -> Vec<u8> {
    let ParameterSpec { name, shape, .. } = spec;
    if name.ends_with("num_batches_tracked") {
        return vec![0; 8];
    }
    let fan_in: i64 = shape.iter().skip(1).product();
    let scale = (6.0 / fan_in as f64).sqrt();
    let value = |u: f64| {
        if shape.len() == 4 {
            u * scale
        } else if name.ends_with("running_mean") {
            0.2 * u
        } else if name.ends_with("running_var") {
            1.0 + 0.3 * u
        } else if name.ends_with(".bn2.weight") || name.ends_with(".bn3.weight") {
            0.5 * (1.0 + 0.2 * u)
        } else if name.ends_with("weight") {
            1.0 + 0.2 * u
        } else if name.ends_with("classifier.4.bias") {
            0.5 * u
        } else {
            0.2 * u
        }
    };
    let count = shape.iter().product::<i64>() as usize;
    units(name).take(count).flat_map(|u| (value(u) as f32).to_le_bytes()).collect()
}

/// A network with the formula's weights, read from a file in torchvision's names.
fn network(algorithm: Algorithm, backbone: Backbone) -> Network {
    let architecture = Architecture { algorithm, backbone };
    let specs = build_graph(architecture, CLASSES).parameters();
    let tensors: Vec<_> = specs.iter().map(|spec| (spec, weights_of(spec))).collect();
    let views = tensors.iter().map(|(spec, bytes)| {
        let counter = spec.name.ends_with("num_batches_tracked");
        let dtype = if counter { Dtype::I64 } else { Dtype::F32 };
        let shape = spec.shape.iter().map(|&side| side as usize).collect();
        (spec.name.as_str(), TensorView::new(dtype, shape, bytes).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    let config = ModelConfig::new(architecture, CLASSES, None);
    Network::from_tensors(&config, &parse_safetensors(&bytes).unwrap(), "", Device::Cpu).unwrap()
}

fn picture(height: usize, width: usize) -> Tensor {
    let bytes: Vec<u8> =
        (0..height * width * 3).map(|i| (fmix32(i as u32 + 12345) >> 24) as u8).collect();
    let size = [1, height as i64, width as i64, 3];
    Tensor::f_from_data_size(&bytes, &size, Kind::Uint8).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn golden(name: &str) -> Value {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Compares logits with the golden ones: largest difference at most 1e-5 of the largest logit.
fn compare(what: &str, logits: &Tensor, expected: &Value) {
    let logits = logits.contiguous();
    let largest = expected["max_abs"].as_f64().unwrap();
    let deviation = expected["std"].as_f64().unwrap();
    assert!((0.5..=50.0).contains(&deviation), "{what}: deviation {deviation}");
    let got_largest = logits.abs().max().double_value(&[]);
    assert!((got_largest - largest).abs() <= 1e-5 * largest, "{what}: {got_largest} {largest}");

    let flat = Vec::<f32>::try_from(logits.flatten(0, -1)).unwrap();
    let samples = floats(&expected["samples"]);
    let mut worst = 0.0f64;
    for (k, sample) in samples.iter().enumerate() {
        worst = worst.max((f64::from(flat[k * 7919 % flat.len()]) - sample).abs());
    }
    assert!(worst <= 1e-5 * largest, "{what}: differs by {worst}, largest logit {largest}");

    // Sums see every logit, not only the sampled ones.
    let area = (flat.len() / CLASSES) as f64;
    for (class, sum) in floats(&expected["class_sums"]).iter().enumerate() {
        let got: f64 = logits.select(1, class as i64).sum(Kind::Double).double_value(&[]);
        assert!((got - sum).abs() <= 1e-5 * largest * area, "{what}: class {class} {got} {sum}");
    }
    let classes = logits.argmax(1, false);
    let counts = floats(&expected["argmax"]);
    let close = expected["close"].as_f64().unwrap();
    for (class, &count) in counts.iter().enumerate() {
        let got = classes.eq(class as i64).sum(Kind::Double).double_value(&[]);
        assert!((got - count).abs() <= close, "{what}: class {class} wins {got}, not {count}");
    }
}

fn logits_equal_pytorchs(algorithm: Algorithm, backbone: Backbone) {
    let golden = golden(&format!("{}.json", algorithm.name()));
    let network = network(algorithm, backbone);
    let cases = golden["cases"].as_array().unwrap().iter();
    let cases: Vec<_> = cases.filter(|case| case["backbone"] == backbone.name()).collect();
    assert_eq!(cases.len(), 2);
    let mut contested = 0;
    for case in cases {
        let side = |name: &str| case[name].as_u64().unwrap() as usize;
        let (height, width) = (side("height"), side("width"));
        let mode = ForwardMode::Eval { aux: true };
        let logits = tch::no_grad(|| network.logits(&picture(height, width), mode)).unwrap();
        let what = format!("{} with {} at {height}x{width}", algorithm.name(), backbone.name());
        assert_eq!(logits.out.size(), [1, CLASSES as i64, height as i64, width as i64]);
        compare(&format!("{what}, out"), &logits.out, &case["out"]);
        compare(&format!("{what}, aux"), &logits.aux.unwrap(), &case["aux"]);
        for output in ["out", "aux"] {
            let winners = floats(&case[output]["argmax"]).into_iter().filter(|count| *count > 0.0);
            contested += usize::from(winners.count() >= 2);
        }
    }
    // Where one class won everywhere, an argmax along the wrong axis could go unnoticed.
    assert!(contested >= 2, "{contested}");
}

#[test]
fn logits_of_fcn_with_resnet_18_equal_pytorchs() {
    logits_equal_pytorchs(Algorithm::Fcn, Backbone::Resnet18);
}

#[test]
fn logits_of_fcn_with_resnet_34_equal_pytorchs() {
    logits_equal_pytorchs(Algorithm::Fcn, Backbone::Resnet34);
}

#[test]
fn logits_of_fcn_with_resnet_50_equal_torchvisions() {
    logits_equal_pytorchs(Algorithm::Fcn, Backbone::Resnet50);
}

#[test]
fn logits_of_fcn_with_resnet_101_equal_torchvisions() {
    logits_equal_pytorchs(Algorithm::Fcn, Backbone::Resnet101);
}

#[test]
fn logits_of_deeplab_with_resnet_18_equal_pytorchs() {
    logits_equal_pytorchs(Algorithm::Deeplab, Backbone::Resnet18);
}

#[test]
fn logits_of_deeplab_with_resnet_50_equal_torchvisions() {
    logits_equal_pytorchs(Algorithm::Deeplab, Backbone::Resnet50);
}

#[test]
fn logits_of_deeplab_with_resnet_101_equal_torchvisions() {
    logits_equal_pytorchs(Algorithm::Deeplab, Backbone::Resnet101);
}

#[test]
fn logits_of_psp_with_resnet_18_equal_the_references() {
    logits_equal_pytorchs(Algorithm::Psp, Backbone::Resnet18);
}

#[test]
fn logits_of_psp_with_resnet_50_equal_the_references() {
    logits_equal_pytorchs(Algorithm::Psp, Backbone::Resnet50);
}

#[test]
fn logits_of_psp_with_resnet_101_equal_the_references() {
    logits_equal_pytorchs(Algorithm::Psp, Backbone::Resnet101);
}

#[test]
fn keys_and_shapes_are_torchvisions() {
    for algorithm in [Algorithm::Fcn, Algorithm::Deeplab, Algorithm::Psp] {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = format!("{root}/tests/golden/keys_{}_resnet50.txt", algorithm.name());
        let mut expected: Vec<String> =
            std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
        // The backbone's are written down once, with fcn.
        let architecture = Architecture { algorithm, backbone: Backbone::Resnet50 };
        let specs = build_graph(architecture, CLASSES).parameters();
        let listed = |name: &str| algorithm == Algorithm::Fcn || !name.starts_with("backbone.");
        let mut found: Vec<String> = specs
            .iter()
            .filter(|spec| listed(&spec.name))
            .map(|spec| format!("{} {:?}", spec.name, spec.shape))
            .collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    }
}

#[test]
fn every_network_takes_images_of_any_size() {
    for algorithm in [Algorithm::Fcn, Algorithm::Psp, Algorithm::Deeplab] {
        let kind = Architecture { algorithm, backbone: Backbone::Resnet18 };
        let network = Network::random(kind, CLASSES, 1, Device::Cpu).unwrap();
        for (height, width) in [(1, 1), (1, 40), (17, 3), (8, 8), (60, 1), (33, 47)] {
            let mode = ForwardMode::Eval { aux: true };
            let logits = tch::no_grad(|| network.logits(&picture(height, width), mode)).unwrap();
            let size = [1, CLASSES as i64, height as i64, width as i64];
            assert_eq!(logits.out.size(), size, "{algorithm:?}");
            assert!(logits.out.isfinite().all().int64_value(&[]) == 1, "{algorithm:?}");
            assert_eq!(logits.aux.unwrap().size(), size, "{algorithm:?}");
        }
    }
}

#[test]
fn a_batch_of_one_is_an_error_where_batch_norm_would_see_one_value() {
    for (algorithm, fits) in
        [(Algorithm::Fcn, true), (Algorithm::Psp, false), (Algorithm::Deeplab, false)]
    {
        let kind = Architecture { algorithm, backbone: Backbone::Resnet18 };
        let network = Network::random(kind, CLASSES, 1, Device::Cpu).unwrap();
        let train = |seeds: &[u64]| {
            let pixels = picture(24, 24).repeat([seeds.len() as i64, 1, 1, 1]);
            tch::no_grad(|| {
                network.logits(
                    &pixels,
                    ForwardMode::Train { dropout_seeds: seeds, group: None, deterministic: false },
                )
            })
        };
        match train(&[1]) {
            Ok(logits) => assert!(fits && logits.out.size()[0] == 1),
            Err(error) => {
                assert!(!fits, "{error}");
                assert!(error.to_string().contains("give a batch at least 2 images"), "{error}");
            }
        }
        let out = train(&[1, 2]).unwrap().out;
        assert!(out.isfinite().all().int64_value(&[]) == 1, "{algorithm:?}");
    }
}

#[test]
fn the_criterion_and_its_gradients_equal_pytorchs() {
    let golden = golden("criterion.json");
    let logits = |name: &str| {
        let values: Vec<f32> = units(name).take(280).map(|u| (3.0 * u) as f32).collect();
        Tensor::from_slice(&values).reshape([2, 4, 5, 7]).set_requires_grad(true)
    };
    let (out, aux) = (logits("criterion.out"), logits("criterion.aux"));
    let label =
        |hash: u32| if (hash >> 24) % 5 == 4 { IGNORE_INDEX } else { ((hash >> 24) % 5) as u8 };
    let ids: Vec<u8> = hashes("criterion.labels").take(70).map(label).collect();
    let ids = Tensor::from_slice(&ids).reshape([2, 5, 7]);
    let both = Logits { out: out.shallow_clone(), aux: Some(aux.shallow_clone()) };
    let loss = Criterion::default().batch_loss(&both, &ids).unwrap();
    let expected = golden["loss"].as_f64().unwrap();
    assert!((loss.double_value(&[]) - expected).abs() < 1e-6 * expected);
    loss.backward();
    for (tensor, name) in [(out, "out_gradients"), (aux, "aux_gradients")] {
        let got = Vec::<f32>::try_from(tensor.grad().flatten(0, -1)).unwrap();
        for (k, expected) in floats(&golden[name]).iter().enumerate() {
            let got = f64::from(got[k * 23 % 280]);
            assert!((got - expected).abs() < 1e-7, "{name} {k}: {got} {expected}");
        }
    }
}

/// `make_losses.py` wrote the numbers.
#[test]
fn every_loss_and_its_gradients_equal_pytorchs_and_segmentation_models() {
    let golden = golden("losses.json");
    let values: Vec<f32> = units("criterion.out").take(280).map(|u| (3.0 * u) as f32).collect();
    let label =
        |hash: u32| if (hash >> 24) % 5 == 4 { IGNORE_INDEX } else { ((hash >> 24) % 5) as u8 };
    let all: Vec<u8> = hashes("criterion.labels").take(70).map(label).collect();
    let absent: Vec<u8> = all.iter().map(|&id| if id == 2 { 1 } else { id }).collect();
    for (labels, ids) in [("all", all), ("class 2 absent", absent)] {
        let ids = Tensor::from_slice(&ids).reshape([2, 5, 7]);
        for (name, expected) in golden[labels].as_object().unwrap() {
            let mut words = name.split(' ');
            let criterion = Criterion {
                loss: Loss::parse(words.next().unwrap()).unwrap(),
                class_weights: name.ends_with("weighted").then(|| floats(&golden["class_weights"])),
                focal_gamma: words.next_back().and_then(|word| word.parse().ok()).unwrap_or(2.0),
            };
            let out = Tensor::from_slice(&values).reshape([2, 4, 5, 7]).set_requires_grad(true);
            let logits = Logits { out: out.shallow_clone(), aux: None };
            let loss = criterion.batch_loss(&logits, &ids).unwrap();
            loss.backward();
            let (got, wanted) = (loss.double_value(&[]), expected["loss"].as_f64().unwrap());
            assert!((got - wanted).abs() <= 1e-6 * wanted, "{labels}, {name}: {got} {wanted}");
            let got = Vec::<f32>::try_from(out.grad().flatten(0, -1)).unwrap();
            for (k, expected) in floats(&expected["gradients"]).iter().enumerate() {
                let got = f64::from(got[k * 23 % 280]);
                assert!((got - expected).abs() < 1e-6, "{labels}, {name} {k}: {got} {expected}");
            }
        }
    }
}

#[test]
fn a_batch_without_a_counted_pixel_costs_nothing_and_is_no_nan() {
    let out = Tensor::ones([1, 2, 3, 3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let ids = Tensor::full([1, 3, 3], i64::from(IGNORE_INDEX), (Kind::Uint8, Device::Cpu));
    let loss = Criterion::default()
        .batch_loss(&Logits { out: out.shallow_clone(), aux: None }, &ids)
        .unwrap();
    loss.backward();
    assert!(loss.double_value(&[]).abs() < f64::EPSILON);
    assert!(out.grad().abs().max().double_value(&[]).abs() < f64::EPSILON);
}

/// The worst relative difference of a run's parameters from PyTorch's.
fn worst_difference(run: &Value) -> f64 {
    let number = |name: &str| run[name].as_f64().unwrap();
    let rule = match run["optimizer"].as_str().unwrap() {
        "sgd" => OptimizerConfig::Sgd {
            momentum: number("momentum"),
            weight_decay: number("weight_decay"),
        },
        "nag" => OptimizerConfig::Nag {
            momentum: number("momentum"),
            weight_decay: number("weight_decay"),
        },
        "adam" => OptimizerConfig::Adam,
        "adamw" => OptimizerConfig::Adamw { weight_decay: number("weight_decay") },
        "adagrad" => OptimizerConfig::Adagrad,
        "rmsprop" => {
            OptimizerConfig::Rmsprop { alpha: number("alpha"), momentum: number("momentum") }
        }
        other => panic!("no rule for {other}"),
    };
    assert_eq!(rule.name(), run["optimizer"]);
    let initial = number("learning_rate");
    let schedule = LrSchedule {
        curve: LrCurve::Poly,
        base_lr: initial,
        total_steps: 20,
        warmup: Warmup::NONE,
    };
    let start: Vec<f32> = units("param").take(6).map(|u| u as f32).collect();
    let parameter = Tensor::from_slice(&start);
    let named = vec![("p".to_owned(), parameter.shallow_clone())];
    let mut optimizer = Optimizer::new(rule, named).unwrap();
    let mut worst = 0.0f64;
    for step in 0..20 {
        let gradient: Vec<f32> = units("grad").skip(step * 6).take(6).map(|u| u as f32).collect();
        let gradient = vec![Tensor::from_slice(&gradient)];
        optimizer.step(schedule.lr(step), gradient).unwrap();
        let got = Vec::<f32>::try_from(&parameter).unwrap();
        let expected = floats(&run["after"][step]);
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            worst = worst.max((f64::from(*got) - expected).abs() / expected.abs());
        }
    }
    worst
}

#[test]
fn optimizers_fed_the_same_gradients_move_as_pytorchs() {
    let golden = golden("optimizers.json");
    let mut names = Vec::new();
    for run in golden["runs"].as_array().unwrap() {
        let worst = worst_difference(run);
        let name = run["optimizer"].as_str().unwrap();
        eprintln!("{name}: largest relative difference from PyTorch over 20 steps {worst:.1e}");
        assert!(worst <= 1e-5, "{name}: {worst}");
        names.push(name);
    }
    names.dedup();
    assert_eq!(names, ["sgd", "nag", "rmsprop", "adam", "adamw", "adagrad"]);
}

#[test]
fn schedules_give_pytorchs_rates() {
    let golden = golden("schedules.json");
    let runs = golden["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 6);
    for run in runs {
        let curve = match run["lr_scheduler"].as_str().unwrap() {
            "poly" => LrCurve::Poly,
            "cosine" => LrCurve::Cosine,
            _ => LrCurve::Step { milestones: vec![6, 12, 17], gamma: 0.3 },
        };
        let warmup = match run["warmup"].as_u64().unwrap() as usize {
            0 => Warmup::NONE,
            steps => Warmup { steps, start_factor: 0.01 },
        };
        let schedule = LrSchedule { curve, base_lr: 0.05, total_steps: 20, warmup };
        let expected = floats(&run["rates"]);
        let got: Vec<f64> = (0..20).map(|step| schedule.lr(step)).collect();
        let mut worst = 0.0f64;
        for (got, expected) in got.iter().zip(&expected) {
            worst = worst.max((got - expected).abs() / expected);
        }
        eprintln!("{}: largest relative difference {worst:.1e}", run["lr_scheduler"]);
        assert!(worst <= 1e-9, "{run}: {got:?}");
    }
}

#[test]
fn seg_grad_cam_is_pytorchs() {
    let golden = golden("grad_cam.json");
    let side = |name: &str| golden[name].as_u64().unwrap() as usize;
    let (height, width) = (side("height"), side("width"));
    let bytes = Vec::<u8>::try_from(picture(height, width).flatten(0, -1)).unwrap();
    let image = image::RgbImage::from_raw(width as u32, height as u32, bytes).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let algorithm: Algorithm = serde_json::from_value(case["algorithm"].clone()).unwrap();
        let backbone: Backbone = serde_json::from_value(case["backbone"].clone()).unwrap();
        let class = case["class"].as_u64().unwrap() as usize;
        let found = network(algorithm, backbone).grad_cam(&image, class).unwrap().unwrap();
        // Pixels whose two best classes are nearly equal may go to either.
        let expected_pixels = case["pixels"].as_u64().unwrap();
        assert!(found.pixels.abs_diff(expected_pixels) <= 3, "{} {case}", found.pixels);
        let tolerance = if found.pixels == expected_pixels { 1e-4 } else { 2e-3 };
        for (k, expected) in floats(&case["samples"]).into_iter().enumerate() {
            let importance = f64::from(found.importance[k * 7919 % found.importance.len()]);
            assert!((importance - expected).abs() < tolerance, "{k}: {importance} {expected}");
        }
        let sum: f64 = found.importance.iter().map(|value| f64::from(*value)).sum();
        assert!((sum / case["sum"].as_f64().unwrap() - 1.0).abs() < tolerance, "{sum} {case}");
    }
}
