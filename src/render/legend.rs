//! Legends of classes: swatch, name and share of every class that occurs.

use image::GrayImage;

use super::class_label::class_label;
use super::font::{CAP_HEIGHT, FontWeight, shorten_text, text_width_px};
use super::overlay::ClassColors;
use super::palette::{INK, MUTED_INK};
use super::scene::{Anchor, Rgb, Scene, Text};

/// Longest name, relative to the size of the letters.
const MAX_NAME_EM: f32 = 16.0;
/// Sizes relative to that of the letters: height of a line, width and height of a swatch, gap after
/// a swatch and between name and share, and gap between two columns.
const LINE_EM: f32 = 1.6;
const SWATCH_WIDTH_EM: f32 = 1.5;
const SWATCH_HEIGHT_EM: f32 = 0.9;
const GAP_EM: f32 = 0.6;
const COLUMN_GAP_EM: f32 = 1.5;

/// The classes of a mask.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Legend {
    /// Classes by id; the ignored pixels, whose id is 255, come last.
    entries: Vec<LegendEntry>,
}

#[derive(Debug, Clone, PartialEq)]
struct LegendEntry {
    /// Color of the swatch; none for the line that says how many classes are left out.
    color: Option<Rgb>,
    /// Name of at most [`MAX_NAME_EM`].
    name: String,
    /// Share of the pixels in percent, with its sign.
    share: String,
    /// Widths of both, relative to the size of the letters.
    name_em: f32,
    share_em: f32,
    /// Number of pixels.
    count: u64,
}

impl LegendEntry {
    fn new(color: Option<Rgb>, name: &str, share: String, count: u64) -> Self {
        let name = shorten_text(name, MAX_NAME_EM, 1.0, FontWeight::Regular);
        let name_em = text_width_px(&name, 1.0, FontWeight::Regular);
        let share_em = text_width_px(&share, 1.0, FontWeight::Regular);
        Self { color, name, share, name_em, share_em, count }
    }
}

/// Sizes of a legend in pixels, for a number of columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LegendLayout {
    font_px: f32,
    name_px: f32,
    share_px: f32,
    columns: usize,
    lines: usize,
}

