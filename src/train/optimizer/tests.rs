use tch::{Device, Kind as Type};

use super::*;

const RULES: [Rule; 6] = [
    Rule::Sgd { momentum: 0.9, weight_decay: 1e-4 },
    Rule::Nag { momentum: 0.9, weight_decay: 1e-4 },
    Rule::Adam,
    Rule::Adamw { weight_decay: 0.01 },
    Rule::Adagrad,
    Rule::Rmsprop { alpha: 0.9, momentum: 0.9 },
];

/// An optimizer of two parameters, one of them channels-last, and the two.
fn start(rule: Rule) -> (Optimizer, [Tensor; 2]) {
    let values = |count: i64, shape: &[i64]| {
        ((Tensor::arange(count, (Type::Float, Device::Cpu)) * 0.7).sin()).reshape(shape)
    };
    let kernel = values(24, &[2, 3, 2, 2]).permute([0, 2, 3, 1]).contiguous();
    let pair = [kernel.permute([0, 3, 1, 2]), values(5, &[5])];
    let named = ["kernel", "bias"].map(str::to_owned).into_iter();
    let named = named.zip(pair.iter().map(Tensor::shallow_clone)).collect();
    (Optimizer::new(rule, named).unwrap(), pair)
}

fn advance(optimizer: &mut Optimizer, steps: std::ops::Range<i64>) {
    for step in steps {
        let gradient = |shape: &[i64]| {
            let count = shape.iter().product::<i64>();
            let angles = Tensor::arange(count, (Type::Float, Device::Cpu)) * 1.3 + step as f64;
            angles.cos().reshape(shape)
        };
        optimizer.step(0.01, vec![gradient(&[2, 3, 2, 2]), gradient(&[5])]).unwrap();
    }
}

#[test]
fn loaded_state_goes_on_bit_for_bit() {
    for rule in RULES {
        let (mut whole, expected) = start(rule);
        advance(&mut whole, 0..7);

        let (mut first, halfway) = start(rule);
        advance(&mut first, 0..3);
        // As from a file: other memory, plain order.
        let saved: Vec<_> =
            first.state().into_iter().map(|(name, t)| (name, t.contiguous().copy())).collect();
        let (mut second, parameters) = start(rule);
        for (parameter, halfway) in parameters.iter().zip(&halfway) {
            parameter.shallow_clone().copy_(halfway);
        }
        second.load_state(saved).unwrap();
        advance(&mut second, 3..7);
        for (got, expected) in parameters.iter().zip(&expected) {
            assert!(got.equal(expected), "{rule:?}");
        }
        for ((name, got), (_, expected)) in second.state().into_iter().zip(whole.state()) {
            assert!(got.equal(&expected), "{rule:?} {name}");
        }

        // Without the state the same steps end elsewhere: it is all there for a reason.
        let (mut fresh, parameters) = start(rule);
        for (parameter, halfway) in parameters.iter().zip(&halfway) {
            parameter.shallow_clone().copy_(halfway);
        }
        advance(&mut fresh, 3..7);
        assert!(!parameters[0].equal(&expected[0]), "{rule:?}");
    }
}

#[test]
fn state_is_named_after_its_parameter_and_pytorchs_name() {
    let names =
        |rule| -> Vec<String> { start(rule).0.state().into_iter().map(|(name, _)| name).collect() };
    assert_eq!(names(RULES[0]), ["step", "kernel.momentum_buffer", "bias.momentum_buffer"]);
    assert_eq!(
        names(Rule::Adam),
        ["step", "kernel.exp_avg", "kernel.exp_avg_sq", "bias.exp_avg", "bias.exp_avg_sq"]
    );
}

#[test]
fn state_that_does_not_fit_is_named_and_changes_nothing() {
    let (mut optimizer, _) = start(RULES[0]);
    advance(&mut optimizer, 0..2);
    let before: Vec<_> = optimizer.state().into_iter().map(|(name, t)| (name, t.copy())).collect();
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Type::Float, Device::Cpu));
    let wrong = vec![
        ("step".to_owned(), zeros(&[])),
        ("kernel.momentum_buffer".to_owned(), zeros(&[2, 3, 2, 1])),
        ("bias.exp_avg".to_owned(), zeros(&[5])),
    ];
    let error = optimizer.load_state(wrong).unwrap_err();
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
    for ((name, now), (_, before)) in optimizer.state().into_iter().zip(before) {
        assert!(now.equal(&before), "{name}");
    }
}
