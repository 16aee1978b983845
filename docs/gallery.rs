//! Draws the pictures of docs/gallery.md into a folder: `make gallery`.
#![allow(clippy::expect_used)]

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{GrayImage, Luma, RgbImage};
use maskmaker::colors::class_color;
use maskmaker::render::{
    Bar, BarChart, ContactSheet, LineChart, Panel, PanelHeight, Scene, Series, SheetRow, XAxis,
    cell_side_px, class_label, draw_bar_chart, draw_classes, draw_confusion_matrix,
    draw_contact_sheet, draw_line_chart, draw_overlay, rasterize, to_svg,
};
use maskmaker::train::describe_learning_curves;
use maskmaker::train::history::EpochMetrics;

/// Numbers of classes that most pictures are drawn with.
const CLASS_COUNTS: [usize; 3] = [2, 21, 150];

/// Names of classes: most are those of PASCAL VOC, and some are long, of other scripts, or cannot be
/// drawn.
const NAMES: [&str; 21] = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "Tisch, Bank oder Hocker im Freien",
    "dog",
    "дорога",
    "motorbike",
    "person",
    "potted plant",
    "道路",
    "Κτίριο",
    "train",
    "tv/monitor",
];

/// A picture of the gallery.
pub(crate) struct GalleryPicture {
    /// Name of its files without their endings.
    pub(crate) name: String,
    pub(crate) pixels: RgbImage,
    /// The same as a document, if it is a chart.
    pub(crate) svg: Option<String>,
}

/// Draws all pictures. Nothing in them depends on the machine.
pub(crate) fn draw_gallery() -> Vec<GalleryPicture> {
    let mut pictures = vec![
        chart("learning-curves", &learning_curves()),
        chart("calibration", &calibration()),
        chart("robustness", &robustness()),
    ];
    for classes in CLASS_COUNTS {
        let names = class_names(classes);
        let matrix = draw_confusion_matrix(&confusion(classes), &names);
        pictures.push(chart(&format!("confusion-matrix-{classes}"), &matrix));
        pictures.push(chart(&format!("bars-{classes}"), &bars(&names)));
        for (shape, width, height) in [("small", 96, 64), ("wide", 960, 540), ("high", 480, 720)] {
            let (image, ids) = scene_of_classes(width, height, classes);
            let name = format!("overlay-{shape}-{classes}");
            let pixels = draw_overlay(&image, &ids, &names);
            pictures.push(GalleryPicture { name, pixels, svg: None });
        }
        let name = format!("contact-sheet-{classes}");
        let pixels = rasterize(&contact_sheet(&names));
        pictures.push(GalleryPicture { name, pixels, svg: None });
    }
    pictures
}

fn chart(name: &str, scene: &Scene) -> GalleryPicture {
    let (pixels, svg) = (rasterize(scene), Some(to_svg(scene)));
    GalleryPicture { name: name.to_owned(), pixels, svg }
}

#[allow(dead_code, reason = "the test of these pictures has no use for it")]
fn main() {
    let folder = Path::new("docs/gallery");
    std::fs::create_dir_all(folder).expect("the folder can be made");
    for GalleryPicture { name, pixels, svg } in draw_gallery() {
        let mut png = Vec::new();
        let encoder =
            PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive);
        pixels.write_with_encoder(encoder).expect("encoded");
        std::fs::write(folder.join(format!("{name}.png")), png).expect("written");
        if let Some(svg) = svg {
            std::fs::write(folder.join(format!("{name}.svg")), svg).expect("written");
        }
    }
}

fn class_names(classes: usize) -> Vec<String> {
    if classes > NAMES.len() {
        return (0..classes).map(|id| format!("category {id}")).collect();
    }
    NAMES[..classes].iter().map(|&name| name.to_owned()).collect()
}

/// Returns a number between 0 and 1 that differs from index to index without an order.
fn noise(index: usize) -> f64 {
    let mixed = (index ^ (index >> 3)).wrapping_mul(2_654_435_761) >> 7;
    (mixed % 1009) as f64 / 1009.0
}

fn learning_curves() -> Scene {
    let mut history = Vec::new();
    for epoch in 1..=40_usize {
        let shake = |size: f64| size * (noise(epoch) - 0.5);
        let x = epoch as f64;
        history.push(EpochMetrics {
            epoch,
            train_loss: 1.9 / (1.0 + x / 5.0) + shake(0.04),
            train_throughput: 100.0,
            validation_miou: Some(0.85 * x / (x + 4.0) + shake(0.02)),
            validation_pixel_accuracy: Some(0.96 * x / (x + 1.0) + shake(0.01)),
            validation_throughput: 100.0,
            learning_rate: 0.01 * (1.0 - x / 41.0),
        });
    }
    draw_line_chart(&describe_learning_curves(&history))
}

