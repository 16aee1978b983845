//! The charts of the report.

use crate::evaluate::document::SegmentationMetrics;
use crate::evaluate::robustness::Robustness;
use crate::metrics::{Calibration, ConfusionMatrix};
use crate::render::{
    Bar, BarChart, LineChart, Panel, PanelHeight, Scene, Series, XAxis, class_label,
    draw_bar_chart, draw_confusion_matrix, draw_line_chart,
};

/// Draws the IoU of each class with its interval.
pub(super) fn draw_class_iou(metrics: &SegmentationMetrics, class_names: &[String]) -> Scene {
    let mut bars = Vec::with_capacity(metrics.classes.len());
    for class in &metrics.classes {
        bars.push(Bar {
            name: class_label(class.id, class_names),
            value: class.iou.value,
            interval: class.iou.interval,
        });
    }
    let title = "IoU of each class on the test images, with 95 % intervals".to_owned();
    draw_bar_chart(&BarChart { title, bars })
}

/// Draws the confusion matrix.
pub(super) fn draw_matrix(matrix: &ConfusionMatrix, class_names: &[String]) -> Scene {
    let rows: Vec<Vec<u64>> = matrix.rows().map(<[u64]>::to_vec).collect();
    draw_confusion_matrix(&rows, class_names)
}

/// Draws the mIoU by the strength of each disturbance.
pub(super) fn draw_robustness(robustness: &Robustness) -> Scene {
    let mut series = Vec::with_capacity(robustness.perturbations.len());
    for of_kind in &robustness.perturbations {
        let mut points = vec![(0.0, robustness.miou)];
        for (strength, miou) in (1_u8..).zip(of_kind.miou) {
            points.push((f64::from(strength), miou));
        }
        series.push(Series { name: of_kind.name.to_owned(), points, is_reference: false });
    }
    draw_line_chart(&LineChart {
        x_axis: XAxis { label: "strength of the disturbance".to_owned(), range: None },
        panels: vec![Panel {
            title: "mIoU under disturbances".to_owned(),
            range: Some((0.0, 1.0)),
            series,
            ..Panel::default()
        }],
    })
}

/// Draws the share of right pixels by the probability of their class.
pub(super) fn draw_calibration(calibration: &Calibration) -> Scene {
    let mut points = Vec::new();
    for bin in &calibration.bins {
        if let Some(confidence) = bin.mean_confidence() {
            points.push((confidence, bin.accuracy()));
        }
    }
    let perfect = Series {
        name: "perfectly calibrated".to_owned(),
        points: vec![(0.0, Some(0.0)), (1.0, Some(1.0))],
        is_reference: true,
    };
    let measured = Series { name: "model".to_owned(), points, is_reference: false };
    draw_line_chart(&LineChart {
        x_axis: XAxis { label: "probability of the class".to_owned(), range: Some((0.0, 1.0)) },
        panels: vec![Panel {
            title: "Share of right pixels by the probability of their class".to_owned(),
            height: PanelHeight::Square,
            range: Some((0.0, 1.0)),
            series: vec![measured, perfect],
            ..Panel::default()
        }],
    })
}
