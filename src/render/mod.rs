//! Pictures for people: overlays, legends and charts.

mod axis;
mod chart;
mod legend;
mod overlay;
mod stroke;
mod text;

pub use chart::{Panel, Series, chart};
pub use overlay::overlay;
