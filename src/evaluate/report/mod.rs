//! `report.html`: what a person looks at before saying yes, in one file that opens without a network
//! and without scripts, and its pictures as files.

mod charts;
mod html;

use std::path::Path;

use image::RgbImage;

use self::html::{Cell, Page};
use super::comparison::Comparison;
use super::document::{ClassMetrics, Evaluation, Score};
use super::estimates::ScoreEstimates;
use super::examples::{Example, ExampleGroup, GROUPS, MAX_SIDE_PX, PANEL_NAMES};
use super::explain::Explainability;
use super::groups::Groups;
use crate::error::{Result, pluralize};
use crate::files::{create_folder, write_atomically};
use crate::imaging::{encode_jpeg, encode_png};
use crate::metrics::ConfusionMatrix;
use crate::model::size::shrink_image;
use crate::render::{Scene, class_label, rasterize, to_svg};

/// Largest size of the report, in bytes.
const MAX_REPORT_BYTES: usize = 10_000_000;

/// Longest sides of example pictures, in pixels: the first with which the report is small enough.
const EXAMPLE_SIDES_PX: [u32; 4] = [MAX_SIDE_PX, 384, 256, 128];

/// Quality of example pictures as JPEG.
const JPEG_QUALITY: u8 = 85;

/// Largest number of classes whose confusion matrix is drawn as shapes; that of more is a picture.
const MAX_MATRIX_SHAPES: usize = 64;

/// Names of the charts' files without their endings.
const CHARTS: [&str; 4] = ["class-iou", "confusion-matrix", "calibration", "robustness"];

/// Results that the report shows.
pub(super) struct ReportContent<'a> {
    pub(super) evaluation: &'a Evaluation,
    pub(super) estimates: &'a ScoreEstimates,
    pub(super) matrix: &'a ConfusionMatrix,
    pub(super) class_names: &'a [String],
    /// Color of each class.
    pub(super) colors: &'a [[u8; 3]],
    pub(super) examples: &'a [ExampleGroup],
    pub(super) explainability: Option<&'a Explainability>,
}

/// A chart of the report.
struct Chart {
    /// Name of its files without their endings.
    name: &'static str,
    /// Heading of its section.
    heading: &'static str,
    description: &'static str,
    scene: Scene,
}

/// Writes `report.html`, and its charts and examples into the folder `pictures`.
pub(super) fn write_report(
    report: &Path,
    pictures: &Path,
    content: &ReportContent<'_>,
) -> Result<()> {
    let charts = draw_charts(content);
    create_folder(pictures)?;
    for Chart { name, scene, .. } in &charts {
        let pixels = encode_png(&rasterize(scene));
        write_atomically(&pictures.join(format!("{name}.png")), &pixels)?;
        write_atomically(&pictures.join(format!("{name}.svg")), to_svg(scene).as_bytes())?;
    }
    for group in content.examples {
        for (number, example) in (1..).zip(&group.examples) {
            for (panel, picture) in PANEL_NAMES.iter().zip(&example.panels) {
                let name = name_example(group.name, number, panel);
                write_atomically(&pictures.join(name), &encode_jpeg(picture, JPEG_QUALITY))?;
            }
        }
    }
    write_atomically(report, render_report(content, &charts).as_bytes())
}

/// Lists the names of all pictures that a report may have.
pub(super) fn list_pictures() -> Vec<String> {
    let mut names = Vec::new();
    for chart in CHARTS {
        names.extend([format!("{chart}.png"), format!("{chart}.svg")]);
    }
    for (group, count) in GROUPS {
        for number in 1..=count {
            for panel in PANEL_NAMES {
                names.push(name_example(group, number, panel));
            }
        }
    }
    names
}

fn name_example(group: &str, number: usize, panel: &str) -> String {
    format!("{group}-{number}-{panel}.jpg")
}

fn draw_charts(content: &ReportContent<'_>) -> Vec<Chart> {
    let ReportContent { evaluation, estimates, matrix, class_names, .. } = content;
    let mut charts = vec![
        Chart {
            name: CHARTS[0],
            heading: "Classes",
            description: "bars with the IoU of each class; the table below has the numbers",
            scene: charts::draw_class_iou(&evaluation.segmentation_metrics, class_names),
        },
        Chart {
            name: CHARTS[1],
            heading: "Confusion",
            description: "the confusion matrix; evaluation.json has the numbers",
            scene: charts::draw_matrix(matrix, class_names),
        },
        Chart {
            name: CHARTS[2],
            heading: "Calibration",
            description: "the share of right pixels by the probability of their class",
            scene: charts::draw_calibration(estimates.totals.calibration()),
        },
    ];
    if let Some(robustness) = &evaluation.robustness {
        charts.push(Chart {
            name: CHARTS[3],
            heading: "Robustness",
            description: "the mIoU by the strength of each disturbance; the table has the numbers",
            scene: charts::draw_robustness(robustness),
        });
    }
    charts
}

