//! The hyperparameter `augmentations`: a comma list of words, each with an optional strength.
//!
//! Names and ranges are those of torchvision's transforms.v2 and of albumentations where the two
//! have one; every strength is such that 0 changes nothing and more changes more.

use std::fmt;
use std::fmt::Write;

use serde::{Serialize, Serializer};

use crate::error::{Problems, Result, did_you_mean};

/// What may be done to a training crop beside the random scale and crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The table below says what each is.
pub enum Augmentation {
    Hflip,
    Vflip,
    Rotate,
    Perspective,
    ColorJitter,
    Blur,
    Noise,
    Jpeg,
    Cutout,
}

/// A word of the list.
struct AugmentationSpec {
    augmentation: Augmentation,
    name: &'static str,
    /// What its strength is, with the unit.
    strength_unit: &'static str,
    /// The largest strength; the least is 0.
    max_strength: f64,
    /// The strength when none is given.
    default_strength: f64,
    /// How often it happens; none where the strength is the probability itself.
    probability: Option<f64>,
    /// What it does.
    description: &'static str,
}

/// Every word, in the order in which they are applied.
const AUGMENTATION_SPECS: [AugmentationSpec; 9] = [
    AugmentationSpec {
        augmentation: Augmentation::Hflip,
        name: "hflip",
        strength_unit: "probability",
        max_strength: 1.0,
        default_strength: 0.5,
        probability: None,
        description: "left and right are exchanged",
    },
    AugmentationSpec {
        augmentation: Augmentation::Vflip,
        name: "vflip",
        strength_unit: "probability",
        max_strength: 1.0,
        default_strength: 0.5,
        probability: None,
        description: "top and bottom are exchanged; for pictures without an up, as from above",
    },
    AugmentationSpec {
        augmentation: Augmentation::Rotate,
        name: "rotate",
        strength_unit: "degrees to either side",
        max_strength: 180.0,
        default_strength: 10.0,
        probability: Some(1.0),
        description: "turned about the crop's middle by up to the strength; what turns in is the picture around the crop",
    },
    AugmentationSpec {
        augmentation: Augmentation::Perspective,
        name: "perspective",
        strength_unit: "share of half the crop's side (torchvision's distortion_scale)",
        max_strength: 0.6,
        default_strength: 0.3,
        probability: Some(0.5),
        description: "each corner of the crop moves inward by up to the strength in either direction; beyond 0.6 the picture could fold over",
    },
    AugmentationSpec {
        augmentation: Augmentation::ColorJitter,
        name: "color_jitter",
        strength_unit: "share",
        max_strength: 1.0,
        default_strength: 0.3,
        probability: Some(1.0),
        description: "brightness, contrast and saturation times 1 - strength to 1 + strength, hue turned by up to strength/4 of the circle to either side, in random order; torchvision's ColorJitter(s, s, s, s/4)",
    },
    AugmentationSpec {
        augmentation: Augmentation::Blur,
        name: "blur",
        strength_unit: "standard deviation in pixels of the crop",
        max_strength: 10.0,
        default_strength: 2.0,
        probability: Some(0.5),
        description: "Gaussian blur with a deviation from 0 to the strength",
    },
    AugmentationSpec {
        augmentation: Augmentation::Noise,
        name: "noise",
        strength_unit: "standard deviation as a share of the range from black to white",
        max_strength: 1.0,
        default_strength: 0.05,
        probability: Some(0.5),
        description: "Gaussian noise, each pixel and channel by itself, with a deviation from 0 to the strength",
    },
    AugmentationSpec {
        augmentation: Augmentation::Jpeg,
        name: "jpeg",
        strength_unit: "how far the quality may fall below 100 (imgaug's compression)",
        max_strength: 99.0,
        default_strength: 70.0,
        probability: Some(0.5),
        description: "compressed as JPEG (4:2:0) with a quality from 100 - strength to 100",
    },
    AugmentationSpec {
        augmentation: Augmentation::Cutout,
        name: "cutout",
        strength_unit: "share of crop_size",
        max_strength: 1.0,
        default_strength: 0.2,
        probability: Some(0.5),
        description: "one or two rectangles, each side half the strength to the strength, become black in the image and ignored (255) in the mask: what cannot be seen is not asked for (albumentations' CoarseDropout leaves the mask unless fill_mask is set)",
    },
];

