//! The choice of an update rule and its constants.

use crate::named_enum::named_enum;
use crate::train::hyperparameters::Hyperparameters;

named_enum! {
    /// The hyperparameter `optimizer`: an update rule without its constants.
    OptimizerKind {
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

/// An update rule with the constants that hyperparameters set; the others are PyTorch's defaults.
///
/// The built-in documents `momentum` and `weight_decay` as those of sgd, and that other optimizers
/// ignore them. nag is sgd with Nesterov's momentum, so both apply to nag too; adam, adagrad and
/// rmsprop have no weight decay here. adamw, which the built-in lacks, applies weight decay apart
/// from the gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptimizerConfig {
    /// `torch.optim.SGD(momentum, weight_decay)`.
    Sgd {
        /// Share of the last update that is kept.
        momentum: f64,
        /// L2 penalty.
        weight_decay: f64,
    },
    /// `torch.optim.SGD(momentum, weight_decay, nesterov=True)`.
    Nag {
        /// Share of the last update that is kept.
        momentum: f64,
        /// L2 penalty.
        weight_decay: f64,
    },
    /// `torch.optim.Adam(betas=(0.9, 0.999), eps=1e-8)`.
    Adam,
    /// `torch.optim.AdamW(betas=(0.9, 0.999), eps=1e-8, weight_decay)`.
    Adamw {
        /// Share of a parameter that a step takes away, divided by the learning rate.
        weight_decay: f64,
    },
    /// `torch.optim.Adagrad(lr_decay=0, initial_accumulator_value=0, eps=1e-10)`.
    Adagrad,
    /// `torch.optim.RMSprop(alpha, momentum, eps=1e-8)`.
    Rmsprop {
        /// Decay of the average of squared gradients.
        alpha: f64,
        /// Share of the last update that is kept.
        momentum: f64,
    },
}

impl OptimizerConfig {
    /// Returns the rule that hyperparameters ask for.
    pub fn from_hyperparameters(hyperparameters: &Hyperparameters) -> Self {
        let Hyperparameters { momentum, weight_decay, gamma1, gamma2, .. } = *hyperparameters;
        match hyperparameters.optimizer {
            OptimizerKind::Sgd => Self::Sgd { momentum, weight_decay },
            OptimizerKind::Nag => Self::Nag { momentum, weight_decay },
            OptimizerKind::Adam => Self::Adam,
            OptimizerKind::Adamw => Self::Adamw { weight_decay },
            OptimizerKind::Adagrad => Self::Adagrad,
            OptimizerKind::Rmsprop => Self::Rmsprop { alpha: gamma1, momentum: gamma2 },
        }
    }

    /// Returns the rule's name in hyperparameters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgd { .. } => OptimizerKind::Sgd,
            Self::Nag { .. } => OptimizerKind::Nag,
            Self::Adam => OptimizerKind::Adam,
            Self::Adamw { .. } => OptimizerKind::Adamw,
            Self::Adagrad => OptimizerKind::Adagrad,
            Self::Rmsprop { .. } => OptimizerKind::Rmsprop,
        }
        .name()
    }

    /// Returns the names, as in PyTorch, of the tensors that the rule keeps for each parameter.
    /// Each tensor has the parameter's shape.
    pub(super) fn state_names(self) -> &'static [&'static str] {
        match self {
            Self::Sgd { .. } | Self::Nag { .. } => &["momentum_buffer"],
            Self::Adam | Self::Adamw { .. } => &["exp_avg", "exp_avg_sq"],
            Self::Adagrad => &["sum"],
            Self::Rmsprop { .. } => &["square_avg", "momentum_buffer"],
        }
    }
}
