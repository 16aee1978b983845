//! Pre-annotation: a model's masks as predictions of Label Studio, for annotators to correct.
//!
//! 1. `control` reads the labeling configuration: which control tag gets the predictions, and which of
//!    its labels stands for which class of the model.
//! 2. `images` reads the image of a task from where Label Studio has it.
//! 3. A [`Segmenter`] computes the mask, wherever its model is.
//! 4. `prediction` turns the mask into regions and a score.
//! 5. `push` does all this for the tasks of a project, and stores the predictions; `backend` does it when
//!    Label Studio asks.

mod backend;
mod control;
mod images;
mod prediction;
mod push;
mod segmenter;
mod store;
mod task_prediction;

pub use self::backend::{Backend, BackendSettings, BasicAuth, run_backend};
pub use self::control::{ControlPlan, PlannedControl, RegionKind, plan_control};
pub use self::images::TaskImages;
pub use self::prediction::{Prediction, RegionOptions, build_prediction};
pub use self::push::{PushOptions, PushSummary, Pusher};
pub use self::segmenter::{
    BoxFuture, ModelVersion, PredictedMask, SegmentError, SegmentErrorKind, Segmenter,
};
pub use self::task_prediction::{StageTimes, TaskError, TaskPrediction, TaskPredictor};
