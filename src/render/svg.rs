//! A scene as SVG 1.1, for pages and documents: texts can be searched and copied.

use std::fmt::Write;
use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage};

use super::font::{FONT_FAMILY, FontWeight, clean_text};
use super::scene::{Anchor, Rgb, Scene, Shape, Text};

/// Writes a scene as an SVG document. Texts take the width that they have in
/// [`rasterize`](super::rasterize), whatever font the reader has.
pub fn to_svg(scene: &Scene) -> String {
    let (width, height) = scene.size;
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" \
         xmlns:xlink=\"http://www.w3.org/1999/xlink\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"'{FONT_FAMILY}', system-ui, sans-serif\">"
    );
    for shape in &scene.shapes {
        let _ = write_shape(&mut svg, shape);
    }
    svg.push_str("</svg>\n");
    svg
}

fn write_shape(svg: &mut String, shape: &Shape) -> std::fmt::Result {
    match shape {
        Shape::Rectangle(rectangle) => {
            let ((x, y), (width, height)) = (rectangle.left_top, rectangle.size);
            let fill = Hex(rectangle.fill);
            let (x, y, width, height) = (Number(x), Number(y), Number(width), Number(height));
            writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>"
            )
        }
        Shape::Polyline { points, width, color, dash } => {
            write!(
                svg,
                "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" \
                 stroke-linecap=\"round\" stroke-linejoin=\"round\"",
                Hex(*color),
                Number(*width)
            )?;
            if let Some((on, off)) = dash {
                write!(svg, " stroke-dasharray=\"{} {}\"", Number(*on), Number(*off))?;
            }
            write_points(svg, points)?;
            svg.push_str("/>\n");
            Ok(())
        }
        Shape::Polygon { points, fill, opacity } => {
            write!(svg, "<polygon fill=\"{}\"", Hex(*fill))?;
            write!(svg, " fill-opacity=\"{}\"", Number(*opacity))?;
            write_points(svg, points)?;
            svg.push_str("/>\n");
            Ok(())
        }
        Shape::Circle { center, radius, fill } => {
            let (x, y, radius) = (Number(center.0), Number(center.1), Number(*radius));
            writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" fill=\"{}\"/>", Hex(*fill))
        }
        Shape::Text(text) => write_text(svg, text),
        Shape::Picture { left_top: (x, y), image } => {
            let (width, height) = image.dimensions();
            writeln!(
                svg,
                "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" \
                 xlink:href=\"data:image/png;base64,{}\"/>",
                STANDARD.encode(encode_png(image))
            )
        }
    }
}

fn write_points(svg: &mut String, points: &[(f32, f32)]) -> std::fmt::Result {
    svg.push_str(" points=\"");
    for (index, &(x, y)) in points.iter().enumerate() {
        let gap = if index == 0 { "" } else { " " };
        write!(svg, "{gap}{},{}", Number(x), Number(y))?;
    }
    svg.push('"');
    Ok(())
}

fn write_text(svg: &mut String, text: &Text) -> std::fmt::Result {
    let (x, y) = (Number(text.position.0), Number(text.position.1));
    write!(
        svg,
        "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" fill=\"{}\" textLength=\"{}\" \
         lengthAdjust=\"spacingAndGlyphs\"",
        Number(text.size_px),
        Hex(text.color),
        Number(text.width_px())
    )?;
    svg.push_str(match text.anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    });
    if text.weight == FontWeight::Bold {
        svg.push_str(" font-weight=\"bold\"");
    }
    if text.is_turned {
        write!(svg, " transform=\"rotate(-90 {x} {y})\"")?;
    }
    svg.push('>');
    for letter in clean_text(&text.text).chars() {
        match letter {
            '<' => svg.push_str("&lt;"),
            '>' => svg.push_str("&gt;"),
            '&' => svg.push_str("&amp;"),
            letter => svg.push(letter),
        }
    }
    svg.push_str("</text>\n");
    Ok(())
}

/// Encodes a picture. Encoding into memory fails only for pictures without pixels.
fn encode_png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    match image.write_to(&mut bytes, ImageFormat::Png) {
        Ok(()) => bytes.into_inner(),
        Err(_) => Vec::new(),
    }
}

/// A color as CSS writes it.
struct Hex(Rgb);

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// A number with at most two decimals, 0 if it is not finite.
struct Number(f32);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = if self.0.is_finite() { self.0 } else { 0.0 };
        let text = format!("{value:.2}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        f.write_str(if text == "-0" { "0" } else { text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shapes_are_written_with_their_positions_and_colors() {
        let mut scene = Scene::new((40, 30), [255; 3]);
        scene.add_line((1.0, 2.25), (-0.001, 4.0), 1.5, [255, 0, 16]);
        scene.add_text(Text::new("a<b", (5.0, 9.0), 12.0, [0; 3]).bold().turned());
        let image = RgbImage::from_pixel(2, 1, image::Rgb([1, 2, 3]));
        scene.shapes.push(Shape::Picture { left_top: (3, 4), image });
        let svg = to_svg(&scene);
        for part in [
            "width=\"40\" height=\"30\"",
            "<rect x=\"0\" y=\"0\" width=\"40\" height=\"30\" fill=\"#ffffff\"/>",
            "stroke=\"#ff0010\" stroke-width=\"1.5\"",
            "points=\"1,2.25 0,4\"",
            "font-weight=\"bold\" transform=\"rotate(-90 5 9)\">a&lt;b</text>",
            "<image x=\"3\" y=\"4\" width=\"2\" height=\"1\" xlink:href=\"data:image/png;base64,iVBOR",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_document_that_parses(text in any::<String>(), number in any::<f32>()) {
            let mut scene = Scene::new((10, 10), [0; 3]);
            scene.add_text(Text::new(text.clone(), (number, 1.0), 10.0, [0; 3]));
            let svg = to_svg(&scene);
            let document = roxmltree::Document::parse(&svg).unwrap();
            let found = document.descendants().find(|node| node.has_tag_name("text")).unwrap();
            let expected = crate::render::font::clean_text(&text);
            prop_assert_eq!(found.text().unwrap_or_default(), expected);
        }
    }
}