fn calibration() -> Scene {
    let mut points = Vec::new();
    for bin in 0..15 {
        let confidence = (f64::from(bin) + 0.5) / 15.0;
        points.push((confidence, (bin > 2).then_some(confidence * (0.75 + 0.25 * confidence))));
    }
    let perfect = Series {
        name: "perfectly calibrated".to_owned(),
        points: vec![(0.0, Some(0.0)), (1.0, Some(1.0))],
        is_reference: true,
    };
    let measured = Series { name: "model".to_owned(), points, is_reference: false };
    draw_line_chart(&LineChart {
        x_axis: XAxis { label: "confidence".to_owned(), range: Some((0.0, 1.0)) },
        panels: vec![Panel {
            title: "Accuracy by confidence".to_owned(),
            height: PanelHeight::Square,
            range: Some((0.0, 1.0)),
            series: vec![measured, perfect],
            ..Panel::default()
        }],
    })
}

fn robustness() -> Scene {
    let kinds = ["noise", "blur", "JPEG", "brightness", "contrast", "haze", "rotation", "scale"];
    let mut curves = Vec::new();
    for (number, kind) in kinds.into_iter().enumerate() {
        let slope = 0.02 + 0.1 * noise(number + 5);
        let mut points = vec![(0.0, Some(0.78))];
        for strength in 1..=5 {
            let strength = f64::from(strength);
            points.push((strength, Some(0.78 - slope * strength)));
        }
        curves.push(Series { name: kind.to_owned(), points, is_reference: false });
    }
    draw_line_chart(&LineChart {
        x_axis: XAxis { label: "strength of the disturbance".to_owned(), range: None },
        panels: vec![Panel {
            title: "mIoU under disturbances".to_owned(),
            range: Some((0.0, 1.0)),
            series: curves,
            ..Panel::default()
        }],
    })
}

fn confusion(classes: usize) -> Vec<Vec<u64>> {
    let mut rows = Vec::new();
    for row in 0..classes {
        let pixels = 1e3 + 1e6 * noise(row + 1) * noise(row + 2);
        let right = 0.5 + 0.5 * noise(7 * row + 3);
        let mut counts = vec![0; classes];
        if row == 7 {
            // A class without pixels.
            rows.push(counts);
            continue;
        }
        counts[row] = (pixels * right) as u64;
        for part in 1..=4 {
            let column = (row + part * part * 7 + 2 * part) % classes;
            counts[column] += (pixels * (1.0 - right) / 4.0 * noise(row + part)) as u64;
        }
        rows.push(counts);
    }
    rows
}

fn bars(names: &[String]) -> Scene {
    let mut bars = Vec::new();
    for index in 0..names.len() {
        let value = 0.3 + 0.68 * noise(index + 11);
        let half = 0.01 + 0.08 * noise(index + 31);
        bars.push(Bar {
            name: class_label(index, names),
            value: Some(value),
            interval: Some(((value - half).max(0.0), (value + half).min(1.0))),
        });
    }
    draw_bar_chart(&BarChart { title: "IoU of each class".to_owned(), bars })
}

/// Makes a picture of disks of all classes but the first, on its background.
fn scene_of_classes(width: u32, height: u32, classes: usize) -> (RgbImage, GrayImage) {
    let mut ids = GrayImage::new(width, height);
    let (columns, rows) = (f64::from(width), f64::from(height));
    for index in 0..(classes * 2) {
        let id = 1 + index % (classes - 1);
        let (center_x, center_y) = (noise(3 * index + 1) * columns, noise(5 * index + 2) * rows);
        let size = 0.04 + 0.16 * noise(index + 9) / (classes as f64).sqrt().min(4.0);
        let radius = size * columns.min(rows);
        for (x, y, pixel) in ids.enumerate_pixels_mut() {
            let (x, y) = (f64::from(x) - center_x, f64::from(y) - center_y);
            if x * x + y * y < radius * radius {
                *pixel = Luma([id as u8]);
            }
        }
    }
    // Some pixels are ignored.
    for x in 0..width / 5 {
        for y in 0..height / 8 {
            ids.put_pixel(x + width / 3, y + height / 2, Luma([255]));
        }
    }
    let image = RgbImage::from_fn(width, height, |x, y| {
        let [red, green, blue] = class_color(ids.get_pixel(x, y).0[0]);
        let light = 190.0 - 80.0 * f64::from(y) / f64::from(height);
        image::Rgb([red, green, blue].map(|value| (0.7 * light + 0.3 * f64::from(value)) as u8))
    });
    (image, ids)
}

fn contact_sheet(names: &[String]) -> Scene {
    let (mut rows, mut all_ids) = (Vec::new(), Vec::new());
    for number in 0..2 {
        let (image, ids) = scene_of_classes(300, 200 + 40 * number, names.len());
        let (_, predicted) = scene_of_classes(300, 200 + 40 * number, names.len().min(3));
        let pictures =
            vec![image.clone(), draw_classes(&image, &ids), draw_classes(&image, &predicted)];
        all_ids.extend_from_slice(ids.as_raw());
        rows.push(SheetRow {
            name: format!("2024-05-17_camera-3_frame-00012{number}.jpg"),
            pictures,
        });
    }
    let ids = GrayImage::from_raw(all_ids.len() as u32, 1, all_ids).expect("of that size");
    draw_contact_sheet(&ContactSheet {
        title: &["Validation images after epoch 12".to_owned()],
        columns: &["image", "annotation", "prediction"].map(str::to_owned),
        rows: &rows,
        cell_px: cell_side_px(300),
        ids: &ids,
        class_names: names,
    })
}