/// Renders the page with the largest examples with which it is small enough, or without them.
fn render_report(content: &ReportContent<'_>, charts: &[Chart]) -> String {
    for side_px in EXAMPLE_SIDES_PX {
        let page = render_page(content, charts, Some(side_px));
        if page.len() <= MAX_REPORT_BYTES {
            return page;
        }
    }
    render_page(content, charts, None)
}

fn render_page(content: &ReportContent<'_>, charts: &[Chart], side_px: Option<u32>) -> String {
    let ReportContent { evaluation, class_names, examples, .. } = content;
    let mut page = Page::new(&format!("Evaluation of {}", evaluation.model.path));
    let gate = &evaluation.gate;
    page.note(if gate.passed { "passed" } else { "failed" }, &sentence(&gate.summary()));
    for warning in evaluation.warnings() {
        page.note("warning", &sentence(&warning));
    }
    add_scores(&mut page, evaluation);
    if let Some(comparison) = &evaluation.comparison {
        add_comparison(&mut page, comparison, class_names);
    }
    for chart in charts {
        page.heading(chart.heading);
        let is_large = chart.name == "confusion-matrix" && class_names.len() > MAX_MATRIX_SHAPES;
        if is_large {
            let picture = encode_jpeg(&rasterize(&chart.scene), JPEG_QUALITY);
            page.picture(&picture, chart.description);
        } else {
            page.chart(&to_svg(&chart.scene), chart.description);
        }
        match chart.name {
            "class-iou" => {
                add_classes(&mut page, &evaluation.segmentation_metrics.classes, content.colors);
            }
            "calibration" => add_calibration(&mut page, evaluation),
            "robustness" => add_robustness(&mut page, evaluation),
            _ => {}
        }
    }
    add_object_sizes(&mut page, evaluation);
    if let Some(groups) = &evaluation.groups {
        add_groups(&mut page, groups);
    }
    if let Some(side_px) = side_px {
        for group in *examples {
            add_examples(&mut page, group, class_names, side_px);
        }
        if let Some(explainability) = content.explainability {
            add_explanations(&mut page, explainability, class_names, side_px);
        }
    } else {
        page.paragraph("Images are left out here, for they would take too much space: see the folder pictures.");
    }
    add_data_and_settings(&mut page, evaluation);
    page.finish()
}

/// Makes a sentence of a message: with a capital letter and a full stop.
fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    match characters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), characters.as_str()),
        None => String::new(),
    }
}

/// Returns the cells of a score: value, interval and standard deviation.
fn score_cells(score: Score) -> [Cell; 3] {
    let number = |value: Option<f64>| match value {
        Some(value) => format!("{value:.4}"),
        None => "–".to_owned(),
    };
    let interval = match score.interval {
        Some((low, high)) => format!("{low:.4} to {high:.4}"),
        None => "–".to_owned(),
    };
    [number(score.value), interval, number(score.standard_deviation)].map(Cell::Number)
}

fn add_scores(page: &mut Page, evaluation: &Evaluation) {
    let metrics = &evaluation.segmentation_metrics;
    page.heading("Scores");
    let mut rows = Vec::new();
    for (name, score) in [
        ("mIoU", metrics.miou),
        ("frequency-weighted IoU", metrics.frequency_weighted_iou),
        ("pixel accuracy", metrics.pixel_accuracy),
        ("boundary F1", metrics.boundary_f1),
        ("expected calibration error", metrics.expected_calibration_error),
    ] {
        let mut row = vec![Cell::Text(name.to_owned())];
        row.extend(score_cells(score));
        rows.push(row);
    }
    page.table("scores", &["score", "value", "95 % interval", "standard deviation"], rows);
    page.note(
        "muted",
        &format!(
            "Over {} with {} pixels that the masks do not ignore. The intervals say how much the \
             scores would differ on other images of the same kind.",
            pluralize(metrics.images, "image"),
            metrics.pixels
        ),
    );
}

fn add_comparison(page: &mut Page, comparison: &Comparison, class_names: &[String]) {
    page.heading("Comparison");
    page.paragraph(&format!(
        "Differences from {}, whose mIoU is {} on the same images. Positive numbers mean that this model \
         is better.",
        comparison.other_model,
        comparison.other_miou.value.map_or("not defined".to_owned(), |miou| format!("{miou:.4}"))
    ));
    let mut rows = Vec::new();
    let mut named = vec![("mIoU".to_owned(), comparison.miou)];
    for class in &comparison.classes {
        named.push((format!("IoU of {}", class_label(class.id, class_names)), class.iou));
    }
    for (name, difference) in named {
        let mut row = vec![Cell::Text(name)];
        row.extend(score_cells(difference.difference));
        let probability = difference.probability_better;
        row.push(Cell::Number(probability.map_or("–".to_owned(), |value| format!("{value:.3}"))));
        rows.push(row);
    }
    let columns = [
        "score",
        "difference",
        "95 % interval",
        "standard deviation",
        "probability of being better",
    ];
    page.table("comparison", &columns, rows);
}

