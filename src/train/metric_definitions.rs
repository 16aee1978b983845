//! Metrics in the lines of a training job, as `hyperparameters/metric-definitions.json` has them.

/// Names of the metrics, and the regular expressions whose group is the value. A test holds them
/// against the file.
pub const METRIC_DEFINITIONS: [(&str, &str); 5] = [
    ("train:loss", r"train loss: (\S+)"),
    ("train:throughput", r"train throughput: (\S+)"),
    ("validation:mIOU", r"validation mIOU: (\S+)"),
    ("validation:pixel_accuracy", r"pixel_accuracy: (\S+)"),
    ("validation:throughput", r"validation throughput: (\S+)"),
];

/// Regular expression of the beginning of a line that belongs to an epoch, whose number, from 1, is the
/// group.
pub const EPOCH_PATTERN: &str = r"^epoch (\d+)/";
