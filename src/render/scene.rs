//! The description of a picture, from which [`to_svg`](super::to_svg) and
//! [`rasterize`](super::rasterize) make a file or pixels: shapes in the order in which they are
//! drawn. Positions are pixels from the upper left corner.

use image::RgbImage;

use super::font::{FontWeight, clean_text, text_extent_px, text_width_px};

/// A picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// Width and height in pixels.
    pub size: (u32, u32),
    pub shapes: Vec<Shape>,
}

/// Red, green and blue.
pub type Rgb = [u8; 3];

/// A part of a picture.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Rectangle(Rectangle),
    /// A line through points.
    Polyline {
        points: Vec<(f32, f32)>,
        width: f32,
        color: Rgb,
        /// Lengths of a dash and of the gap after it, in pixels.
        dash: Option<(f32, f32)>,
    },
    Polygon {
        points: Vec<(f32, f32)>,
        fill: Rgb,
        /// 0 (nothing is seen) to 1.
        opacity: f32,
    },
    Circle {
        center: (f32, f32),
        radius: f32,
        fill: Rgb,
    },
    Text(Text),
    /// Pixels as they are.
    Picture {
        left_top: (u32, u32),
        image: RgbImage,
    },
}

/// A filled rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rectangle {
    pub left_top: (f32, f32),
    /// Width and height.
    pub size: (f32, f32),
    pub fill: Rgb,
}

/// A line of text.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    pub text: String,
    /// Point on the base line.
    pub position: (f32, f32),
    /// Part of the text that is at the point.
    pub anchor: Anchor,
    pub size_px: f32,
    pub weight: FontWeight,
    pub color: Rgb,
    /// True if the text is turned by a quarter around the point, and reads upwards.
    pub is_turned: bool,
}

/// Part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Anchor {
    #[default]
    Start,
    Middle,
    End,
}

impl Scene {
    /// Makes a picture of one color.
    pub fn new(size: (u32, u32), background: Rgb) -> Self {
        let mut scene = Self { size, shapes: Vec::new() };
        scene.add_rectangle((0.0, 0.0), (size.0 as f32, size.1 as f32), background);
        scene
    }

    /// Gives the picture its height in pixels, once that is known, and its background with it.
    pub(super) fn set_height(&mut self, height: f32) {
        self.size.1 = height.ceil() as u32;
        if let Some(Shape::Rectangle(background)) = self.shapes.first_mut() {
            background.size.1 = height.ceil();
        }
    }

    /// Adds a rectangle.
    pub fn add_rectangle(&mut self, left_top: (f32, f32), size: (f32, f32), fill: Rgb) {
        self.shapes.push(Shape::Rectangle(Rectangle { left_top, size, fill }));
    }

    /// Adds a straight line.
    pub fn add_line(&mut self, from: (f32, f32), to: (f32, f32), width: f32, color: Rgb) {
        self.shapes.push(Shape::Polyline { points: vec![from, to], width, color, dash: None });
    }

    /// Adds a line of text.
    pub fn add_text(&mut self, text: Text) {
        self.shapes.push(Shape::Text(text));
    }

    /// Lists the texts.
    pub fn texts(&self) -> impl Iterator<Item = &Text> {
        self.shapes.iter().filter_map(|shape| match shape {
            Shape::Text(text) => Some(text),
            _ => None,
        })
    }
}

impl Text {
    /// Makes a text in regular letters from `position` to the right. Characters that are not to be
    /// seen are left out, and line breaks are spaces.
    pub fn new(text: impl AsRef<str>, position: (f32, f32), size_px: f32, color: Rgb) -> Self {
        Self {
            text: clean_text(text.as_ref()),
            position,
            anchor: Anchor::Start,
            size_px,
            weight: FontWeight::Regular,
            color,
            is_turned: false,
        }
    }

    /// Returns the text at another place relative to its point.
    #[must_use]
    pub fn anchored(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    /// Returns the text in bold letters.
    #[must_use]
    pub fn bold(self) -> Self {
        Self { weight: FontWeight::Bold, ..self }
    }

    /// Returns the text turned by a quarter, which reads upwards.
    #[must_use]
    pub fn turned(self) -> Self {
        Self { is_turned: true, ..self }
    }

    /// Returns the width along the base line, in pixels.
    pub fn width_px(&self) -> f32 {
        text_width_px(&self.text, self.size_px, self.weight)
    }

    /// Returns how far before its point the text begins, in pixels along the base line.
    pub(super) fn shift_px(&self) -> f32 {
        match self.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => self.width_px() / 2.0,
            Anchor::End => self.width_px(),
        }
    }

    /// Returns left, top, right and bottom of the box around the letters, in pixels.
    pub fn bounds(&self) -> [f32; 4] {
        let (x, y) = self.position;
        let (before, after) = (self.shift_px(), self.width_px() - self.shift_px());
        let (above, below) = text_extent_px(&self.text, self.size_px, self.weight);
        if self.is_turned {
            [x - above, y - after, x + below, y + before]
        } else {
            [x - before, y - above, x + after, y + below]
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Checks that no text is cut by the picture's edge or overlaps another.
    pub(crate) fn assert_texts_are_apart(scene: &Scene) {
        let (width, height) = (scene.size.0 as f32, scene.size.1 as f32);
        let mut boxes: Vec<([f32; 4], &str)> = Vec::new();
        for text in scene.texts() {
            let bounds @ [left, top, right, bottom] = text.bounds();
            // A tolerance for the rounding of sums.
            assert!(
                left >= -0.01 && top >= -0.01 && right <= width + 0.01 && bottom <= height + 0.01,
                "{:?} is cut: {bounds:?} in {width} x {height}",
                text.text
            );
            for (other, other_text) in &boxes {
                let is_apart =
                    right <= other[0] || other[2] <= left || bottom <= other[1] || other[3] <= top;
                assert!(is_apart, "{:?} overlaps {other_text:?}: {bounds:?} {other:?}", text.text);
            }
            boxes.push((bounds, &text.text));
        }
    }

    /// Checks that two positions are the same but for the rounding of sums.
    pub(crate) fn assert_near(first: f32, second: f32) {
        assert!((first - second).abs() < 0.01, "{first} {second}");
    }

    #[test]
    fn boxes_follow_anchor_and_turn() {
        let text = Text::new("HHHH", (100.0, 50.0), 10.0, [0; 3]);
        let width = text.width_px();
        for (text, expected) in [
            (text.clone(), [100.0, 42.86, 100.0 + width, 50.0]),
            (text.clone().anchored(Anchor::End), [100.0 - width, 42.86, 100.0, 50.0]),
            (text.turned(), [92.86, 50.0 - width, 100.0, 50.0]),
        ] {
            for (found, expected) in text.bounds().into_iter().zip(expected) {
                assert_near(found, expected);
            }
        }
    }
}
