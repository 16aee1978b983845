use tch::nn::{self, OptimizerConfig as _, RmsProp, VarStore};
use tch::{Device, Kind as Type};

use super::*;

const OPTIONS: (Type, Device) = (Type::Float, Device::Cpu);

const RULES: [OptimizerConfig; 6] = [
    OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 1e-4 },
    OptimizerConfig::Nag { momentum: 0.9, weight_decay: 1e-4 },
    OptimizerConfig::Adam,
    OptimizerConfig::Adamw { weight_decay: 0.01 },
    OptimizerConfig::Adagrad,
    OptimizerConfig::Rmsprop { alpha: 0.9, momentum: 0.9 },
];

/// An optimizer of two parameters, one of them channels-last, and the two.
fn new_optimizer(config: OptimizerConfig) -> (Optimizer, [Tensor; 2]) {
    let values =
        |count: i64, shape: &[i64]| ((Tensor::arange(count, OPTIONS) * 0.7).sin()).reshape(shape);
    let kernel = values(24, &[2, 3, 2, 2]).permute([0, 2, 3, 1]).contiguous();
    let pair = [kernel.permute([0, 3, 1, 2]), values(5, &[5])];
    let named = ["kernel", "bias"].map(str::to_owned).into_iter();
    let named = named.zip(pair.iter().map(Tensor::shallow_clone)).collect();
    (Optimizer::new(config, named).unwrap(), pair)
}

fn gradients_of_step(step: i64) -> Vec<Tensor> {
    let gradient = |shape: &[i64]| {
        let count = shape.iter().product::<i64>();
        let angles = Tensor::arange(count, OPTIONS) * 1.3 + step as f64;
        angles.cos().reshape(shape)
    };
    vec![gradient(&[2, 3, 2, 2]), gradient(&[5])]
}

fn take_steps(optimizer: &mut Optimizer, steps: std::ops::Range<i64>) {
    for step in steps {
        optimizer.step(0.01, gradients_of_step(step)).unwrap();
    }
}

#[test]
fn loaded_state_goes_on_bit_for_bit() {
    for config in RULES {
        let (mut whole, expected) = new_optimizer(config);
        take_steps(&mut whole, 0..7);

        let (mut first, halfway) = new_optimizer(config);
        take_steps(&mut first, 0..3);
        // As from a file: other memory, plain order.
        let saved: Vec<_> =
            first.state_dict().into_iter().map(|(name, t)| (name, t.contiguous().copy())).collect();
        let (mut second, parameters) = new_optimizer(config);
        for (parameter, halfway) in parameters.iter().zip(&halfway) {
            parameter.shallow_clone().copy_(halfway);
        }
        second.load_state_dict(saved).unwrap();
        take_steps(&mut second, 3..7);
        for (got, expected) in parameters.iter().zip(&expected) {
            assert!(got.equal(expected), "{config:?}");
        }
        for ((name, got), (_, expected)) in second.state_dict().into_iter().zip(whole.state_dict())
        {
            assert!(got.equal(&expected), "{config:?} {name}");
        }

        // Without the state the same steps end elsewhere: it is all there for a reason.
        let (mut fresh, parameters) = new_optimizer(config);
        for (parameter, halfway) in parameters.iter().zip(&halfway) {
            parameter.shallow_clone().copy_(halfway);
        }
        take_steps(&mut fresh, 3..7);
        assert!(!parameters[0].equal(&expected[0]), "{config:?}");
    }
}

fn assert_same_bits(got: &Tensor, expected: &Tensor, case: &str) {
    assert!(got.equal(expected), "{case}: {got:?} {expected:?}");
}