/// The word that stands for none of them.
const NONE_WORD: &str = "none";

/// The strength of each augmentation; 0 for those that are not done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmentations([f64; AUGMENTATION_SPECS.len()]);

/// The built-in's: mirrored every other time.
impl Default for Augmentations {
    fn default() -> Self {
        Self::NONE.with_strength(Augmentation::Hflip, 0.5)
    }
}

impl Augmentations {
    /// Scale and crop only.
    pub const NONE: Self = Self([0.0; AUGMENTATION_SPECS.len()]);

    /// The value of the hyperparameter when it is not given.
    pub(crate) const DEFAULT: &'static str = "hflip";

    /// Reads the list; everything that is wrong with it comes at once.
    pub fn parse(text: &str) -> Result<Self> {
        let mut problems = Problems::new();
        let mut strengths: [Option<f64>; AUGMENTATION_SPECS.len()] =
            [None; AUGMENTATION_SPECS.len()];
        let items: Vec<&str> = text.split(',').map(str::trim).collect();
        if let [single] = items[..]
            && (single.is_empty() || single.eq_ignore_ascii_case(NONE_WORD))
        {
            return Ok(Self::NONE);
        }
        for item in items {
            let (name, strength) = match item.split_once('=') {
                Some((name, strength)) => (name.trim_end(), Some(strength.trim_start())),
                None => (item, None),
            };
            let position =
                AUGMENTATION_SPECS.iter().position(|word| word.name.eq_ignore_ascii_case(name));
            let Some(index) = position else {
                problems.push(unknown_augmentation_problem(item, name));
                continue;
            };
            let spec = &AUGMENTATION_SPECS[index];
            let parsed_strength =
                strength.map_or(Some(spec.default_strength), |text| spec.parse_strength(text));
            if parsed_strength.is_none() {
                let AugmentationSpec { name, max_strength, strength_unit, .. } = spec;
                problems.push(format!(
                    "augmentations has {item:?}; allowed for {name}: a number from 0 to {max_strength} \
                     ({strength_unit})"
                ));
            }
            // A strength that is wrong was given all the same.
            if strengths[index].replace(parsed_strength.unwrap_or_default()).is_some() {
                problems.push(format!("augmentations has {} twice; give it once", spec.name));
            }
        }
        problems.into_result().map(|()| Self(strengths.map(Option::unwrap_or_default)))
    }

    /// The strength of one of them.
    pub fn strength(&self, augmentation: Augmentation) -> f64 {
        AUGMENTATION_SPECS
            .iter()
            .zip(self.0)
            .find(|(word, _)| word.augmentation == augmentation)
            .map_or(0.0, |(_, s)| s)
    }

    /// How often one of them is done to a crop.
    pub fn probability(&self, augmentation: Augmentation) -> f64 {
        let strength = self.strength(augmentation);
        let spec = AUGMENTATION_SPECS.iter().find(|word| word.augmentation == augmentation);
        match spec.and_then(|word| word.probability) {
            Some(probability) if strength > 0.0 => probability,
            Some(_) => 0.0,
            None => strength,
        }
    }

    /// The same but for the strength of one of them, cut to its range.
    #[must_use]
    pub fn with_strength(mut self, augmentation: Augmentation, strength: f64) -> Self {
        for (word, current_strength) in AUGMENTATION_SPECS.iter().zip(&mut self.0) {
            if word.augmentation == augmentation {
                *current_strength = strength.clamp(0.0, word.max_strength);
            }
        }
        self
    }

    /// Every augmentation at its default strength.
    pub fn all_at_default() -> Self {
        Self(std::array::from_fn(|index| AUGMENTATION_SPECS[index].default_strength))
    }
}

impl AugmentationSpec {
    fn parse_strength(&self, text: &str) -> Option<f64> {
        // -0 would be spelled another way than the 0 that it is.
        let value = text.parse::<f64>().ok()?.abs();
        (!text.starts_with('-') && value <= self.max_strength).then_some(value)
    }
}

