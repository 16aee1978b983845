//! The hyperparameter `augmentations`: a comma list of words, each with an optional strength.
//!
//! Names and ranges are those of torchvision's transforms.v2 and of albumentations where the two have
//! one; every strength is such that 0 changes nothing and more changes more.

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
struct Word {
    augmentation: Augmentation,
    name: &'static str,
    /// What its strength is, with the unit.
    strength: &'static str,
    /// The largest strength; the least is 0.
    most: f64,
    /// The strength when none is given.
    default: f64,
    /// How often it happens; none where the strength is the probability itself.
    probability: Option<f64>,
    /// What it does.
    about: &'static str,
}

/// Every word, in the order in which they are applied.
const WORDS: [Word; 9] = [
    Word {
        augmentation: Augmentation::Hflip,
        name: "hflip",
        strength: "probability",
        most: 1.0,
        default: 0.5,
        probability: None,
        about: "left and right are exchanged",
    },
    Word {
        augmentation: Augmentation::Vflip,
        name: "vflip",
        strength: "probability",
        most: 1.0,
        default: 0.5,
        probability: None,
        about: "top and bottom are exchanged; for pictures without an up, as from above",
    },
    Word {
        augmentation: Augmentation::Rotate,
        name: "rotate",
        strength: "degrees to either side",
        most: 180.0,
        default: 10.0,
        probability: Some(1.0),
        about: "turned about the crop's middle by up to the strength; what turns in is the picture around the crop",
    },
    Word {
        augmentation: Augmentation::Perspective,
        name: "perspective",
        strength: "share of half the crop's side (torchvision's distortion_scale)",
        most: 0.6,
        default: 0.3,
        probability: Some(0.5),
        about: "each corner of the crop moves inward by up to the strength in either direction; beyond 0.6 the picture could fold over",
    },
    Word {
        augmentation: Augmentation::ColorJitter,
        name: "color_jitter",
        strength: "share",
        most: 1.0,
        default: 0.3,
        probability: Some(1.0),
        about: "brightness, contrast and saturation times 1 - strength to 1 + strength, hue turned by up to strength/4 of the circle to either side, in random order; torchvision's ColorJitter(s, s, s, s/4)",
    },
    Word {
        augmentation: Augmentation::Blur,
        name: "blur",
        strength: "standard deviation in pixels of the crop",
        most: 10.0,
        default: 2.0,
        probability: Some(0.5),
        about: "Gaussian blur with a deviation from 0 to the strength",
    },
    Word {
        augmentation: Augmentation::Noise,
        name: "noise",
        strength: "standard deviation as a share of the range from black to white",
        most: 1.0,
        default: 0.05,
        probability: Some(0.5),
        about: "Gaussian noise, each pixel and channel by itself, with a deviation from 0 to the strength",
    },
    Word {
        augmentation: Augmentation::Jpeg,
        name: "jpeg",
        strength: "how far the quality may fall below 100 (imgaug's compression)",
        most: 99.0,
        default: 70.0,
        probability: Some(0.5),
        about: "compressed as JPEG (4:2:0) with a quality from 100 - strength to 100",
    },
    Word {
        augmentation: Augmentation::Cutout,
        name: "cutout",
        strength: "share of crop_size",
        most: 1.0,
        default: 0.2,
        probability: Some(0.5),
        about: "one or two rectangles, each side half the strength to the strength, become black in the image and ignored (255) in the mask: what cannot be seen is not asked for (albumentations' CoarseDropout leaves the mask unless fill_mask is set)",
    },
];

/// The word that stands for none of them.
const NONE: &str = "none";

/// The strength of each augmentation; 0 for those that are not done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmentations([f64; WORDS.len()]);

/// The built-in's: mirrored every other time.
impl Default for Augmentations {
    fn default() -> Self {
        Self::NONE.with(Augmentation::Hflip, 0.5)
    }
}

impl Augmentations {
    /// Scale and crop only.
    pub const NONE: Self = Self([0.0; WORDS.len()]);

    /// The value of the hyperparameter when it is not given.
    pub(super) const DEFAULT: &'static str = "hflip";

    /// Reads the list; everything that is wrong with it comes at once.
    pub fn parse(text: &str) -> Result<Self> {
        let mut problems = Problems::new();
        let mut given: [Option<f64>; WORDS.len()] = [None; WORDS.len()];
        let items: Vec<&str> = text.split(',').map(str::trim).collect();
        if let [only] = items[..]
            && (only.is_empty() || only.eq_ignore_ascii_case(NONE))
        {
            return Ok(Self::NONE);
        }
        for item in items {
            let (name, strength) = match item.split_once('=') {
                Some((name, strength)) => (name.trim_end(), Some(strength.trim_start())),
                None => (item, None),
            };
            let found = WORDS.iter().position(|word| word.name.eq_ignore_ascii_case(name));
            let Some(index) = found else {
                problems.push(unknown(item, name));
                continue;
            };
            let word = &WORDS[index];
            let value = strength.map_or(Some(word.default), |text| word.in_range(text));
            if value.is_none() {
                let Word { name, most, strength, .. } = word;
                problems.push(format!(
                    "augmentations has {item:?}; allowed for {name}: a number from 0 to {most} \
                     ({strength})"
                ));
            }
            // A strength that is wrong was given all the same.
            if given[index].replace(value.unwrap_or_default()).is_some() {
                problems.push(format!("augmentations has {} twice; give it once", word.name));
            }
        }
        problems.into_result().map(|()| Self(given.map(Option::unwrap_or_default)))
    }

