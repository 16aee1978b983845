//! The heads of the built-in algorithm.

use crate::named_enum::named_enum;

named_enum! {
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