#[test]
fn all_parameters_at_once_move_as_one_by_one() {
    for config in RULES {
        let (mut one_by_one, expected) = new_optimizer(config);
        assert_eq!(one_by_one.params_per_list, 1);
        take_steps(&mut one_by_one, 0..3);
        let (mut at_once, parameters) = new_optimizer(config);
        at_once.params_per_list = 2;
        take_steps(&mut at_once, 0..3);
        // A parameter without a gradient stays, and the others move.
        for optimizer in [&mut one_by_one, &mut at_once] {
            optimizer.step(0.01, vec![Tensor::new(), Tensor::ones([5], OPTIONS)]).unwrap();
        }
        for (parameter, expected) in parameters.iter().zip(&expected) {
            assert_same_bits(parameter, expected, config.name());
        }
        for ((_, got), (name, expected)) in
            at_once.state_dict().into_iter().zip(one_by_one.state_dict())
        {
            assert_same_bits(&got, &expected, &format!("{} {name}", config.name()));
        }
    }
}

#[test]
fn rules_move_as_libtorchs_own_bit_for_bit() {
    // libtorch has no adagrad behind tch, and computes adam's average without `lerp`, which is
    // another rounding.
    type Build = fn(&VarStore) -> nn::Optimizer;
    let own_rules: [(OptimizerConfig, Build); 3] = [
        (RULES[0], |store| nn::sgd(0.9, 0.0, 1e-4, false).build(store, 0.01).unwrap()),
        (RULES[1], |store| nn::sgd(0.9, 0.0, 1e-4, true).build(store, 0.01).unwrap()),
        (RULES[5], |store| {
            let rule = RmsProp { alpha: 0.9, momentum: 0.9, ..RmsProp::default() };
            rule.build(store, 0.01).unwrap()
        }),
    ];
    for (config, build) in own_rules {
        let (mut optimizer, parameters) = new_optimizer(config);
        let store = VarStore::new(Device::Cpu);
        let copies = [0, 1].map(|at| store.root().var_copy(&format!("{at}"), &parameters[at]));
        let mut libtorchs = build(&store);
        for step in 0..5 {
            take_steps(&mut optimizer, step..step + 1);
            libtorchs.zero_grad();
            // The gradient of a sum of products is the other factor.
            let mut loss = Tensor::from(0.0f32);
            for (copy, gradient) in copies.iter().zip(gradients_of_step(step)) {
                loss += (copy * gradient).sum(Type::Float);
            }
            loss.backward();
            libtorchs.step();
            for (parameter, copy) in parameters.iter().zip(&copies) {
                assert_same_bits(parameter, copy, &format!("{} step {step}", config.name()));
            }
        }
    }
}

#[test]
fn state_is_named_after_its_parameter_and_pytorchs_name() {
    let names = |rule| -> Vec<String> {
        new_optimizer(rule).0.state_dict().into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(RULES[0]), ["step", "kernel.momentum_buffer", "bias.momentum_buffer"]);
    assert_eq!(
        names(OptimizerConfig::Adam),
        ["step", "kernel.exp_avg", "kernel.exp_avg_sq", "bias.exp_avg", "bias.exp_avg_sq"]
    );
}

#[test]
fn state_that_does_not_fit_is_named_and_changes_nothing() {
    let (mut optimizer, _) = new_optimizer(RULES[0]);
    take_steps(&mut optimizer, 0..2);
    let before: Vec<_> =
        optimizer.state_dict().into_iter().map(|(name, t)| (name, t.copy())).collect();
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Type::Float, Device::Cpu));
    let wrong = vec![
        ("step".to_owned(), zeros(&[])),
        ("kernel.momentum_buffer".to_owned(), zeros(&[2, 3, 2, 1])),
        ("bias.exp_avg".to_owned(), zeros(&[5])),
    ];
    let error = optimizer.load_state_dict(wrong).unwrap_err();
    assert_eq!(
        error.problems(),
        [
            "optimizer state kernel.momentum_buffer is Float of shape [2, 3, 2, 1]; sgd needs \
             Float of shape [2, 3, 2, 2]",
            "optimizer state bias.momentum_buffer is missing; sgd needs it",
            "optimizer state step is Float of shape []; sgd needs Int64 of shape []",
            "optimizer state bias.exp_avg is not part of sgd on this network",
        ]
    );
    for ((name, now), (_, before)) in optimizer.state_dict().into_iter().zip(before) {
        assert!(now.equal(&before), "{name}");
    }
}
