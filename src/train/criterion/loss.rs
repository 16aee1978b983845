//! The training loss and the weights of the classes in it: `loss` and `class_weights`.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::{Problems, Result, did_you_mean};
use crate::named_enum::named_enum;

/// Largest weight of a term of the loss, and of a class.
const MAX_WEIGHT: f64 = 1000.0;

named_enum! {
    /// A term of the training loss, without its weight.
    LossTerm {
        /// Cross entropy.
        CrossEntropy = "cross_entropy",
        /// 1 - Dice score, over the batch.
        Dice = "dice",
        /// One-against-all focal loss.
        Focal = "focal",
        /// Lovász-Softmax, a surrogate of the mean IoU.
        Lovasz = "lovasz",
    }
}

/// Terms of a loss with their weights: at least one term, each once.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss(Vec<(LossTerm, f64)>);

impl Loss {
    /// Reads a text such as `cross_entropy=1,dice=0.5`; a weight that is left out is 1. The error
    /// holds all problems.
    pub fn parse(text: &str) -> Result<Self> {
        let mut terms: Vec<(LossTerm, f64)> = Vec::new();
        let mut problems = Problems::new();
        let known_names = || LossTerm::ALL.iter().map(|term| term.name());
        for part in text.split(',').map(str::trim) {
            let (word, weight) = match part.split_once('=') {
                Some((word, weight)) => (word.trim(), weight.trim()),
                None => (part, "1"),
            };
            let lower = word.to_ascii_lowercase();
            let term = LossTerm::from_name(&lower);
            let weight = weight.parse().ok().filter(|&weight| weight > 0.0 && weight <= MAX_WEIGHT);
            match (term, weight) {
                (None, _) => problems.push(format!(
                    "loss has {word:?}; allowed: {}{}",
                    known_names().collect::<Vec<_>>().join(", "),
                    did_you_mean(&lower, known_names())
                )),
                (Some(term), None) => problems.push(format!(
                    "loss has {part:?}; allowed: {}= and a number above 0 and up to {MAX_WEIGHT}",
                    term.name()
                )),
                (Some(term), Some(_)) if terms.iter().any(|(other, _)| *other == term) => {
                    problems.push(format!("loss has {} twice; give it once", term.name()));
                }
                (Some(term), Some(weight)) => terms.push((term, weight)),
            }
        }
        problems.into_result()?;
        Ok(Self(terms))
    }

    /// Returns the terms with their weights, in the order of the text.
    pub fn terms(&self) -> &[(LossTerm, f64)] {
        &self.0
    }

    /// Returns true if the loss has this term.
    pub fn has_term(&self, term: LossTerm) -> bool {
        self.0.iter().any(|(other, _)| *other == term)
    }
}

impl Default for Loss {
    /// Returns the cross entropy alone.
    fn default() -> Self {
        Self(vec![(LossTerm::CrossEntropy, 1.0)])
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (term, weight)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}={weight}", term.name())?;
        }
        Ok(())
    }
}

impl Serialize for Loss {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Weights of the classes in the cross entropy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// Weights that follow from the shares of the training pixels.
    Auto,
    /// Given weights, class 0 first.
    List(Vec<f64>),
}

impl ClassWeights {
    /// Reads `auto` or one number per class.
    pub fn parse(text: &str, num_classes: usize) -> Result<Self> {
        if text.trim().eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        let mut problems = Problems::new();
        let mut weights = Vec::new();
        for (class, part) in text.split(',').map(str::trim).enumerate() {
            match part.parse::<f64>() {
                Ok(weight) if (0.0..=MAX_WEIGHT).contains(&weight) => weights.push(weight),
                _ => problems.push(format!(
                    "class_weights has {part:?} for class {class}; allowed: auto, or a number from 0 \
                     to {MAX_WEIGHT} per class, separated by commas"
                )),
            }
        }
        if problems.is_empty() && weights.len() != num_classes {
            problems.push(format!(
                "class_weights has {} numbers for num_classes {num_classes}; give one per class, class 0 \
                 (background) first",
                weights.len()
            ));
        }
        if problems.is_empty() && weights.iter().all(|&weight| weight == 0.0) {
            problems.push("class_weights are all 0: nothing would be learned");
        }
        problems.into_result()?;
        Ok(Self::List(weights))
    }

    /// Returns the weights for classes that have so many training pixels. `auto` is `1 / ln(1.02 +
    /// share)`, from 50 for the rarest to 1.4 (`ENet`, Paszke et al. 2016, section 5.2).
    pub fn resolve(&self, class_pixels: &[u64]) -> Vec<f64> {
        match self {
            Self::List(weights) => weights.clone(),
            Self::Auto => {
                let total_pixels = class_pixels.iter().sum::<u64>().max(1) as f64;
                class_pixels.iter().map(|&n| 1.0 / (1.02 + n as f64 / total_pixels).ln()).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_with_and_without_weights_in_any_case() {
        let loss = Loss::parse(" Cross_Entropy , dice = 0.5").unwrap();
        assert_eq!(loss.terms(), [(LossTerm::CrossEntropy, 1.0), (LossTerm::Dice, 0.5)]);
        assert_eq!(loss.to_string(), "cross_entropy=1,dice=0.5");
        assert_eq!(Loss::parse("cross_entropy").unwrap(), Loss::default());
    }

    #[test]
    fn everything_wrong_with_a_loss_is_told_at_once() {
        let error = Loss::parse("dise,focal=0,lovasz,lovasz=2,dice=nan,").unwrap_err();
        assert_eq!(
            error.problems(),
            [
                "loss has \"dise\"; allowed: cross_entropy, dice, focal, lovasz (did you mean \"dice\"?)",
                "loss has \"focal=0\"; allowed: focal= and a number above 0 and up to 1000",
                "loss has lovasz twice; give it once",
                "loss has \"dice=nan\"; allowed: dice= and a number above 0 and up to 1000",
                "loss has \"\"; allowed: cross_entropy, dice, focal, lovasz",
            ]
        );
    }

    #[test]
    fn class_weights_are_one_number_per_class() {
        let given = |text| ClassWeights::parse(text, 3);
        assert_eq!(given(" AUTO ").unwrap(), ClassWeights::Auto);
        assert_eq!(given("1, 0,2.5").unwrap(), ClassWeights::List(vec![1.0, 0.0, 2.5]));
        assert!(given("1,2").unwrap_err().to_string().contains("2 numbers for num_classes 3"));
        assert!(given("0,0,0").unwrap_err().to_string().contains("all 0"));
        let error = given("1,-1,x").unwrap_err();
        let problems = error.problems();
        assert!(problems[0].contains("\"-1\" for class 1"), "{problems:?}");
        assert!(problems[1].contains("\"x\" for class 2"), "{problems:?}");
    }

    #[test]
    fn auto_gives_rare_classes_more() {
        let weights = ClassWeights::Auto.resolve(&[900, 100, 0]);
        assert!((weights[0] - 1.0 / 1.92f64.ln()).abs() < 1e-12);
        assert!(weights[0] < weights[1] && weights[1] < weights[2]);
        assert!((weights[2] - 50.5).abs() < 0.1, "{weights:?}");
        assert!(ClassWeights::Auto.resolve(&[0, 0]).iter().all(|weight| weight.is_finite()));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_loss_that_reads_back_or_an_error(text in "[a-z_=,0-9. ]{0,40}") {
            if let Ok(loss) = Loss::parse(&text) {
                proptest::prop_assert_eq!(Loss::parse(&loss.to_string()).unwrap(), loss);
            }
            let _ = ClassWeights::parse(&text, 3);
        }
    }
}