fn add_classes(page: &mut Page, classes: &[ClassMetrics], colors: &[[u8; 3]]) {
    let number = |score: Score| {
        Cell::Number(score.value.map_or("–".to_owned(), |value| format!("{value:.4}")))
    };
    let mut rows = Vec::new();
    for class in classes {
        let [iou, interval, _] = score_cells(class.iou);
        let note = class
            .reliable_reason
            .as_deref()
            .map_or(String::new(), |reason| format!("not reliable: {reason}"));
        let color = colors.get(class.id).copied().unwrap_or_default();
        rows.push(vec![
            Cell::Number(class.id.to_string()),
            Cell::Text(class.name.clone()),
            Cell::Color(color),
            iou,
            interval,
            number(class.precision),
            number(class.recall),
            number(class.f1),
            number(class.boundary_f1),
            Cell::Number(class.images.to_string()),
            Cell::Number(class.pixels.to_string()),
            Cell::Text(note),
        ]);
    }
    let columns = [
        "id",
        "class",
        "",
        "IoU",
        "95 % interval",
        "precision",
        "recall",
        "F1",
        "boundary F1",
        "images",
        "pixels",
        "",
    ];
    page.table("classes", &columns, rows);
}

fn add_calibration(page: &mut Page, evaluation: &Evaluation) {
    let error = evaluation.segmentation_metrics.expected_calibration_error.value;
    page.paragraph(&format!(
        "A model that is 80 % sure should hit 80 % of the pixels. The expected calibration error, the mean \
         distance from that, is {}.",
        error.map_or("not defined".to_owned(), |error| format!("{error:.4}"))
    ));
}

fn add_robustness(page: &mut Page, evaluation: &Evaluation) {
    let Some(robustness) = &evaluation.robustness else { return };
    let number = |value: Option<f64>| {
        Cell::Number(value.map_or("–".to_owned(), |value| format!("{value:.4}")))
    };
    let mut rows = Vec::new();
    for of_kind in &robustness.perturbations {
        let mut row = vec![Cell::Text(of_kind.name.to_owned()), number(robustness.miou)];
        row.extend(of_kind.miou.map(number));
        row.push(number(of_kind.relative_drop));
        rows.push(row);
    }
    let columns = ["disturbance", "none", "1", "2", "3", "4", "5", "relative drop"];
    page.table("robustness", &columns, rows);
    page.note(
        "muted",
        &format!(
            "mIoU on {}, disturbed at five strengths. The relative drop is the mean part of the mIoU that is \
             lost.",
            pluralize(robustness.images, "image")
        ),
    );
}

fn add_object_sizes(page: &mut Page, evaluation: &Evaluation) {
    page.heading("Objects by size");
    let mut rows = Vec::new();
    for of_size in &evaluation.segmentation_metrics.object_sizes {
        let mut row = vec![
            Cell::Text(of_size.size.to_owned()),
            Cell::Number(of_size.objects.to_string()),
            Cell::Number(of_size.pixels.to_string()),
        ];
        row.extend(score_cells(of_size.recall));
        rows.push(row);
    }
    let columns = ["size", "objects", "pixels", "recall", "95 % interval", "standard deviation"];
    page.table("objects", &columns, rows);
    page.note(
        "muted",
        "An object is a region of one class but 0. Small ones have fewer than 32 x 32 pixels, large ones \
         96 x 96 or more. Recall is the share of their pixels that are predicted as their class.",
    );
}

fn add_groups(page: &mut Page, groups: &Groups) {
    page.heading(&format!("By {}", groups.key));
    let mut rows = Vec::new();
    for group in &groups.groups {
        let mut row = vec![Cell::Text(group.value.clone()), Cell::Number(group.images.to_string())];
        let [miou, interval, _] = score_cells(group.miou);
        let [accuracy, ..] = score_cells(group.pixel_accuracy);
        let note = if group.reliable { "" } else { "not reliable: few images" };
        row.extend([miou, interval, accuracy, Cell::Text(note.to_owned())]);
        rows.push(row);
    }
    let columns = [&groups.key, "images", "mIoU", "95 % interval", "pixel accuracy", ""];
    page.table("groups", &columns, rows);
}