impl Legend {
    /// Lists the classes that occur in `ids`.
    pub(super) fn new(ids: &GrayImage, class_names: &[String], colors: &ClassColors) -> Self {
        let mut counts = [0_u64; 256];
        for id in ids.as_raw() {
            counts[usize::from(*id)] += 1;
        }
        let total = ids.as_raw().len() as f64;
        let mut entries = Vec::new();
        for (id, count) in counts.into_iter().enumerate() {
            if count == 0 {
                continue;
            }
            let percent = 100.0 * count as f64 / total;
            let share =
                if percent < 0.05 { "<0.1 %".to_owned() } else { format!("{percent:.1} %") };
            entries.push(LegendEntry::new(
                Some(colors[id]),
                &class_label(id, class_names),
                share,
                count,
            ));
        }
        Self { entries }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the legend with the `count` most frequent entries, the last of which tells how many
    /// classes are left out.
    pub(super) fn keep_largest(&self, count: usize) -> Self {
        if self.len() <= count {
            return self.clone();
        }
        let kept = count.saturating_sub(1);
        let mut by_count: Vec<usize> = (0..self.len()).collect();
        by_count.sort_by_key(|&index| std::cmp::Reverse(self.entries[index].count));
        let (mut largest, rest) = (by_count[..kept].to_vec(), &by_count[kept..]);
        largest.sort_unstable();
        let mut entries: Vec<LegendEntry> = Vec::with_capacity(count);
        for index in largest {
            entries.push(self.entries[index].clone());
        }
        let left_out = rest.iter().map(|&index| self.entries[index].count).sum();
        let name = format!("and {} more", rest.len());
        entries.push(LegendEntry::new(None, &name, String::new(), left_out));
        Self { entries }
    }

    /// Returns the sizes with letters of `font_px`, in columns that are at most `max_width_px` wide
    /// together, and at least one.
    pub(super) fn fit_to_width(&self, font_px: f32, max_width_px: f32) -> LegendLayout {
        let single = self.measure(font_px, max_width_px);
        let pitch = single.width_px() + COLUMN_GAP_EM * font_px;
        let columns = ((max_width_px + COLUMN_GAP_EM * font_px) / pitch) as usize;
        single.with_columns(columns.clamp(1, self.len().max(1)), self.len())
    }

    /// Returns the sizes with letters of `font_px`, in as many columns as it takes to be at most
    /// `max_height_px` high. A column is at most `max_width_px` wide.
    pub(super) fn fit_to_height(
        &self,
        font_px: f32,
        max_height_px: f32,
        max_width_px: f32,
    ) -> LegendLayout {
        let lines = ((max_height_px / (LINE_EM * font_px)) as usize).max(1);
        let columns = self.len().div_ceil(lines).max(1);
        self.measure(font_px, max_width_px).with_columns(columns, self.len())
    }

    /// Measures a single column that is at most `max_width_px` wide.
    fn measure(&self, font_px: f32, max_width_px: f32) -> LegendLayout {
        let (mut name_px, mut share_px) = (0.0_f32, 0.0_f32);
        for entry in &self.entries {
            // The line about the classes that are left out takes the place of a share, too.
            if entry.color.is_some() {
                name_px = name_px.max(entry.name_em * font_px);
            }
            share_px = share_px.max(entry.share_em * font_px);
        }
        let share_px = share_px.ceil();
        let others_px = share_px + (SWATCH_WIDTH_EM + 2.0 * GAP_EM) * font_px;
        let max_name_px = (max_width_px - others_px).max(3.0 * font_px);
        let name_px = name_px.ceil().min(max_name_px);
        LegendLayout { font_px, name_px, share_px, columns: 1, lines: self.len() }
    }

    /// Draws the legend with its upper left corner at `left_top`. Entries run down the columns, as in
    /// a printed list.
    pub(super) fn draw(&self, scene: &mut Scene, (left, top): (f32, f32), layout: LegendLayout) {
        let LegendLayout { font_px, name_px, share_px, lines, .. } = layout;
        let pitch = layout.column_px() + COLUMN_GAP_EM * font_px;
        for (index, entry) in self.entries.iter().enumerate() {
            let x = left + (index / lines) as f32 * pitch;
            let middle = top + ((index % lines) as f32 + 0.5) * LINE_EM * font_px;
            if let Some(color) = entry.color {
                draw_swatch(scene, (x, middle), font_px, color);
            }
            let base_line = middle + CAP_HEIGHT * font_px / 2.0;
            let name_x = x + (SWATCH_WIDTH_EM + GAP_EM) * font_px;
            let room_px = match entry.color {
                Some(_) => name_px,
                None => name_px + GAP_EM * font_px + share_px,
            };
            let name = shorten_text(&entry.name, room_px, font_px, FontWeight::Regular);
            scene.add_text(Text::new(name, (name_x, base_line), font_px, INK));
            if !entry.share.is_empty() {
                let share_x = name_x + name_px + GAP_EM * font_px + share_px;
                let share = Text::new(&*entry.share, (share_x, base_line), font_px, MUTED_INK);
                scene.add_text(share.anchored(Anchor::End));
            }
        }
    }
}

/// Draws a swatch with a dark edge, which sets off light colors from the paper.
fn draw_swatch(scene: &mut Scene, (left, middle): (f32, f32), font_px: f32, color: Rgb) {
    // Whole pixels, so that edges are sharp.
    let (width, height) =
        ((SWATCH_WIDTH_EM * font_px).round(), (SWATCH_HEIGHT_EM * font_px).round());
    let (left, top) = (left.round(), (middle - height / 2.0).round());
    let edge = (font_px / 16.0).round().max(1.0);
    scene.add_rectangle((left, top), (width, height), MUTED_INK);
    let inner_size = (width - 2.0 * edge, height - 2.0 * edge);
    scene.add_rectangle((left + edge, top + edge), inner_size, color);
}

impl LegendLayout {
    fn with_columns(self, columns: usize, entries: usize) -> Self {
        Self { columns, lines: entries.div_ceil(columns).max(1), ..self }
    }

