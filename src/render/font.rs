//! The letters of pictures: Noto Sans, whose files lie in the program, so that a text has the same
//! width and the same outlines on every machine.
//!
//! `scripts/fonts.sh` made the files. They have the letters of Latin, Greek and Cyrillic scripts,
//! none of which change their form beside others.

use std::sync::LazyLock;

use tiny_skia::PathBuilder;
use ttf_parser::{Face, GlyphId, OutlineBuilder};

use crate::files::normalize_name;

/// Thickness of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FontWeight {
    #[default]
    Regular,
    Bold,
}

/// Family of both files, as SVG names it.
pub(super) const FONT_FAMILY: &str = "Noto Sans";
/// Height of capital letters, relative to the size of the font.
pub(super) const CAP_HEIGHT: f32 = 0.714;

/// Letter that is drawn for one that the font lacks.
const MISSING_LETTER: char = '?';

static REGULAR: LazyLock<Option<Face<'static>>> =
    LazyLock::new(|| Face::parse(include_bytes!("fonts/NotoSans-Regular.ttf"), 0).ok());
static BOLD: LazyLock<Option<Face<'static>>> =
    LazyLock::new(|| Face::parse(include_bytes!("fonts/NotoSans-Bold.ttf"), 0).ok());

/// Returns the font. `None` would mean that the program's own file is damaged.
fn face(weight: FontWeight) -> Option<&'static Face<'static>> {
    match weight {
        FontWeight::Regular => REGULAR.as_ref(),
        FontWeight::Bold => BOLD.as_ref(),
    }
}

/// Returns a text as it is drawn: letters in Unicode's composed form, as the font has them, no
/// characters that are not to be seen, and single spaces in place of line breaks and the like.
pub(super) fn clean_text(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for letter in normalize_name(text).chars() {
        if letter.is_whitespace() || letter.is_control() {
            if !cleaned.is_empty() && !cleaned.ends_with(' ') {
                cleaned.push(' ');
            }
        } else if !is_invisible(letter) {
            cleaned.push(letter);
        }
    }
    cleaned.truncate(cleaned.trim_end().len());
    cleaned
}

/// Returns true for characters that change how others are drawn, or where lines break, and have no
/// form of their own: Unicode's `Default_Ignorable_Code_Point`
/// (<https://www.unicode.org/reports/tr44/>), and the two that are no characters.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns true if the font has every letter of a cleaned text.
pub(super) fn has_letters(text: &str) -> bool {
    let Some(face) = face(FontWeight::Regular) else { return false };
    text.chars().all(|letter| face.glyph_index(letter).is_some())
}

fn find_glyph(face: &Face<'_>, letter: char) -> GlyphId {
    let found = face.glyph_index(letter).or_else(|| face.glyph_index(MISSING_LETTER));
    found.unwrap_or_default()
}

fn advance_px(face: &Face<'_>, glyph: GlyphId, size_px: f32) -> f32 {
    f32::from(face.glyph_hor_advance(glyph).unwrap_or_default()) * size_px
        / f32::from(face.units_per_em())
}

/// Returns the width of a text in pixels.
pub(super) fn text_width_px(text: &str, size_px: f32, weight: FontWeight) -> f32 {
    let Some(face) = face(weight) else { return 0.0 };
    text.chars().map(|letter| advance_px(face, find_glyph(face, letter), size_px)).sum()
}

/// Returns how far the letters of a text reach above and below their base line, in pixels.
pub(super) fn text_extent_px(text: &str, size_px: f32, weight: FontWeight) -> (f32, f32) {
    let Some(face) = face(weight) else { return (0.0, 0.0) };
    let (mut above, mut below) = (0, 0);
    for letter in text.chars() {
        if let Some(bounds) = face.glyph_bounding_box(find_glyph(face, letter)) {
            above = above.max(bounds.y_max);
            below = below.min(bounds.y_min);
        }
    }
    let scale = size_px / f32::from(face.units_per_em());
    (f32::from(above) * scale, f32::from(-below) * scale)
}

/// Cuts letters out of the middle of a text, so that it is at most `max_width_px` wide: names of
/// files and classes often differ at their ends. The time does not depend on what is cut out.
pub(super) fn shorten_text(
    text: &str,
    max_width_px: f32,
    size_px: f32,
    weight: FontWeight,
) -> String {
    // No letter is narrower than an eighth of the font's size.
    let most_letters = (8.0 * max_width_px.max(0.0) / size_px).ceil() as usize + 1;
    let letters = text.chars().count();
    if letters <= most_letters && text_width_px(text, size_px, weight) <= max_width_px {
        return text.to_owned();
    }
    let with_kept = |kept: usize| -> String {
        let (head, tail) = (kept.div_ceil(2), kept / 2);
        let mut shortened: String = text.chars().take(head).collect();
        shortened.push('…');
        let mut end: Vec<char> = text.chars().rev().take(tail).collect();
        end.reverse();
        shortened.extend(end);
        shortened
    };
    // The largest number of kept letters that fits, by bisection.
    let (mut fits, mut exceeds) = (0, letters.min(most_letters).max(1));
    while exceeds - fits > 1 {
        let kept = usize::midpoint(fits, exceeds);
        if text_width_px(&with_kept(kept), size_px, weight) <= max_width_px {
            fits = kept;
        } else {
            exceeds = kept;
        }
    }
    with_kept(fits)
}

