//! The networks that compute features.

use crate::named_enum::named_enum;

named_enum! {
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
