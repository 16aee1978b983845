//! Pictures for people: overlays, legends, charts and contact sheets.

mod axis;
mod chart;
mod contact_sheet;
mod heatmap;
mod legend;
mod overlay;
mod stroke;
mod text;

pub use chart::{Panel, Series, draw_chart};
pub use contact_sheet::{ContactSheet, SheetRow, cell_side_px, draw_contact_sheet};
pub use heatmap::draw_confusion_matrix;
pub use overlay::{draw_classes, draw_overlay, draw_overlay_with_colors};
