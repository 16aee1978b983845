//! Pictures for people: overlays and legends.

mod legend;
mod overlay;
mod text;

pub use overlay::overlay;