/// Adds the outlines of a text, whose base line begins at `origin`, to a path.
pub(super) fn outline_text(
    text: &str,
    size_px: f32,
    weight: FontWeight,
    (mut x, y): (f32, f32),
    path: &mut PathBuilder,
) {
    let Some(face) = face(weight) else { return };
    let scale = size_px / f32::from(face.units_per_em());
    for letter in text.chars() {
        let glyph = find_glyph(face, letter);
        let _ = face.outline_glyph(glyph, &mut PlacedOutline { path, x, y, scale });
        x += advance_px(face, glyph, size_px);
    }
}

/// Takes an outline in the font's units, whose axis points up, to its place on a picture.
struct PlacedOutline<'a> {
    path: &'a mut PathBuilder,
    x: f32,
    y: f32,
    /// Pixels per unit.
    scale: f32,
}

impl PlacedOutline<'_> {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.y - y * self.scale)
    }
}

impl OutlineBuilder for PlacedOutline<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) =
            (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_files_have_letters_of_three_scripts_and_common_signs() {
        for weight in [FontWeight::Regular, FontWeight::Bold] {
            let face = face(weight).unwrap();
            for letter in "AZaz09éßőŁñĞışČğ ĐđỆΑΩαωЖяЄїҐ–—…·×±÷%€µ°²".chars()
            {
                assert!(face.glyph_index(letter).is_some(), "{letter:?} {weight:?}");
            }
        }
        assert!(has_letters("Straße 5 % …") && !has_letters("道路") && !has_letters("a🙂"));
        for weight in [FontWeight::Regular, FontWeight::Bold] {
            let face = face(weight).unwrap();
            let narrowest = ('!'..='\u{2fff}')
                .filter_map(|letter| face.glyph_index(letter))
                .map(|glyph| face.glyph_hor_advance(glyph).unwrap())
                .min();
            assert!(narrowest.unwrap() * 8 >= face.units_per_em(), "{narrowest:?}");
        }
    }

    #[test]
    fn texts_are_composed_and_what_is_not_to_be_seen_is_left_out() {
        assert_eq!(clean_text("Ba\u{308}ume"), "Bäume");
        assert_eq!(clean_text("\u{feff}road\u{200e}\u{ad}side\u{202e}"), "roadside");
        assert_eq!(clean_text(" a \t\n b\u{2028}c\0 "), "a b c");
        assert_eq!(clean_text("\u{200b} \u{2060}"), "");
        // The font has no combining marks, so a question mark stands for one that stays.
        assert!(!has_letters("\u{483}"));
    }

    #[test]
    fn extents_are_those_of_the_letters() {
        let (above, below) = text_extent_px("H", 100.0, FontWeight::Regular);
        assert!((above - 71.4).abs() < 0.1 && below.abs() < 0.1, "{above} {below}");
        let (above, below) = text_extent_px("Ṓģ", 100.0, FontWeight::Regular);
        assert!(above > 100.0 && below > 20.0, "{above} {below}");
        assert_eq!(text_extent_px(" ", 100.0, FontWeight::Regular), (0.0, 0.0));
    }

    #[test]
    fn widths_are_those_of_the_font() {
        // Advance widths of Noto Sans: A has 639, V 600 and a space 260 thousandths.
        let width = text_width_px("A V", 100.0, FontWeight::Regular);
        assert!((width - (63.9 + 26.0 + 60.0)).abs() < 0.01, "{width}");
        let bold = text_width_px("A V", 100.0, FontWeight::Bold);
        assert!(bold > width);
        // A question mark has 434 thousandths.
        let missing = text_width_px("道", 100.0, FontWeight::Regular);
        assert!((missing - 43.4).abs() < 0.01, "{missing}");
    }

    #[test]
    fn letters_stand_on_their_base_line() {
        let mut builder = PathBuilder::new();
        outline_text("HH", 100.0, FontWeight::Regular, (10.0, 200.0), &mut builder);
        let bounds = builder.finish().unwrap().bounds();
        assert!((bounds.bottom() - 200.0).abs() < 0.1, "{bounds:?}");
        assert!((bounds.top() - (200.0 - 100.0 * CAP_HEIGHT)).abs() < 0.1, "{bounds:?}");
        let width = text_width_px("HH", 100.0, FontWeight::Regular);
        assert!(bounds.left() > 10.0 && bounds.right() < 10.0 + width);
    }

    #[test]
    fn long_texts_keep_both_ends() {
        let text = "2024-05-17_camera-3_frame-000123.jpg";
        let short = shorten_text(text, 150.0, 14.0, FontWeight::Regular);
        let (head, tail) = short.split_once('…').unwrap();
        assert!(head.len() > 5 && text.starts_with(head), "{short}");
        assert!(tail.len() > 5 && text.ends_with(tail), "{short}");
        assert_eq!(shorten_text(text, 1e4, 14.0, FontWeight::Regular), text);
        assert_eq!(shorten_text(text, 0.0, 14.0, FontWeight::Regular), "…");
    }

    proptest! {
        #[test]
        fn any_text_is_shortened_to_its_width(text in "\\PC{0,60}", width in 12.0f32..400.0) {
            let short = shorten_text(&text, width, 14.0, FontWeight::Bold);
            prop_assert!(text_width_px(&short, 14.0, FontWeight::Bold) <= width);
            prop_assert!(short.chars().count() <= text.chars().count());
        }
    }
}
