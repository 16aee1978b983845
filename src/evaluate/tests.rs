//! Whole evaluations with an engine that reads its answers from the images.

use std::collections::HashSet;
use std::sync::Arc;

use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;

use super::*;
use crate::imaging::{encode_mask, encode_png};
use crate::inference::{ModelInfo, SegmentOptions, Segmentation};

/// Answers with the red channel as the class and the green one as its probability, in 1 / 255.
struct ImageReader(ModelInfo);

impl ImageReader {
    fn new(names: &[&str]) -> Self {
        let class_names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        Self(ModelInfo {
            colors: vec![[0; 3]; class_names.len()],
            class_names,
            precision: "fp32",
            device: "cpu".into(),
            max_side: 2048,
            tile_side: 1024,
            tile_overlap: 128,
        })
    }
}

impl Segment for ImageReader {
    fn segment(
        &mut self,
        images: &[&RgbImage],
        _options: &SegmentOptions,
    ) -> Result<Vec<Segmentation>> {
        let mut segmentations = Vec::new();
        for image in images {
            let pixels = image.pixels();
            let ids = pixels.clone().map(|pixel| pixel.0[0]).collect();
            segmentations.push(Segmentation {
                ids: GrayImage::from_raw(image.width(), image.height(), ids).unwrap(),
                confidence: Vec::new(),
                pixel_confidence: pixels.map(|pixel| f32::from(pixel.0[1]) / 255.0).collect(),
                probabilities: Vec::new(),
                pixel_entropy: Vec::new(),
            });
        }
        Ok(segmentations)
    }

    fn info(&self) -> &ModelInfo {
        &self.0
    }
}

/// A test set in a temporary folder, and the folder of the results.
struct Fixture {
    folder: tempfile::TempDir,
    settings: EvaluateSettings,
    names: Vec<&'static str>,
    seen: Option<SeenImages>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["test", "test_annotation"] {
            std::fs::create_dir_all(folder.path().join("data").join(name)).unwrap();
        }
        let settings = EvaluateSettings {
            data: folder.path().join("data"),
            output: folder.path().join("output"),
            gate: GateRules::default(),
            boundary_tolerance: 0.05,
            bootstrap: Bootstrap { draws: 200, seed: 0 },
            robustness_images: None,
            explain: None,
            group: None,
            save_masks: false,
            strict: false,
        };
        Self { folder, settings, names: vec!["background", "road", "sky"], seen: None }
    }

    /// Writes a file below `data`.
    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.settings.data.join(name), bytes).unwrap();
    }

    /// Adds an image of one row, with what is predicted of each pixel and what is true.
    fn add(&self, name: &str, predicted: &[u8], truth: &[u8]) {
        let image = RgbImage::from_fn(predicted.len() as u32, 1, |x, _| {
            Rgb([predicted[x as usize], 200, 0])
        });
        let mask = GrayImage::from_fn(truth.len() as u32, 1, |x, _| Luma([truth[x as usize]]));
        self.write(&format!("test/{name}.png"), &encode_png(&image));
        self.write(&format!("test_annotation/{name}.png"), &encode_mask(&mask));
    }

    fn evaluate(&self) -> Result<Evaluation> {
        self.evaluate_beside(None)
    }

    fn evaluate_beside(&self, other: Option<&mut dyn Segment>) -> Result<Evaluation> {
        self.evaluate_until(other, &StopSignal::default())
    }

    fn evaluate_until(
        &self,
        other: Option<&mut dyn Segment>,
        stop: &StopSignal,
    ) -> Result<Evaluation> {
        prepare_output(&self.settings)?;
        let mut engine = ImageReader::new(&self.names);
        let (path, other_path) = (Path::new("model.tar.gz"), Path::new("old.tar.gz"));
        let seen_images = self.seen.clone();
        let model = Candidate { engine: &mut engine, network: None, path, seen_images };
        let other = other.map(|engine| Candidate {
            engine,
            network: None,
            path: other_path,
            seen_images: None,
        });
        let connect: ConnectStore = Arc::new(|| panic!("nothing is in S3"));
        evaluate(&self.settings, model, other, connect, stop)
    }

    fn error(&self) -> String {
        let error = self.evaluate().unwrap_err().to_string();
        assert!(!self.settings.output.join(EVALUATION_FILE).exists(), "{error}");
        error
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.settings.output.join(name)).unwrap()
    }

    fn read_json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }
}

