//! `maskmaker preprocess`: annotations in, channels out.

mod accounting;
mod bad_images;
mod bad_input;
mod coco;
mod coco_variants;
mod exif;
mod ground_truth;
mod interrupted;
mod label_studio;
mod label_studio_objects;
mod labels_file;
mod mask_meanings;
mod masks;
mod names;
mod polygon_rule;
mod processing_job;
mod selection;
mod side_files;
mod split;
mod training;
mod two_meanings;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{GrayImage, RgbImage};
use maskmaker::files::UNFINISHED_MARKER;
use maskmaker::imaging::{DecodeLimits, decode_mask, encode_jpeg, encode_png};
use serde_json::{Value, json};

use crate::job::{Run, maskmaker};

/// The labels of the labeling configuration of the fixtures, class 1 first.
const LABELS: [&str; 4] = ["road", "car", "árvore 树", "person/rider"];

/// An `/opt/ml` of its own with annotations and images.
struct Folders(tempfile::TempDir);

impl Folders {
    fn new() -> Self {
        let folders = Self(tempfile::tempdir().unwrap());
        for folder in ["annotations", "images"] {
            fs::create_dir_all(folders.path("processing/input").join(folder)).unwrap();
        }
        fs::write(folders.config(), read("labelstudio/label_config_seg.xml")).unwrap();
        folders
    }

    /// The images of the fixtures, with one of their documents.
    fn of(document: &str) -> Self {
        let folders = Self::new();
        folders.images_of_fixtures();
        let name = Path::new(document).file_name().unwrap();
        folders.annotation(name.to_str().unwrap(), read(document));
        folders
    }

    fn images_of_fixtures(&self) {
        for entry in fs::read_dir(fixture("labelstudio/images")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, self.path("processing/input/images").join(path.file_name().unwrap()))
                .unwrap();
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn output(&self, below: &str) -> PathBuf {
        self.path("processing/output").join(below)
    }

    fn config(&self) -> PathBuf {
        self.path("config.xml")
    }

    fn put(&self, below: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn annotation(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.put(&format!("processing/input/annotations/{name}"), bytes);
    }

    fn image(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.put(&format!("processing/input/images/{name}"), bytes);
    }

    /// A JPEG of noise, or a PNG by its name.
    fn noise(&self, name: &str, width: u32, height: u32) {
        let bytes = if Path::new(name).extension().is_some_and(|extension| extension == "png") {
            encode_png(&noise(width, height))
        } else {
            encode_jpeg(&noise(width, height), 90)
        };
        self.image(name, bytes);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = maskmaker();
        command.arg("--ml-root").arg(self.0.path()).arg("preprocess").args(arguments);
        command
    }

    /// Runs with the folders where they are by default.
    fn run(&self, arguments: &[&str]) -> Run {
        let run = Run::new(&self.command(arguments).output().unwrap());
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        run
    }

    /// The same, with the labeling configuration, expecting success and an output without marks.
    fn done(&self, arguments: &[&str]) -> Run {
        let config = self.config();
        let config = ["--label-config", config.to_str().unwrap()];
        self.done_without_config(&[&config, arguments].concat())
    }

    fn done_without_config(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
        assert!(!self.is_marked());
        run
    }

    /// The same, expecting exit code 3; gives what was said.
    fn refused(&self, arguments: &[&str]) -> String {
        let config = self.config();
        let config = ["--label-config", config.to_str().unwrap()];
        self.refused_without_config(&[&config, arguments].concat())
    }

    fn refused_without_config(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(3), "{}{}", run.stdout, run.stderr);
        run.stderr
    }

    /// Whether the output says that it is not complete.
    fn is_marked(&self) -> bool {
        files(&self.output("")).keys().any(|name| name.ends_with(UNFINISHED_MARKER))
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.output("report.json")).unwrap()).unwrap()
    }

    /// What was skipped and should be mended, as `what: reason`.
    fn faults(&self) -> Vec<String> {
        let report = self.report();
        let skipped = report["skipped"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let faults = skipped.filter(|left| left["fault"] == true);
        faults.map(|left| format!("{}: {}", text(&left["what"]), text(&left["reason"]))).collect()
    }

    fn warnings(&self) -> Vec<String> {
        serde_json::from_value(self.report()["warnings"].clone()).unwrap()
    }

    /// Every mask by its name without extension, whatever its side.
    fn masks(&self) -> BTreeMap<String, GrayImage> {
        let mut masks = BTreeMap::new();
        for side in ["train", "validation", "test"] {
            let folder = self.output(&format!("{side}_annotation"));
            for (name, bytes) in files(&folder) {
                let mask = decode_mask(&bytes, DecodeLimits::default()).unwrap();
                masks.insert(name.strip_suffix(".png").unwrap().to_owned(), mask);
            }
        }
        masks
    }

    fn mask(&self, name: &str) -> GrayImage {
        let mut masks = self.masks();
        masks.remove(name).unwrap_or_else(|| panic!("{name} is not in {:?}", masks.keys()))
    }
}