fn unknown_augmentation_problem(item: &str, name: &str) -> String {
    if name.eq_ignore_ascii_case(NONE_WORD) {
        return "augmentations has \"none\" beside others; give none alone, or leave it out"
            .to_owned();
    }
    let known_names = AUGMENTATION_SPECS.map(|word| word.name);
    if item.is_empty() {
        return format!(
            "augmentations has an empty place; separate by single commas; allowed: {}",
            known_names.join(", ")
        );
    }
    let hint = did_you_mean(name, known_names);
    format!("augmentations has {item:?}; allowed: {}{hint}", known_names.join(", "))
}

/// One spelling for all that mean the same: in the table's order, each with its strength, without
/// those that change nothing.
impl fmt::Display for Augmentations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (word, strength) in
            AUGMENTATION_SPECS.iter().zip(self.0).filter(|(_, strength)| *strength > 0.0)
        {
            write!(f, "{separator}{}={strength}", word.name)?;
            separator = ",";
        }
        if separator.is_empty() { f.write_str(NONE_WORD) } else { Ok(()) }
    }
}

impl Serialize for Augmentations {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the value may be, as a regular expression of a JSON schema.
pub(crate) fn augmentations_pattern() -> String {
    let words = AUGMENTATION_SPECS.map(|word| word.name).join("|");
    let item = format!("({words})( *= *[0-9.]+([eE][-+]?[0-9]+)?)?");
    format!("^ *({NONE_WORD}|{item}( *, *{item})*)? *$")
}

/// The section of the page for people.
pub(crate) fn augmentations_markdown() -> String {
    let mut page = "
## Augmentations

`augmentations` is a comma list of the words below, each with an optional `=strength`:
`hflip,rotate=10,color_jitter=0.3,blur`. Spaces do not matter, nor does the order. `none` (or nothing)
leaves the random scale and crop of `base_size` and `crop_size`, which are always done; the default
`hflip` is what the built-in does. A list replaces the default: name `hflip` in it to keep it.
A strength of 0 changes nothing at all.

| word | strength | from 0 to | default | probability | what happens |
|---|---|---|---|---|---|
"
    .to_owned();
    for AugmentationSpec {
        name,
        strength_unit,
        max_strength,
        default_strength,
        probability,
        description,
        ..
    } in &AUGMENTATION_SPECS
    {
        let probability = probability.map_or("the strength".to_owned(), |p| p.to_string());
        let _ = writeln!(
            page,
            "| `{name}` | {strength_unit} | {max_strength} | {default_strength} | {probability} | {description} |"
        );
    }
    page + "
They are applied in this order; where a range is given, the value is drawn evenly from it. Flips,
`rotate` and `perspective` move image and mask alike, in one resampling together with scale and crop:
bilinear for the image, nearest for the mask. What comes from outside the picture is black in the image
and ignored (255) in the mask, and the colors of no augmentation reach it. Every draw follows from `seed`,
epoch, sample and the word alone, so adding a word changes nothing about the others.

`maskmaker augment-preview` draws what the network will see.
"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problems(text: &str) -> Vec<String> {
        Augmentations::parse(text).unwrap_err().problems().to_vec()
    }

    #[test]
    fn strengths_are_optional_and_spaces_case_and_order_do_not_matter() {
        let parsed = Augmentations::parse(" Rotate = 15 ,HFLIP, noise=1e-2 ").unwrap();
        assert_eq!(parsed.to_string(), "hflip=0.5,rotate=15,noise=0.01");
        assert_eq!(Augmentations::parse("noise=.01,rotate=15.0,hflip").unwrap(), parsed);
        assert_eq!(
            parsed,
            Augmentations::NONE
                .with_strength(Augmentation::Hflip, 0.5)
                .with_strength(Augmentation::Rotate, 15.0)
                .with_strength(Augmentation::Noise, 0.01)
        );
        assert_eq!(Augmentations::parse("hflip").unwrap(), Augmentations::default());
        for none in ["", " ", "none", "NONE", "rotate=0", "hflip=0,blur=0.0"] {
            assert_eq!(Augmentations::parse(none).unwrap(), Augmentations::NONE, "{none:?}");
        }
        assert_eq!(Augmentations::NONE.to_string(), "none");
    }