fn add_examples(page: &mut Page, group: &ExampleGroup, class_names: &[String], side_px: u32) {
    page.heading(match group.name {
        "worst" => "The worst images",
        "typical" => "Typical images",
        _ => "The best images",
    });
    if group.name == "worst" {
        page.note("muted", "Errors are orange on the gray image; what the mask ignores is white.");
    }
    for example in &group.examples {
        let mut pictures = Vec::new();
        for (name, picture) in PANEL_NAMES.into_iter().zip(&example.panels) {
            pictures.push((name, encode_example(picture, side_px)));
        }
        page.pictures(&describe_example(example, class_names), &pictures);
    }
}

fn encode_example(picture: &RgbImage, side_px: u32) -> Vec<u8> {
    encode_jpeg(&shrink_image(picture, side_px), JPEG_QUALITY)
}

fn add_explanations(
    page: &mut Page,
    explainability: &Explainability,
    class_names: &[String],
    side_px: u32,
) {
    page.heading("Where the model looks");
    page.note(
        "muted",
        "The more orange a place, the more it matters for the pixels that are predicted as the class: by \
         how much their probability falls if the place is covered (occlusion), and by the gradients of the \
         last features (Seg-Grad-CAM).",
    );
    page.paragraph(&match explainability.deletion_check {
        Some(check) => format!(
            "Check: if the places that matter are covered first, the class fades sooner than in a random \
             order in {} of {} images (p = {:.4}, one-sided sign test, {}).",
            check.better,
            check.images,
            check.p_value,
            check.method.replace('_', "-")
        ),
        None => "The explanations were not checked: fewer than 20 images could be compared.".to_owned(),
    });
    for image in &explainability.images {
        for class in &image.classes {
            let mut pictures = Vec::new();
            for (name, picture) in &class.pictures {
                pictures.push((*name, encode_example(picture, side_px)));
            }
            let name = class_label(class.id, class_names);
            page.pictures(&format!("{} ({}): {name}", image.file, image.kind), &pictures);
        }
    }
}

fn describe_example(example: &Example, class_names: &[String]) -> String {
    let Example { file, miou, confusion, .. } = example;
    let most_confused = match confusion {
        Some(confusion) => format!(
            "; most wrong pixels, {}, are {} and predicted as {}",
            confusion.pixels,
            class_label(confusion.truth, class_names),
            class_label(confusion.predicted, class_names)
        ),
        None => String::new(),
    };
    format!("{file}: mIoU {miou:.4}{most_confused}")
}

fn describe_count(count: Option<usize>) -> String {
    count.map_or("not known".to_owned(), |count| count.to_string())
}

fn add_data_and_settings(page: &mut Page, evaluation: &Evaluation) {
    page.heading("Data, model and settings");
    let model = &evaluation.model;
    let settings = &evaluation.settings;
    let mut rows = Vec::new();
    for (name, value) in [
        ("test set", evaluation.data.path.clone()),
        ("images", evaluation.data.images.to_string()),
        ("samples left out", evaluation.data.skipped.to_string()),
        ("images of the training", describe_count(evaluation.data.train_images)),
        ("images of the validation", describe_count(evaluation.data.validation_images)),
        ("model", model.path.clone()),
        ("classes", model.class_names.len().to_string()),
        ("computed in", format!("{} on {}", model.precision, model.device)),
        ("longest side that is computed whole", format!("{} pixels", model.max_side)),
        (
            "tolerance of borders",
            format!("{} % of the diagonal", 100.0 * settings.boundary_tolerance),
        ),
        ("draws of the bootstrap", settings.bootstrap_draws.to_string()),
        ("seed", settings.seed.to_string()),
        ("maskmaker", evaluation.maskmaker_version.to_owned()),
    ] {
        rows.push(vec![Cell::Text(name.to_owned()), Cell::Text(value)]);
    }
    page.table("settings", &["setting", "value"], rows);
}

#[cfg(test)]
mod tests {
    use super::html::Escaped;
    use super::*;

    #[test]
    fn texts_of_users_are_no_markup() {
        assert_eq!(Escaped("<b a=\"1\">&'").to_string(), "&lt;b a=&quot;1&quot;&gt;&amp;&#39;");
        let mut page = Page::new("</title><script>");
        page.table("t", &["<i>"], vec![vec![Cell::Text("<s>".into()), Cell::Number("<u>".into())]]);
        page.pictures("<em>", &[("<x>", vec![1, 2])]);
        let html = page.finish();
        for tag in ["<script>", "<i>", "<s>", "<u>", "<em>", "<x>"] {
            assert!(!html.contains(tag), "{tag}: {html}");
        }
    }

    #[test]
    fn messages_become_sentences() {
        assert_eq!(sentence("gate passed: a"), "Gate passed: a.");
        assert_eq!(sentence(""), "");
    }
}
