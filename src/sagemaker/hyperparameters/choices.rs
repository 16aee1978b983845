//! Hyperparameters whose value is one of a few words.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An enumeration of words, with what reads and writes them.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word that stands for it in hyperparameters and in `config.json`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub(super) fn from_word(word: &str) -> Result<Self> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    other => Err(Error::internal(format!("{other:?} is in the table, not in the code"))),
                }
            }
        }
    };
}

words! {
    /// The network that computes the features.
    Backbone {
        /// ResNet-18, for CPU endpoints.
        Resnet18 = "resnet-18",
        /// ResNet-34, for CPU endpoints.
        Resnet34 = "resnet-34",
        /// ResNet-50.
        Resnet50 = "resnet-50",
        /// ResNet-101.
        Resnet101 = "resnet-101",
    }
}
words! {
    /// The head that turns features into classes.
    Algorithm {
        /// Fully convolutional network.
        Fcn = "fcn",
        /// PSPNet: pooled views of the features at four scales beside them.
        Psp = "psp",
        /// DeepLabV3: parallel convolutions with four fields of view.
        Deeplab = "deeplab",
    }
}
words! {
    /// The update rule.
    Optimizer {
        /// Stochastic gradient descent with momentum.
        Sgd = "sgd",
        /// The same with Nesterov's momentum.
        Nag = "nag",
        /// Adam.
        Adam = "adam",
        /// Adam with weight decay apart from the gradient.
        Adamw = "adamw",
        /// Adagrad.
        Adagrad = "adagrad",
        /// `RMSprop` with momentum.
        Rmsprop = "rmsprop",
    }
}
words! {
    /// How the learning rate falls.
    LrScheduler {
        /// `(1 - step/steps)^0.9`.
        Poly = "poly",
        /// A half wave of the cosine.
        Cosine = "cosine",
        /// Multiplied by a factor at given epochs.
        Step = "step",
    }
}
words! {
    /// The number format in which the network is computed; weights are kept in 32 bits.
    Precision {
        /// The fastest that trains as well on the device: see `model::precision`.
        Auto = "auto",
        /// 32-bit floats.
        Fp32 = "fp32",
        /// bfloat16: the range of 32-bit floats with 8 bits of precision.
        Bf16 = "bf16",
        /// IEEE half precision, with loss scaling.
        Fp16 = "fp16",
    }
}
words! {
    /// A part of the training loss.
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