/// Answers with class 0 everywhere.
struct Constant(ImageReader);

impl Segment for Constant {
    fn segment(
        &mut self,
        images: &[&RgbImage],
        options: &SegmentOptions,
    ) -> Result<Vec<Segmentation>> {
        let mut segmentations = self.0.segment(images, options)?;
        for segmentation in &mut segmentations {
            segmentation.ids.fill(0);
        }
        Ok(segmentations)
    }

    fn info(&self) -> &ModelInfo {
        &self.0.0
    }
}

fn assert_near(actual: &Value, expected: &Value, tolerance: f64, name: &str) {
    match (actual.as_f64(), expected.as_f64()) {
        (Some(actual), Some(expected)) => {
            assert!((actual - expected).abs() < tolerance, "{name}: {actual} is not {expected}");
        }
        _ => assert_eq!(actual, expected, "{name}"),
    }
}

#[test]
fn scores_are_those_of_scikit_learn_and_torchmetrics() {
    let golden: Value =
        serde_json::from_str(include_str!("../../tests/fixtures/evaluate/golden.json")).unwrap();
    let mut fixture = Fixture::new();
    fixture.names = vec!["a", "b", "c", "d", "e"];
    fixture.settings.boundary_tolerance = golden["tolerance"].as_f64().unwrap();
    for (index, image) in golden["images"].as_array().unwrap().iter().enumerate() {
        let bytes = |key: &str| -> Vec<u8> { serde_json::from_value(image[key].clone()).unwrap() };
        let (width, height) = (image["width"].as_u64().unwrap(), image["height"].as_u64().unwrap());
        let (width, height) = (width as u32, height as u32);
        let mut pixels = Vec::new();
        for (id, confidence) in bytes("predicted").into_iter().zip(bytes("confidence")) {
            pixels.extend([id, confidence, 0]);
        }
        let image = RgbImage::from_raw(width, height, pixels).unwrap();
        let mask = GrayImage::from_raw(width, height, bytes("truth")).unwrap();
        fixture.write(&format!("test/{index}.png"), &encode_png(&image));
        fixture.write(&format!("test_annotation/{index}.png"), &encode_mask(&mask));
    }
    fixture.evaluate().unwrap();

    let evaluation = fixture.read_json(EVALUATION_FILE);
    let metrics = &evaluation["segmentation_metrics"];
    for name in ["frequency_weighted_iou", "expected_calibration_error"] {
        assert_near(&metrics[name]["value"], &golden[name], 1e-9, name);
    }
    let mut ious = Vec::new();
    for (id, class) in metrics["classes"].as_array().unwrap().iter().enumerate() {
        assert_eq!(class["pixels"], golden["pixels"][id]);
        let is_absent = id == 4;
        for name in ["iou", "precision", "recall", "f1", "boundary_f1"] {
            // scikit-learn says 0 where a score is not defined.
            let value = match &class[name]["value"] {
                Value::Null if name != "boundary_f1" => {
                    assert!(is_absent || id == 3 && name == "recall", "{name} of {id}");
                    &Value::from(0.0)
                }
                value => value,
            };
            assert_near(value, &golden[name][id], 1e-9, &format!("{name} of class {id}"));
        }
        if !is_absent {
            let iou = &class["iou"]["value"];
            assert_near(iou, &golden["torchmetrics_iou"][id], 1e-6, "torchmetrics");
            ious.push(iou.as_f64().unwrap());
        }
    }
    let miou = ious.iter().sum::<f64>() / ious.len() as f64;
    assert_near(&metrics["miou"]["value"], &miou.into(), 1e-12, "mIoU");

    let multiclass = &evaluation["multiclass_classification_metrics"];
    for (truth, row) in golden["confusion_matrix"].as_array().unwrap().iter().enumerate() {
        for (predicted, pixels) in row.as_array().unwrap().iter().enumerate() {
            let (truth, predicted) = (truth.to_string(), predicted.to_string());
            assert_eq!(multiclass["confusion_matrix"][truth][predicted], *pixels);
        }
    }
    for (section, suffix) in
        [("multiclass", ""), ("best_constant_classifier", "_best_constant_classifier")]
    {
        for (name, expected) in golden[section].as_object().unwrap() {
            let score = &multiclass[&format!("{name}{suffix}")];
            assert_near(&score["value"], expected, 1e-9, name);
            assert!(score["standard_deviation"].is_f64(), "{name}");
        }
    }
}

