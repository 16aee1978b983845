//! Pictures for people: overlays, legends, charts and contact sheets. Charts and sheets are described
//! as a [`Scene`], of which [`rasterize`] makes pixels and [`to_svg`] a document.

mod axis;
mod bar_chart;
mod class_label;
mod confusion_matrix;
mod contact_sheet;
mod font;
mod legend;
mod line_chart;
mod overlay;
mod palette;
mod parallel_coordinates;
mod rasterize;
mod scene;
mod svg;

pub use bar_chart::{Bar, BarChart, draw_bar_chart};
pub use class_label::class_label;
pub use confusion_matrix::draw_confusion_matrix;
pub use contact_sheet::{ContactSheet, SheetRow, cell_side_px, draw_contact_sheet};
pub use font::FontWeight;
pub use line_chart::{LineChart, Mark, Panel, PanelHeight, Series, XAxis, draw_line_chart};
pub use overlay::{draw_classes, draw_classes_with_colors, draw_overlay, draw_overlay_with_colors};
pub use parallel_coordinates::{
    CoordinateAxis, CoordinateLine, ParallelCoordinates, draw_parallel_coordinates,
};
pub use rasterize::rasterize;
#[cfg(test)]
pub(crate) use scene::tests::assert_texts_are_apart;
pub use scene::{Anchor, Rectangle, Rgb, Scene, Shape, Text};
pub use svg::to_svg;