    /// Returns the width of a column.
    fn column_px(self) -> f32 {
        (SWATCH_WIDTH_EM + 2.0 * GAP_EM) * self.font_px + self.name_px + self.share_px
    }

    pub(super) fn width_px(self) -> f32 {
        let gaps = (self.columns - 1) as f32 * COLUMN_GAP_EM * self.font_px;
        self.columns as f32 * self.column_px() + gaps
    }

    pub(super) fn columns(self) -> usize {
        self.columns
    }

    pub(super) fn height_px(self) -> f32 {
        self.lines as f32 * LINE_EM * self.font_px
    }

    /// Returns how many entries columns and lines hold.
    pub(super) fn capacity(font_px: f32, columns: usize, max_height_px: f32) -> usize {
        columns * ((max_height_px / (LINE_EM * font_px)) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::scene::tests::assert_texts_are_apart;

    fn legend(ids: Vec<u8>, names: &[&str]) -> Legend {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let ids = GrayImage::from_raw(ids.len() as u32, 1, ids).unwrap();
        Legend::new(&ids, &names, &[[0; 3]; 256])
    }

    fn texts(legend: &Legend) -> Vec<String> {
        let mut texts = Vec::new();
        for entry in &legend.entries {
            texts.push(format!("{} {}", entry.name, entry.share));
        }
        texts
    }

    #[test]
    fn only_classes_that_occur_are_listed_with_their_shares() {
        let legend = legend(vec![0, 0, 0, 2, 2, 255, 7, 7], &["sky", "dog", "road"]);
        let expected = ["sky 37.5 %", "road 25.0 %", "class 7 25.0 %", "ignored 12.5 %"];
        assert_eq!(texts(&legend), expected);
        let mut ids = vec![0; 5000];
        ids[0] = 1;
        assert_eq!(texts(&self::legend(ids, &[]))[1], "class 1 <0.1 %");
    }

    #[test]
    fn the_largest_classes_are_kept_in_their_order() {
        let legend = legend(vec![0, 1, 1, 2, 3, 3, 3, 4], &[]);
        let kept = legend.keep_largest(3);
        assert_eq!(texts(&kept), ["class 1 25.0 %", "class 3 37.5 %", "and 3 more "]);
        assert_eq!(legend.keep_largest(5), legend);
        assert_eq!(texts(&legend.keep_largest(1)), ["and 5 more "]);
    }

    #[test]
    fn columns_fill_the_width_or_the_height_that_there_is() {
        let legend = legend((0..60).collect(), &["a name", "x"]);
        let layout = legend.fit_to_width(14.0, 800.0);
        assert!(layout.columns > 3 && layout.width_px() <= 800.0, "{layout:?}");
        assert_eq!(layout.lines, 60_usize.div_ceil(layout.columns));
        let layout = legend.fit_to_height(14.0, 300.0, 400.0);
        assert!(layout.height_px() <= 300.0 && layout.columns == 5, "{layout:?}");
        for layout in [layout, legend.fit_to_width(14.0, 10.0)] {
            let size = (layout.width_px().ceil() as u32, layout.height_px().ceil() as u32);
            let mut scene = Scene::new(size, [255; 3]);
            legend.draw(&mut scene, (0.0, 0.0), layout);
            assert_texts_are_apart(&scene);
        }
    }

    #[test]
    fn long_names_are_cut_in_the_middle() {
        let legend =
            legend(vec![0, 1], &["a", "the beginning of a name that is long, and the end"]);
        let layout = legend.fit_to_width(14.0, 200.0);
        assert!(layout.width_px() <= 200.0, "{layout:?}");
        let mut scene = Scene::new((300, 300), [255; 3]);
        legend.draw(&mut scene, (0.0, 0.0), layout);
        let name = scene.texts().find(|text| text.text.contains('…')).unwrap();
        assert!(name.text.starts_with("the") && name.text.ends_with("end"), "{}", name.text);
    }
}