#[test]
fn every_file_tells_its_part() {
    let mut fixture = Fixture::new();
    fixture.add("a", &[0, 0, 1, 1], &[0, 0, 1, 1]);
    fixture.add("b", &[0, 1, 1, 1], &[0, 0, 0, 255]);
    fixture.settings.gate.min_miou = Some(0.5);
    let evaluation = fixture.evaluate().unwrap();
    let metrics = &evaluation.segmentation_metrics;
    assert_eq!((metrics.images, metrics.pixels), (2, 7));
    // Class 0 has 3 of 5 pixels right, class 1 2 of 4; class 2 is nowhere.
    assert_eq!(metrics.classes[0].iou.value, Some(0.6));
    assert_eq!(metrics.classes[1].iou.value, Some(0.5));
    assert_eq!(metrics.classes[2].iou, document::Score::default());
    assert_eq!(metrics.miou.value, Some(0.55));
    assert_eq!(metrics.classes[0].images, 2);
    assert_eq!(
        metrics.classes[1].reliable_reason.as_deref(),
        Some("the class is in 1 test image of at least 10")
    );
    assert_eq!(metrics.reliable_reason.as_deref(), Some("2 test images of at least 50"));
    assert!(evaluation.gate.passed);

    let lines: Vec<Value> =
        fixture.read(IMAGES_FILE).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0]["file"].as_str().unwrap().ends_with("test/a.png"));
    assert_eq!(lines[0]["miou"], 1.0);
    assert_eq!(lines[0]["worst_confusion"], Value::Null);
    assert_eq!(lines[1]["iou"], serde_json::json!({"background": 1.0 / 3.0, "road": 0.0}));
    assert_eq!((&lines[1]["pixels"], &lines[1]["width"]), (&3.into(), &4.into()));
    let confusion = serde_json::json!({"truth": "background", "predicted": "road", "pixels": 2});
    assert_eq!(lines[1]["worst_confusion"], confusion);

    let constraints = fixture.read_json(CONSTRAINTS_FILE);
    let accuracy = &constraints["multiclass_classification_constraints"]["accuracy"];
    assert_near(&accuracy["threshold"], &(5.0 / 7.0).into(), 1e-12, "accuracy");
    assert_eq!(accuracy["comparison_operator"], "LessThanThreshold");
    assert_eq!(constraints["segmentation_constraints"]["miou"]["threshold"], 0.55);
    let statistics = fixture.read_json(STATISTICS_FILE);
    assert_eq!(statistics["dataset"]["item_count"], 7);
    let section = "multiclass_classification_metrics";
    assert_eq!(statistics[section], fixture.read_json(EVALUATION_FILE)[section]);
    let text = fixture.read(EVALUATION_FILE);
    assert!(!text.contains("NaN"), "no score is without a number here: {text}");

    // A mask that may be meant otherwise is told, in the file and the report, too.
    assert!(evaluation.warnings().join("\n").contains("in 1 of 2 masks 255 is the only value"));
    assert!(
        text.contains("in 1 of 2 masks 255")
            && fixture.read(REPORT_FILE).contains("in 1 of 2 masks 255"),
        "{text}"
    );
    let summary = evaluation.summary();
    assert!(summary[0].starts_with("test_miou=0.550000 low="), "{summary:?}");
    assert!(summary.contains(&"test_iou_2 (sky)=nan".to_owned()), "{summary:?}");
    assert!(
        summary.contains(&"gate passed: mIoU 0.5500 is at least 0.5".to_owned()),
        "{summary:?}"
    );
}

