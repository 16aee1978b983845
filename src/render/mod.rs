//! Pictures for people: overlays, legends and charts.

mod axis;
mod chart;
mod heatmap;
mod legend;
mod overlay;
mod sheet;
mod stroke;
mod text;

pub use chart::{Panel, Series, chart};
pub use heatmap::confusion_matrix;
pub use overlay::{overlay, overlay_in, painted};
pub use sheet::{Row, cell, contact_sheet};
