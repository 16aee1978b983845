//! Colors of the labels, by which masks can be read.

use std::collections::BTreeMap;

use crate::colors::class_color;
use crate::data::color_map::ColorMap;
use crate::preprocess::classes::Classes;

/// Colors that labels have, and that of the background.
pub(super) struct LabelColors<'a> {
    classes: &'a Classes,
    /// Class ids by color. Of two labels of one color both ids are listed.
    ids_by_color: BTreeMap<[u8; 3], Vec<u8>>,
}

impl<'a> LabelColors<'a> {
    /// Collects the colors. Black is the background unless a label has that color or the background
    /// has another one.
    pub(super) fn new(classes: &'a Classes) -> Self {
        let mut label_colors = classes.label_colors().to_vec();
        if label_colors.iter().all(|(color, id)| *id != 0 && *color != class_color(0)) {
            label_colors.push((class_color(0), 0));
        }
        let mut ids_by_color: BTreeMap<[u8; 3], Vec<u8>> = BTreeMap::new();
        for (color, id) in label_colors {
            let ids = ids_by_color.entry(color).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Self { classes, ids_by_color }
    }

    /// Returns the class of a label's or the background's exact color; of several the first.
    pub(super) fn exact_class(&self, color: [u8; 3]) -> Option<u8> {
        self.ids_by_color.get(&color)?.first().copied()
    }

    /// Returns true if `preprocess` paints class `id` in `color`, or a label of that class has it.
    pub(super) fn is_color_of(&self, color: [u8; 3], id: u8) -> bool {
        self.classes.color(id) == color
            || self.ids_by_color.get(&color).is_some_and(|ids| ids.contains(&id))
    }

    /// Makes a map of the colors. Fails if two labels have the same color.
    pub(super) fn color_map(&self) -> Result<ColorMap, String> {
        let mut named_colors = Vec::new();
        for (color, ids) in &self.ids_by_color {
            if let [first, second, ..] = ids[..] {
                return Err(format!(
                    "is by color, and the labels {} and {} have the same color in the labeling \
                     configuration",
                    self.class_name(first),
                    self.class_name(second)
                ));
            }
            for id in ids {
                named_colors.push((self.class_name(*id).to_owned(), *color, *id));
            }
        }
        Ok(ColorMap::from_classes(named_colors))
    }

    /// Returns the name of a class; several labels may be ignored, so 255 has none.
    pub(super) fn class_name(&self, id: u8) -> &str {
        self.classes.names().get(usize::from(id)).map_or("ignored", String::as_str)
    }
}