#[test]
fn another_model_is_compared_on_the_same_images() {
    let mut fixture = Fixture::new();
    fixture.add("a", &[0, 1, 1, 1], &[0, 1, 1, 1]);
    fixture.add("b", &[0, 0, 1, 1], &[0, 0, 1, 0]);
    fixture.settings.gate =
        GateRules { min_miou: None, max_drop: Some(0.01), must_improve: Some(0.9) };
    let names = fixture.names.clone();
    let mut constant = Constant(ImageReader::new(&names));
    let evaluation = fixture.evaluate_beside(Some(&mut constant)).unwrap();
    let comparison = evaluation.comparison.as_ref().unwrap();
    assert_eq!(comparison.other_model, "old.tar.gz");
    // Class 0 has 4 of 8 pixels right, class 1 none.
    assert_eq!(comparison.other_miou.value, Some(0.25));
    let rise = comparison.miou.difference.value.unwrap();
    let miou = evaluation.segmentation_metrics.miou.value.unwrap();
    assert!((miou - 0.25 - rise).abs() < 1e-12 && comparison.miou.probability_better == Some(1.0));
    assert_eq!(comparison.classes[2].iou.difference.value, None);
    assert!(evaluation.gate.passed, "{}", evaluation.gate.reason);
    assert_eq!(evaluation.gate.rules.len(), 2);

    // The same model is no improvement, and no drop.
    let mut same = ImageReader::new(&names);
    let evaluation = fixture.evaluate_beside(Some(&mut same)).unwrap();
    assert!(!evaluation.gate.passed && evaluation.gate.rules[0].passed);
    let reason = &evaluation.gate.reason;
    assert!(reason.contains("mIoU equals the "), "{reason}");
    assert!(reason.contains(" of old.tar.gz, and it must be higher"), "{reason}");
    assert!(evaluation.summary().last().unwrap().starts_with("gate failed: "));
    // Where there is no other model, both rules pass and say why.
    let evaluation = fixture.evaluate().unwrap();
    assert!(evaluation.gate.passed);
    assert!(evaluation.gate.reason.contains("there is no other model yet"));

    let mut other_classes = ImageReader::new(&["background", "sky", "road"]);
    let error = fixture.evaluate_beside(Some(&mut other_classes)).unwrap_err().to_string();
    assert!(error.contains("the models have other classes"), "{error}");
    assert!(error.contains("old.tar.gz has 3 (background, sky, road)"), "{error}");
}

#[test]
fn a_gate_fails_below_its_limits() {
    let mut fixture = Fixture::new();
    fixture.add("a", &[0, 0, 1, 1], &[0, 1, 1, 1]);
    fixture.settings.gate.min_miou = Some(0.9);
    let evaluation = fixture.evaluate().unwrap();
    assert!(!evaluation.gate.passed);
    assert_eq!(evaluation.gate.reason, "mIoU 0.5833 is below 0.9");
    // A worse model than the other one by more than is allowed.
    fixture.settings.gate = GateRules { max_drop: Some(0.1), ..GateRules::default() };
    let names = fixture.names.clone();
    fixture.names = names.clone();
    let mut perfect = ImageReader::new(&names);
    fixture.add("a", &[0, 1, 1, 1], &[0, 1, 1, 1]);
    let evaluation = {
        let mut constant = Constant(ImageReader::new(&names));
        let (path, other) = (Path::new("new"), Path::new("old"));
        let model = Candidate { engine: &mut constant, network: None, path, seen_images: None };
        let other =
            Candidate { engine: &mut perfect, network: None, path: other, seen_images: None };
        let connect: ConnectStore = Arc::new(|| panic!("nothing is in S3"));
        evaluate(&fixture.settings, model, Some(other), connect, &StopSignal::default()).unwrap()
    };
    assert!(!evaluation.gate.passed);
    let reason = &evaluation.gate.reason;
    let expected = "mIoU is 0.8750 lower than the 1.0000 of old; and allowed is only a drop of 0.1";
    assert_eq!(reason, expected);
}

#[test]
fn damaged_samples_are_left_out_and_counted_or_fail() {
    let mut fixture = Fixture::new();
    fixture.add("a", &[0, 1], &[0, 1]);
    fixture.add("b", &[0, 1], &[0, 1]);
    fixture.write("test/b.png", b"\x89PNG no more");
    fixture.add("c", &[0, 1], &[0, 1, 1]);
    let evaluation = fixture.evaluate().unwrap();
    assert_eq!((evaluation.segmentation_metrics.images, evaluation.data.skipped), (1, 2));
    let warnings = evaluation.warnings().join("\n");
    assert!(warnings.contains("2 samples could not be used and are left out"), "{warnings}");
    let skipped = fixture.read_json(EVALUATION_FILE)["data"]["skipped_samples"].to_string();
    assert!(skipped.contains("b.png") && skipped.contains("is 3x1, the image 2x1"), "{skipped}");

    fixture.settings.strict = true;
    let error = fixture.error();
    assert!(error.contains("1 file cannot be read") && error.contains("1 mask is not as large"));
    fixture.settings.strict = false;
    fixture.write("test/a.png", b"");
    let error = fixture.error();
    assert!(error.contains("none of the 3 samples of the test set can be used"), "{error}");
}