    #[test]
    fn every_word_takes_its_whole_range_and_nothing_beyond() {
        for (word, index) in AUGMENTATION_SPECS.iter().zip(0..) {
            let AugmentationSpec { name, max_strength, .. } = word;
            assert_eq!(word.augmentation as usize, index, "the order of enum and table is one");
            assert!(
                word.default_strength > 0.0 && word.default_strength <= *max_strength,
                "{name}"
            );
            for (text, strength) in [
                (name.to_string(), word.default_strength),
                (format!("{name}=0"), 0.0),
                (format!("{name}={max_strength}"), *max_strength),
            ] {
                let parsed = Augmentations::parse(&text).unwrap();
                assert_eq!(
                    parsed,
                    Augmentations::NONE.with_strength(word.augmentation, strength),
                    "{text}"
                );
                let often = word.probability.unwrap_or(strength);
                let expected = if strength > 0.0 { often } else { 0.0 };
                let often = parsed.probability(word.augmentation);
                assert!((often - expected).abs() < 1e-12, "{text}: {often}");
            }
            let above = format!("{}", max_strength + 0.001);
            for wrong in [above.as_str(), "-0.1", "-0", "-1e-300", "NaN", "inf", "much", "", "0x1"]
            {
                let item = format!("{name}={wrong}");
                let said = format!(
                    "augmentations has {item:?}; allowed for {name}: a number from 0 to {max_strength} ({})",
                    word.strength_unit
                );
                assert_eq!(problems(&item), [said]);
            }
        }
    }

    #[test]
    fn everything_that_is_wrong_with_a_list_is_told_at_once() {
        let found = problems("hflip,rotat=5,,blur=99,hflip=x,none,zebra");
        let words = "hflip, vflip, rotate, perspective, color_jitter, blur, noise, jpeg, cutout";
        assert_eq!(
            found,
            [
                format!(
                    "augmentations has \"rotat=5\"; allowed: {words} (did you mean \"rotate\"?)"
                ),
                format!(
                    "augmentations has an empty place; separate by single commas; allowed: {words}"
                ),
                "augmentations has \"blur=99\"; allowed for blur: a number from 0 to 10 (standard \
                 deviation in pixels of the crop)"
                    .to_owned(),
                "augmentations has \"hflip=x\"; allowed for hflip: a number from 0 to 1 \
                 (probability)"
                    .to_owned(),
                "augmentations has hflip twice; give it once".to_owned(),
                "augmentations has \"none\" beside others; give none alone, or leave it out"
                    .to_owned(),
                format!("augmentations has \"zebra\"; allowed: {words}"),
            ]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_is_written_so_that_it_reads_the_same(
            text in "(none|hflip|rotate|noise|blur|jpeg|[ =,.0-9a-zA-Z-]{0,3}|.){0,9}",
        ) {
            match Augmentations::parse(&text) {
                Ok(read) => prop_assert_eq!(Augmentations::parse(&read.to_string()).unwrap(), read),
                Err(error) => {
                    for problem in error.problems() {
                        prop_assert!(problem.starts_with("augmentations has "), "{problem}");
                    }
                }
            }
        }

        #[test]
        fn what_the_schema_matches_is_refused_for_its_numbers_or_repetition_only(
            names in prop::collection::vec((0..AUGMENTATION_SPECS.len(), 0.0..200.0_f64), 1..5),
        ) {
            let text: Vec<String> =
                names.iter().map(|(word, s)| format!("{}={s}", AUGMENTATION_SPECS[*word].name)).collect();
            if let Err(error) = Augmentations::parse(&text.join(", ")) {
                for problem in error.problems() {
                    prop_assert!(
                        problem.contains("a number from 0 to") || problem.contains("twice"),
                        "{problem}"
                    );
                }
            }
        }
    }
}