    /// The strength of one of them.
    pub fn strength(&self, of: Augmentation) -> f64 {
        WORDS.iter().zip(self.0).find(|(word, _)| word.augmentation == of).map_or(0.0, |(_, s)| s)
    }

    /// How often one of them is done to a crop.
    pub fn probability(&self, of: Augmentation) -> f64 {
        let strength = self.strength(of);
        let word = WORDS.iter().find(|word| word.augmentation == of);
        match word.and_then(|word| word.probability) {
            Some(probability) if strength > 0.0 => probability,
            Some(_) => 0.0,
            None => strength,
        }
    }

    /// The same but for the strength of one of them, cut to its range.
    #[must_use]
    pub fn with(mut self, of: Augmentation, strength: f64) -> Self {
        for (word, slot) in WORDS.iter().zip(&mut self.0) {
            if word.augmentation == of {
                *slot = strength.clamp(0.0, word.most);
            }
        }
        self
    }

    /// Every augmentation at its default strength.
    pub fn all() -> Self {
        Self(std::array::from_fn(|index| WORDS[index].default))
    }
}

impl Word {
    fn in_range(&self, text: &str) -> Option<f64> {
        // -0 would be spelled another way than the 0 that it is.
        let value = text.parse::<f64>().ok()?.abs();
        (!text.starts_with('-') && value <= self.most).then_some(value)
    }
}

fn unknown(item: &str, name: &str) -> String {
    if name.eq_ignore_ascii_case(NONE) {
        return "augmentations has \"none\" beside others; give none alone, or leave it out"
            .to_owned();
    }
    let known = WORDS.map(|word| word.name);
    if item.is_empty() {
        return format!(
            "augmentations has an empty place; separate by single commas; allowed: {}",
            known.join(", ")
        );
    }
    let hint = did_you_mean(name, known);
    format!("augmentations has {item:?}; allowed: {}{hint}", known.join(", "))
}

/// One spelling for all that mean the same: in the table's order, each with its strength, without
/// those that change nothing.
impl fmt::Display for Augmentations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for (word, strength) in WORDS.iter().zip(self.0).filter(|(_, strength)| *strength > 0.0) {
            write!(f, "{before}{}={strength}", word.name)?;
            before = ",";
        }
        if before.is_empty() { f.write_str(NONE) } else { Ok(()) }
    }
}

impl Serialize for Augmentations {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the value may be, as a regular expression of a JSON schema.
pub(super) fn pattern() -> String {
    let words = WORDS.map(|word| word.name).join("|");
    let item = format!("({words})( *= *[0-9.]+([eE][-+]?[0-9]+)?)?");
    format!("^ *({NONE}|{item}( *, *{item})*)? *$")
}

/// The section of the page for people.
pub(super) fn markdown() -> String {
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
    for Word { name, strength, most, default, probability, about, .. } in &WORDS {
        let probability = probability.map_or("the strength".to_owned(), |p| p.to_string());
        let _ = writeln!(
            page,
            "| `{name}` | {strength} | {most} | {default} | {probability} | {about} |"
        );
    }
    page + "
They are applied in this order; where a range is given, the value is drawn evenly from it. Flips,
`rotate` and `perspective` move image and mask alike, in one resampling together with scale and crop:
bilinear for the image, nearest for the mask. What comes from outside the picture is black in the image
and ignored (255) in the mask, and the colours of no augmentation reach it. Every draw follows from `seed`,
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
                .with(Augmentation::Hflip, 0.5)
                .with(Augmentation::Rotate, 15.0)
                .with(Augmentation::Noise, 0.01)
        );
        assert_eq!(Augmentations::parse("hflip").unwrap(), Augmentations::default());
        for none in ["", " ", "none", "NONE", "rotate=0", "hflip=0,blur=0.0"] {
            assert_eq!(Augmentations::parse(none).unwrap(), Augmentations::NONE, "{none:?}");
        }
        assert_eq!(Augmentations::NONE.to_string(), "none");
    }

    #[test]
    fn every_word_takes_its_whole_range_and_nothing_beyond() {
        for (word, index) in WORDS.iter().zip(0..) {
            let Word { name, most, .. } = word;
            assert_eq!(word.augmentation as usize, index, "the order of enum and table is one");
            assert!(word.default > 0.0 && word.default <= *most, "{name}");
            for (text, strength) in [
                (name.to_string(), word.default),
                (format!("{name}=0"), 0.0),
                (format!("{name}={most}"), *most),
            ] {
                let parsed = Augmentations::parse(&text).unwrap();
                assert_eq!(parsed, Augmentations::NONE.with(word.augmentation, strength), "{text}");
                let often = word.probability.unwrap_or(strength);
                let expected = if strength > 0.0 { often } else { 0.0 };
                let often = parsed.probability(word.augmentation);
                assert!((often - expected).abs() < 1e-12, "{text}: {often}");
            }
            let above = format!("{}", most + 0.001);
            for wrong in [above.as_str(), "-0.1", "-0", "-1e-300", "NaN", "inf", "much", "", "0x1"]
            {
                let item = format!("{name}={wrong}");
                let said = format!(
                    "augmentations has {item:?}; allowed for {name}: a number from 0 to {most} ({})",
                    word.strength
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
            names in prop::collection::vec((0..WORDS.len(), 0.0..200.0_f64), 1..5),
        ) {
            let text: Vec<String> =
                names.iter().map(|(word, s)| format!("{}={s}", WORDS[*word].name)).collect();
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