/// Every file at any depth of a folder, with its content; none if it is not there.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/annotations")).join(name)
}

fn read(name: &str) -> Vec<u8> {
    fs::read(fixture(name)).unwrap()
}

fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = width * 31 + height;
    RgbImage::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(state >> 24) as u8, (state >> 16) as u8, (state >> 8) as u8])
    })
}

/// A mask that is painted: later ones cover earlier ones. The pictures are those of the fixtures, 0
/// outside.
fn compose(layers: &[(u8, &str)]) -> GrayImage {
    let mut mask: Option<GrayImage> = None;
    for (class, name) in layers {
        let layer = decode_mask(&read(name), DecodeLimits::default()).unwrap();
        let mask = mask.get_or_insert_with(|| GrayImage::new(layer.width(), layer.height()));
        assert_eq!(mask.dimensions(), layer.dimensions());
        for (pixel, layer) in mask.iter_mut().zip(layer.iter()) {
            if *layer > 0 {
                *pixel = *class;
            }
        }
    }
    mask.unwrap()
}

/// A mask of boxes: class, then left, top, right and bottom in pixels.
fn boxes(width: u32, height: u32, boxes: &[(u8, [u32; 4])]) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| {
        let covers = |&&(_, [left, top, right, bottom]): &&(u8, [u32; 4])| {
            (left..right).contains(&x) && (top..bottom).contains(&y)
        };
        image::Luma([boxes.iter().rev().find(covers).map_or(0, |(class, _)| *class)])
    })
}

/// A region that covers whole pixels of an image: left, top, right and bottom.
fn region(label: &str, (width, height): (u32, u32), [left, top, right, bottom]: [u32; 4]) -> Value {
    let x = |x: u32| 100.0 * f64::from(x) / f64::from(width);
    let y = |y: u32| 100.0 * f64::from(y) / f64::from(height);
    json!({
        "id": format!("r{left}_{top}"), "type": "polygonlabels", "from_name": "poly", "to_name": "image",
        "original_width": width, "original_height": height, "image_rotation": 0,
        "value": {
            "points": [[x(left), y(top)], [x(right), y(top)], [x(right), y(bottom)], [x(left), y(bottom)]],
            "closed": true, "polygonlabels": [label],
        },
    })
}

/// A task of an export with one annotation.
fn task(id: i64, image: &str, regions: &[Value]) -> Value {
    json!({
        "id": id, "data": {"image": image},
        "annotations": [{"id": 100 + id, "result": regions, "was_cancelled": false}],
    })
}

/// An object of a target storage: an annotation with its task.
fn object(id: i64, image: &str, regions: &[Value]) -> Value {
    json!({
        "id": 100 + id, "result": regions, "was_cancelled": false,
        "task": {"id": id, "data": {"image": image}, "total_annotations": 1},
    })
}
