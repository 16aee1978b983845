use image::{Rgb, RgbImage};
use tch::Device;

use super::super::segment::TestTimeAugmentation;
use super::super::settings::InferencePrecision;
use super::*;
use crate::model::{Algorithm, Architecture, Backbone, Network, artifact};

const KIND: Architecture = Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet18 };
const OPTIONS: EngineOptions = EngineOptions {
    precision: InferencePrecision::Fp32,
    max_side: 256,
    tile_side: 128,
    threads: Some(1),
};

fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave =
            |f: f32| ((x as f32 * f).sin() * (y as f32 * f * 0.7).cos() * 127.0 + 128.0) as u8;
        Rgb([wave(0.11), wave(0.05), ((x / 16 + y / 16) % 2 * 200) as u8])
    })
}

/// Writes a model folder, and returns it with the network in it.
fn model() -> (tempfile::TempDir, Network) {
    let folder = tempfile::tempdir().unwrap();
    let names = ["nothing", "road", "car"].map(str::to_owned).to_vec();
    let config = ModelConfig::new(KIND, 3, Some(names));
    let network = Network::random(KIND, 3, 11, Device::Cpu).unwrap();
    artifact::write_model(folder.path(), &config, &network).unwrap();
    (folder, network)
}

fn segment_image(engine: &mut Engine, image: &RgbImage, options: &SegmentOptions) -> Segmentation {
    engine.segment(&[image], options).unwrap().pop().unwrap()
}

fn segment_classes(engine: &mut Engine, image: &RgbImage) -> Segmentation {
    segment_image(engine, image, &SegmentOptions::default())
}

fn differing_share(a: &Segmentation, b: &Segmentation) -> f64 {
    assert_eq!(a.ids.dimensions(), b.ids.dimensions());
    let pairs = a.ids.as_raw().iter().zip(b.ids.as_raw());
    pairs.filter(|(a, b)| a != b).count() as f64 / a.ids.len() as f64
}

#[test]
fn masks_are_those_of_the_network_that_was_trained() {
    let (folder, network) = model();
    let mut engine = Engine::load(folder.path(), OPTIONS).unwrap();
    assert_eq!(engine.info().class_names, ["nothing", "road", "car"]);
    assert_eq!(engine.info().colors[1], class_color(1));
    assert_eq!((engine.info().precision, engine.info().device.as_str()), ("fp32", "cpu"));
    let images = [picture(97, 64), picture(97, 64)];
    let images: Vec<&RgbImage> = images.iter().collect();
    let segmentations = engine.segment(&images, &SegmentOptions::default()).unwrap();
    let expected = network.predict_classes(&images).unwrap();
    for (answer, expected) in segmentations.iter().zip(&expected) {
        let expected = Segmentation {
            ids: expected.clone(),
            confidence: Vec::new(),
            pixel_confidence: Vec::new(),
            probabilities: Vec::new(),
            pixel_entropy: Vec::new(),
        };
        assert!(differing_share(answer, &expected) < 0.001);
    }
    assert!(segmentations[0].ids.pixels().any(|id| id.0 != segmentations[0].ids.get_pixel(0, 0).0));
}