#[test]
fn a_test_set_that_does_not_fit_is_told_at_once() {
    let fixture = Fixture::new();
    assert!(fixture.error().contains("channel test holds no images"));
    fixture.add("a", &[0, 1], &[255, 255]);
    assert!(fixture.error().contains("every pixel is 255 (ignored); there is nothing to score"));
    fixture.add("a", &[0, 1], &[0, 255]);
    let error = fixture.error();
    assert!(error.contains("there is no foreground to score"), "{error}");
    fixture.add("a", &[0, 1], &[0, 3]);
    fixture.add("b", &[0, 1], &[7, 1]);
    let error = fixture.error();
    assert!(error.contains("2 masks have class ids outside num_classes 3"), "{error}");
    assert!(error.contains("in a, b"), "{error}");

    std::fs::create_dir(fixture.settings.data.join("label_map")).unwrap();
    fixture.write("label_map/labels.json", br#"["background", "sky", "road"]"#);
    let error = fixture.error();
    assert!(error.contains("0 background, 1 sky, 2 road (labels.json)"), "{error}");
    assert!(error.contains("the same names in another order"), "{error}");
    fixture.write("label_map/labels.json", br#"["background", "sky"]"#);
    assert!(fixture.error().contains("2 names for num_classes 3"));
    std::fs::remove_file(fixture.settings.data.join("label_map/labels.json")).unwrap();
    fixture.write("label_map/train_label_map.json", br#"{"scale": 3}"#);
    assert!(fixture.error().contains("none of the test masks"));

    let mut fixture = Fixture::new();
    fixture.settings.data = fixture.folder.path().join("nowhere");
    let error = fixture.error();
    assert!(error.contains("holds no test set") && error.contains("no such folder"), "{error}");
}

#[test]
fn masks_may_have_values_of_a_label_map() {
    let fixture = Fixture::new();
    fixture.add("a", &[0, 1, 2], &[10, 20, 30]);
    std::fs::create_dir(fixture.settings.data.join("label_map")).unwrap();
    let map = br#"{"map": {"0": 10, "1": 20, "2": 30}}"#;
    fixture.write("label_map/test_label_map.json", map);
    assert_eq!(fixture.evaluate().unwrap().segmentation_metrics.miou.value, Some(1.0));
}

#[test]
fn a_manifest_names_images_anywhere() {
    let mut fixture = Fixture::new();
    fixture.add("a", &[0, 1, 2], &[0, 1, 2]);
    let line = r#"{"source-ref": "data/test/a.png", "x-ref": "data/test_annotation/a.png"}"#;
    let manifest = fixture.folder.path().join("mine.manifest");
    std::fs::write(&manifest, line).unwrap();
    fixture.settings.data = manifest;
    assert_eq!(fixture.evaluate().unwrap().segmentation_metrics.images, 1);
    // Ground Truth's masks have colors, whose names must be the model's.
    let mask =
        RgbImage::from_fn(3, 1, |x, _| [Rgb([255; 3]), Rgb([1, 2, 3]), Rgb([4, 5, 6])][x as usize]);
    fixture.settings.data = fixture.folder.path().to_owned();
    std::fs::write(fixture.folder.path().join("data/test_annotation/a.png"), encode_png(&mask))
        .unwrap();
    let write_line = |name: &str| {
        let colors = serde_json::json!({
            "0": {"class-name": "BACKGROUND", "hex-color": "#ffffff"},
            "1": {"class-name": "sky", "hex-color": "#040506"},
            "2": {"class-name": name, "hex-color": "#010203"},
        });
        let line = serde_json::json!({
            "source-ref": "data/test/a.png",
            "x-ref": "data/test_annotation/a.png",
            "x-ref-metadata": {"internal-color-map": colors},
        });
        std::fs::write(fixture.folder.path().join("mine.manifest"), line.to_string()).unwrap();
    };
    write_line("road");
    assert_eq!(fixture.evaluate().unwrap().segmentation_metrics.miou.value, Some(1.0));
    write_line("street");
    let error = fixture.error();
    assert!(error.contains("street"), "{error}");
}

#[test]
fn images_that_the_model_has_seen_are_counted() {
    let mut fixture = Fixture::new();
    fixture.add("a", &[0, 1, 1], &[0, 1, 1]);
    fixture.add("b", &[0, 1, 1], &[0, 1, 1]);
    fixture.add("c", &[0, 0, 1], &[0, 1, 1]);
    let evaluation = fixture.evaluate().unwrap();
    assert_eq!(evaluation.data.leaks.in_train, None);
    // b is the same image as a.
    assert_eq!(evaluation.data.leaks.repeated.images, 1);
    assert!(evaluation.data.leaks.repeated.files[0].ends_with("b.png"));
    assert!(evaluation.warnings()[0].contains("cannot be known"));

    let hash = |name: &str| {
        let bytes = std::fs::read(fixture.settings.data.join(name)).unwrap();
        crate::data::digest::hash_bytes(&bytes)
    };
    let seen = SeenImages {
        train: HashSet::from([hash("test/a.png"), 5]),
        validation: HashSet::from([hash("test/c.png")]),
    };
    fixture.seen = Some(seen);
    let evaluation = fixture.evaluate().unwrap();
    let leaks = &evaluation.data.leaks;
    let (in_train, in_validation) =
        (leaks.in_train.as_ref().unwrap(), leaks.in_validation.as_ref().unwrap());
    assert_eq!((in_train.images, in_validation.images), (2, 1));
    let data = &evaluation.data;
    assert_eq!((data.train_images, data.validation_images), (Some(2), Some(1)));
    assert!(in_validation.files[0].ends_with("c.png"));
    let warnings = evaluation.warnings().join("\n");
    assert!(warnings.contains("2 test images were in training of model.tar.gz"), "{warnings}");
    assert!(warnings.contains("1 test image was in validation of model.tar.gz"), "{warnings}");
}

#[test]
fn a_request_to_stop_leaves_no_results() {
    let fixture = Fixture::new();
    fixture.add("a", &[0, 1], &[0, 1]);
    fixture.evaluate().unwrap();
    let stop = StopSignal::default();
    stop.request();
    let error = fixture.evaluate_until(None, &stop).unwrap_err().to_string();
    assert!(error.contains("asked to stop"), "{error}");
    // Those of the evaluation before are gone, too: nobody takes them for the new ones.
    assert_eq!(std::fs::read_dir(&fixture.settings.output).unwrap().count(), 0);
}

/// Segments each image by a function of its own: the probability of class 1 of every pixel, in a
/// network of two classes.
struct ByFunction<F>(ImageReader, F);

impl<F: Fn(&RgbImage) -> Vec<f32> + Send> Segment for ByFunction<F> {
    fn segment(
        &mut self,
        images: &[&RgbImage],
        _options: &SegmentOptions,
    ) -> Result<Vec<Segmentation>> {
        let mut segmentations = Vec::new();
        for image in images {
            let of_class_1 = (self.1)(image);
            let ids = of_class_1.iter().map(|p| u8::from(*p > 0.5)).collect();
            let of_class_0 = of_class_1.iter().map(|p| 1.0 - p);
            segmentations.push(Segmentation {
                ids: GrayImage::from_raw(image.width(), image.height(), ids).unwrap(),
                confidence: Vec::new(),
                pixel_confidence: of_class_1.iter().map(|p| p.max(1.0 - p)).collect(),
                probabilities: of_class_0.chain(of_class_1.iter().copied()).collect(),
                pixel_entropy: Vec::new(),
            });
        }
        Ok(segmentations)
    }

    fn info(&self) -> &ModelInfo {
        &self.0.0
    }
}

impl Fixture {
    /// Evaluates an engine of two classes.
    fn evaluate_function(
        &self,
        function: impl Fn(&RgbImage) -> Vec<f32> + Send,
    ) -> Result<Evaluation> {
        prepare_output(&self.settings)?;
        let mut engine = ByFunction(ImageReader::new(&["background", "road"]), function);
        let path = Path::new("model");
        let model = Candidate { engine: &mut engine, network: None, path, seen_images: None };
        let connect: ConnectStore = Arc::new(|| panic!("nothing is in S3"));
        evaluate(&self.settings, model, None, connect, &StopSignal::default())
    }

    /// Adds a picture with its mask.
    fn add_picture(&self, name: &str, image: &RgbImage, mask: &GrayImage) {
        self.write(&format!("test/{name}.png"), &encode_png(image));
        self.write(&format!("test_annotation/{name}.png"), &encode_mask(mask));
    }
}

#[test]
fn the_report_has_the_scores_and_the_worst_images_first() {
    let mut fixture = Fixture::new();
    fixture.names = vec!["background", "<road>", "sky"];
    for (name, wrong) in [("good", 0), ("middling", 1), ("bad", 3)] {
        let mut predicted = [0, 0, 1, 1];
        predicted[..wrong].fill(2);
        fixture.add(name, &predicted, &[0, 0, 1, 1]);
    }
    let evaluation = fixture.evaluate().unwrap();
    let report = fixture.read(REPORT_FILE);
    let miou = evaluation.segmentation_metrics.miou.value.unwrap();
    assert!(report.contains(&format!("<td>mIoU</td><td class=\"number\">{miou:.4}</td>")));
    assert!(report.contains("&lt;road&gt;") && !report.contains("<road>"), "names are no markup");
    assert!(report.contains("Gate passed: no rule was given."));
    let place = |name: &str| report.find(&format!("test/{name}.png: mIoU")).unwrap();
    assert!(place("bad") < place("middling") && place("middling") < place("good"));
    assert!(
        !report.contains("http://") && !report.contains("https://") && !report.contains("<script")
    );

    let pictures = fixture.settings.output.join(PICTURES_FOLDER);
    let names = |folder: &Path| {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            names.push(entry.unwrap().file_name().into_string().unwrap());
        }
        names.sort();
        names
    };
    let first = names(&pictures);
    assert_eq!(first.len(), 3 * 4 + 3 * 2, "{first:?}");
    assert!(first.contains(&"worst-1-error.jpg".to_owned()));
    // The pictures of an evaluation of fewer images are its own alone.
    for name in ["middling", "bad"] {
        for folder in ["test", "test_annotation"] {
            std::fs::remove_file(fixture.settings.data.join(format!("{folder}/{name}.png")))
                .unwrap();
        }
    }
    fixture.evaluate().unwrap();
    assert_eq!(names(&pictures).len(), 4 + 3 * 2);
}

#[test]
fn masks_are_written_where_they_are_wanted() {
    let mut fixture = Fixture::new();
    std::fs::create_dir(fixture.settings.data.join("test/sub")).unwrap();
    std::fs::create_dir(fixture.settings.data.join("test_annotation/sub")).unwrap();
    fixture.add("sub/a", &[2, 1, 0], &[0, 1, 1]);
    fixture.evaluate().unwrap();
    assert!(!fixture.settings.output.join(MASKS_FOLDER).exists());
    fixture.settings.save_masks = true;
    fixture.evaluate().unwrap();
    let bytes = std::fs::read(fixture.settings.output.join("masks/sub/a.png")).unwrap();
    let mask =
        crate::imaging::decode_mask(&bytes, crate::imaging::DecodeLimits::default()).unwrap();
    assert_eq!(mask.as_raw(), &[2, 1, 0]);
    assert!(fixture.error().contains("masks holds masks already"));
}

#[test]
fn groups_are_the_values_of_an_attribute() {
    let mut fixture = Fixture::new();
    fixture.add("a", &[0, 1], &[0, 1]);
    fixture.add("b", &[1, 0], &[0, 1]);
    let mut lines = String::new();
    for (image, camera) in [("a", "north"), ("b", "south"), ("a", "north")] {
        let line = serde_json::json!({
            "source-ref": format!("data/test/{image}.png"),
            "x-ref": format!("data/test_annotation/{image}.png"),
            "meta": {"camera": camera},
        });
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    let manifest = fixture.folder.path().join("mine.manifest");
    std::fs::write(&manifest, lines).unwrap();
    fixture.settings.group = Some("meta.camera".to_owned());
    assert!(fixture.error().contains("--group meta.camera is for a manifest"));
    fixture.settings.data = manifest;
    let evaluation = fixture.evaluate().unwrap();
    let groups = evaluation.groups.as_ref().unwrap();
    let found: Vec<_> =
        groups.groups.iter().map(|g| (g.value.as_str(), g.images, g.miou.value)).collect();
    assert_eq!(found, [("north", 2, Some(1.0)), ("south", 1, Some(0.0))]);
    assert!(fixture.read(REPORT_FILE).contains("By meta.camera"));
    fixture.settings.save_masks = true;
    fixture.evaluate().unwrap();
    assert!(fixture.settings.output.join("masks/000003-a.png").is_file());
    fixture.settings.save_masks = false;
    fixture.settings.group = Some("meta.camra".to_owned());
    assert!(fixture.error().contains("no line of"));
    fixture.settings.group = Some("meta".to_owned());
    assert!(fixture.error().contains("meta is an object"), "{}", fixture.error());
}

#[test]
fn disturbances_lower_the_scores_that_they_should() {
    let mut fixture = Fixture::new();
    fixture.settings.robustness_images = Some(3);
    for name in ["a", "b", "c", "d"] {
        let is_road = |x: u32| x >= 20;
        let image = RgbImage::from_fn(40, 30, |x, _| Rgb([if is_road(x) { 200 } else { 40 }; 3]));
        let mask = GrayImage::from_fn(40, 30, |x, _| Luma([u8::from(is_road(x))]));
        fixture.add_picture(name, &image, &mask);
    }
    // Bright pixels are road.
    let by_brightness = |image: &RgbImage| -> Vec<f32> {
        image.pixels().map(|pixel| f32::from(pixel.0[0]) / 255.0).collect()
    };
    let evaluation = fixture.evaluate_function(by_brightness).unwrap();
    let robustness = evaluation.robustness.as_ref().unwrap();
    assert_eq!((robustness.images, robustness.miou), (3, Some(1.0)));
    let drop = |name: &str| {
        let of_kind = robustness.perturbations.iter().find(|p| p.name == name).unwrap();
        of_kind.relative_drop.unwrap()
    };
    // This network takes every brighter picture for road alone; a turned or smaller picture is the same with its mask.
    assert!(drop("brightness") > 0.1, "{robustness:?}");
    assert!(drop("rotation") < 0.1 && drop("scale") < 0.1, "{robustness:?}");
    assert!(drop("noise") > drop("jpeg"), "{robustness:?}");
    assert!(fixture.read(REPORT_FILE).contains("<table id=\"robustness\">"));
    let summary = evaluation.summary().join("\n");
    assert!(summary.contains("test_drop_brightness=0."), "{summary}");
    // The same again chooses the same images and draws the same noise.
    let again = fixture.evaluate_function(by_brightness).unwrap();
    assert_eq!(again.robustness.as_ref(), Some(robustness));
}

#[test]
fn explanations_find_the_place_that_decides() {
    let mut fixture = Fixture::new();
    fixture.settings.explain = Some(ExplainSettings { images: 1, grid: 8 });
    for index in 0..24 {
        // The upper left patch is bright.
        let image =
            RgbImage::from_fn(16, 16, |x, y| Rgb([if x < 2 && y < 2 { 255 } else { 0 }, index, 0]));
        fixture.add_picture(
            &format!("{index:02}"),
            &image,
            &GrayImage::from_pixel(16, 16, Luma([1])),
        );
    }
    // That patch alone decides the class of every pixel.
    let by_corner = |image: &RgbImage| vec![f32::from(image.get_pixel(0, 0).0[0]) / 255.0; 16 * 16];
    fixture.evaluate_function(by_corner).unwrap();
    let explainability = fixture.read_json(EXPLAINABILITY_FILE);
    assert_eq!(explainability["has_grad_cam"], false);
    let images = explainability["images"].as_array().unwrap();
    assert_eq!(images.len(), 3, "one of each kind");
    let class = &images[0]["classes"][0];
    assert_eq!(
        (&class["id"], &class["pixels"], &class["grad_cam"]),
        (&1.into(), &256.into(), &Value::Null)
    );
    let occlusion: Vec<Vec<f64>> = serde_json::from_value(class["occlusion"].clone()).unwrap();
    assert!(occlusion[0][0] > 0.9, "{occlusion:?}");
    let rest: f64 = occlusion.iter().flatten().sum::<f64>() - occlusion[0][0];
    assert!(rest.abs() < 1e-6, "{occlusion:?}");
    let check = &explainability["deletion_check"];
    assert_eq!(check["method"], "occlusion");
    assert!(check["p_value"].as_f64().unwrap() < 0.01, "{check}");
    assert!(fixture.read(REPORT_FILE).contains("Where the model looks"));
}
