//! Which update rule, and its constants.

use crate::sagemaker::Hyperparameters;
use crate::sagemaker::hyperparameters::Optimizer as Kind;

/// The rule and what hyperparameters decide of it; its other constants are PyTorch's defaults.
///
/// The built-in documents `momentum` and `weight_decay` as those of sgd, and that other optimizers
/// ignore them. nag is sgd with Nesterov's momentum, which is nothing without one, so both count
/// for it too; adam, adagrad and rmsprop have no weight decay here. adamw, which the built-in lacks,
/// is weight decay decoupled from the gradient, and takes it.
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
        /// Share of a parameter that is lost per step and unit of learning rate.
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
    /// The rule that hyperparameters ask for.
    pub fn from_hyperparameters(hyperparameters: &Hyperparameters) -> Self {
        let Hyperparameters { momentum, weight_decay, gamma1, gamma2, .. } = *hyperparameters;
        match hyperparameters.optimizer {
            Kind::Sgd => Self::Sgd { momentum, weight_decay },
            Kind::Nag => Self::Nag { momentum, weight_decay },
            Kind::Adam => Self::Adam,
            Kind::Adamw => Self::Adamw { weight_decay },
            Kind::Adagrad => Self::Adagrad,
            Kind::Rmsprop => Self::Rmsprop { alpha: gamma1, momentum: gamma2 },
        }
    }

    /// The hyperparameter's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgd { .. } => Kind::Sgd,
            Self::Nag { .. } => Kind::Nag,
            Self::Adam => Kind::Adam,
            Self::Adamw { .. } => Kind::Adamw,
            Self::Adagrad => Kind::Adagrad,
            Self::Rmsprop { .. } => Kind::Rmsprop,
        }
        .name()
    }

    /// What it keeps per parameter, in PyTorch's names; each has the parameter's shape.
    pub(super) fn state_names(self) -> &'static [&'static str] {
        match self {
            Self::Sgd { .. } | Self::Nag { .. } => &["momentum_buffer"],
            Self::Adam | Self::Adamw { .. } => &["exp_avg", "exp_avg_sq"],
            Self::Adagrad => &["sum"],
            Self::Rmsprop { .. } => &["square_avg", "momentum_buffer"],
        }
    }
}