#[test]
fn a_folder_with_nothing_but_torchscript_is_served_with_the_same_masks() {
    let (folder, _) = model();
    let mut engine = Engine::load(folder.path(), OPTIONS).unwrap();
    artifact::add_torchscript(folder.path()).unwrap();
    std::fs::remove_file(folder.path().join(CONFIG_FILE)).unwrap();
    std::fs::remove_file(folder.path().join(WEIGHTS_FILE)).unwrap();
    let mut scripted = Engine::load(folder.path(), OPTIONS).unwrap();
    assert_eq!(scripted.info().class_names, ["nothing", "road", "car"], "labels.json");
    std::fs::remove_file(folder.path().join(LABELS_FILE)).unwrap();
    assert_eq!(
        Engine::load(folder.path(), OPTIONS).unwrap().info().class_names,
        ["class 0", "class 1", "class 2"]
    );
    for size in [(97, 64), (33, 50)] {
        let image = picture(size.0, size.1);
        let [one, other] = [&mut engine, &mut scripted].map(|engine| {
            let detail = OutputDetail::Probabilities;
            segment_image(engine, &image, &SegmentOptions { detail, ..SegmentOptions::default() })
        });
        assert!(differing_share(&one, &other) < 0.005);
        let largest = (one.probabilities.iter().zip(&other.probabilities))
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(largest < 0.01, "{largest}");
    }
    std::fs::write(folder.path().join(TORCHSCRIPT_FILE), "no script").unwrap();
    let error = Engine::load(folder.path(), OPTIONS).unwrap_err();
    assert!(error.to_string().contains("cannot be loaded as TorchScript"), "{error}");
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn every_way_of_looking_gives_a_mask_of_the_images_size_and_probabilities_that_sum_to_one() {
    let (folder, _) = model();
    let mut engine = Engine::load(folder.path(), OPTIONS).unwrap();
    for size in [(97, 64), (300, 141), (1, 1), (3, 290)] {
        let image = picture(size.0, size.1);
        let plain = segment_classes(&mut engine, &image);
        for (tile, flip, scales) in [
            (false, false, vec![]),
            (true, false, vec![]),
            (false, true, vec![]),
            (true, true, vec![0.5, 1.0, 1.5]),
            (false, false, vec![0.75]),
        ] {
            let tta = TestTimeAugmentation { flip, scales };
            let options = SegmentOptions {
                tile,
                tta,
                detail: OutputDetail::Probabilities,
                pixel_entropy: false,
            };
            let answer = segment_image(&mut engine, &image, &options);
            assert_eq!(answer.ids.dimensions(), size, "{options:?}");
            let pixels = (size.0 * size.1) as usize;
            assert_eq!(answer.probabilities.len(), 3 * pixels);
            for pixel in (0..pixels).step_by(7) {
                let sum: f32 =
                    (0..3).map(|class| answer.probabilities[class * pixels + pixel]).sum();
                assert!((sum - 1.0).abs() < 1e-3, "{options:?}: {sum}");
            }
            assert!(answer.confidence.iter().all(|c| (0.0..=1.0).contains(c)));
            assert!(differing_share(&plain, &answer) < 0.6, "{options:?} {size:?}");
        }
    }
}

#[test]
fn a_mirrored_image_gives_the_mirrored_mask_when_both_are_looked_at() {
    let (folder, _) = model();
    let mut engine = Engine::load(folder.path(), OPTIONS).unwrap();
    let image = picture(96, 64);
    let mirrored = image::imageops::flip_horizontal(&image);
    let tta = TestTimeAugmentation { flip: true, ..TestTimeAugmentation::default() };
    let options = SegmentOptions { tta, ..SegmentOptions::default() };
    let one = segment_image(&mut engine, &image, &options);
    let mut other = segment_image(&mut engine, &mirrored, &options);
    other.ids = image::imageops::flip_horizontal(&other.ids);
    assert!(differing_share(&one, &other) < 0.002);
}

#[test]
fn tiles_are_near_to_the_whole_where_the_whole_may_be_computed() {
    let (folder, _) = model();
    let whole = EngineOptions { max_side: 512, ..OPTIONS };
    let image = picture(384, 200);
    let mut engine = Engine::load(folder.path(), whole).unwrap();
    let expected = segment_classes(&mut engine, &image);
    let mut engine = Engine::load(folder.path(), OPTIONS).unwrap();
    let options = SegmentOptions { tile: true, ..SegmentOptions::default() };
    let tiled = segment_image(&mut engine, &image, &options);
    let scaled = segment_classes(&mut engine, &image);
    assert!(differing_share(&expected, &tiled) < 0.15, "{}", differing_share(&expected, &tiled));
    assert!(differing_share(&expected, &tiled) < differing_share(&expected, &scaled));
}

#[test]
fn the_memory_to_load_a_model_follows_its_file() {
    let (folder, _) = model();
    let file = std::fs::metadata(folder.path().join(WEIGHTS_FILE)).unwrap().len();
    assert!(Engine::memory_to_load(folder.path()).unwrap() >= file);
    let error = Engine::memory_to_load(&folder.path().join("absent")).unwrap_err();
    assert!(error.to_string().contains("absent"), "{error}");
}

#[test]
fn an_answer_that_is_not_finite_is_an_error_and_no_mask() {
    let (folder, mut network) = model();
    // 32 bits hold numbers that exceed half precision; no format holds a damaged weight.
    for (module, factor, precision, said) in [
        ("backbone.conv1", 1e6, InferencePrecision::Fp32, None),
        ("backbone.conv1", 1.0, InferencePrecision::Fp16, Some("choose --precision fp32")),
        ("classifier.4", f64::NAN, InferencePrecision::Fp32, Some("training diverged")),
    ] {
        let weight = network.weights.get(module, "weight").unwrap() * factor;
        network.weights.replace(&format!("{module}.weight"), &weight).unwrap();
        let config = ModelConfig::new(KIND, 3, None);
        artifact::write_model(folder.path(), &config, &network).unwrap();
        let mut engine =
            Engine::load(folder.path(), EngineOptions { precision, ..OPTIONS }).unwrap();
        let answer = engine.segment(&[&picture(40, 40)], &SegmentOptions::default());
        match (answer, said) {
            (Ok(_), None) => {}
            (Err(error), Some(said)) => assert!(error.to_string().contains(said), "{error}"),
            (answer, said) => panic!("{:?}, expected {said:?}", answer.err()),
        }
    }
}
