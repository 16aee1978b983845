//! Tests of the parser of ranges.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::search::number_range::Scale;
use crate::search::space::{Domain, Parameter, SearchSpace};
use crate::search::{
    Assignment, Objective, RandomSampler, TpeSampler, TpeSettings, Trial, read_parameter_ranges,
};

fn problems(ranges: &Value) -> Vec<String> {
    read_parameter_ranges(ranges).unwrap_err().problems().to_vec()
}

#[track_caller]
fn assert_problems(ranges: &Value, expected: &[&str]) {
    let found = problems(ranges);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for text in expected {
        assert!(found.iter().any(|problem| problem.contains(text)), "{text:?} in {found:#?}");
    }
}

#[test]
fn ranges_of_the_service_are_read() {
    let space = read_parameter_ranges(&json!({
        "IntegerParameterRanges": [
            {"Name": "epochs", "MinValue": "5", "MaxValue": "20", "ScalingType": "Auto"},
            {"Name": "batch", "MinValue": 1, "MaxValue": "100.0"},
        ],
        "ContinuousParameterRanges": [
            {"Name": "lr", "MinValue": "1e-4", "MaxValue": "0.1", "ScalingType": "Logarithmic"},
            {"Name": "momentum", "MinValue": 0.5, "MaxValue": 0.99,
             "ScalingType": "ReverseLogarithmic",
             "Condition": {"Name": "optimizer", "Values": ["sgd", "nag"]}},
        ],
        "CategoricalParameterRanges": [{"Name": "optimizer", "Values": ["sgd", "nag", "adam"]}],
        "AutoParameters": [],
    }))
    .unwrap();
    let mut found = Vec::new();
    for parameter in space.parameters() {
        let scale = match &parameter.domain {
            Domain::Number(range) => Some(range.scale()),
            Domain::Categorical(_) => None,
        };
        found.push((parameter.name.as_str(), scale, parameter.boundary_values().join(" ")));
    }
    let expected = [
        ("epochs", Some(Scale::Linear), "5 20".to_owned()),
        ("batch", Some(Scale::Logarithmic), "1 100".to_owned()),
        ("lr", Some(Scale::Logarithmic), "0.0001 0.1".to_owned()),
        ("optimizer", None, "sgd nag adam".to_owned()),
        ("momentum", Some(Scale::ReverseLogarithmic), "0.5 0.99".to_owned()),
    ];
    assert_eq!(found, expected);
}

#[test]
fn all_problems_are_told_at_once() {
    assert_problems(
        &json!({
            "IntegerParameterRange": [],
            "AutoParameters": [{"Name": "lr", "ValueHint": "0.1"}],
            "IntegerParameterRanges": [
                {"Name": "epochs", "MinValue": "5.5", "MaxValue": "many", "ScalingType": "Log"},
                {"Name": "batch", "MinValue": "9", "MaxValue": "3", "Step": 1},
                7,
            ],
            "ContinuousParameterRanges": [
                {"MinValue": "NaN", "MaxValue": "1e999"},
                {"Name": "lr", "MinValue": "0", "MaxValue": "1", "ScalingType": "Logarithmic"},
                {"Name": "lr", "MinValue": "0", "MaxValue": "1"},
            ],
            "CategoricalParameterRanges": [
                {"Name": "optimizer", "Values": []},
                {"Name": "backbone", "Values": ["a", "a", null]},
                {"Name": "loss", "Values": "dice"},
            ],
        }),
        &[
            "unknown key \"IntegerParameterRange\" (did you mean \"IntegerParameterRanges\"?)",
            "AutoParameters is given",
            "IntegerParameterRanges[0] (epochs): MaxValue is \"many\"",
            "IntegerParameterRanges[0] (epochs): ScalingType is \"Log\"",
            "IntegerParameterRanges[1] (batch): the range has the unknown key \"Step\"",
            "IntegerParameterRanges[1] (batch): MinValue 9 is above MaxValue 3",
            "IntegerParameterRanges[2]: is 7; allowed: an object",
            "ContinuousParameterRanges[0]: Name is missing",
            "ContinuousParameterRanges[0]: MinValue is \"NaN\"",
            "ContinuousParameterRanges[0]: MaxValue is \"1e999\"",
            "ContinuousParameterRanges[1] (lr): MinValue is 0 and ScalingType is Logarithmic",
            "\"lr\" has more than one range",
            "CategoricalParameterRanges[0] (optimizer): Values is empty",
            "CategoricalParameterRanges[1] (backbone): Values has \"a\" more than once",
            "CategoricalParameterRanges[1] (backbone): Values[2] is null",
            "CategoricalParameterRanges[2] (loss): Values is \"dice\"",
        ],
    );
}

#[test]
fn searches_have_one_to_thirty_ranges() {
    assert_problems(&json!({}), &["no ranges"]);
    assert_problems(&json!([]), &["ParameterRanges is a list"]);
    assert_problems(&json!({"CategoricalParameterRanges": {}}), &["a list of ranges"]);
    let ranges = |count| -> Vec<Value> {
        (0..count)
            .map(|index| json!({"Name": format!("p{index}"), "MinValue": 0, "MaxValue": 1}))
            .collect()
    };
    assert!(read_parameter_ranges(&json!({"IntegerParameterRanges": ranges(30)})).is_ok());
    assert_problems(&json!({"IntegerParameterRanges": ranges(31)}), &["31 ranges"]);
    let words: Vec<String> = (0..31).map(|index| index.to_string()).collect();
    assert_problems(
        &json!({"CategoricalParameterRanges": [{"Name": "a", "Values": words}]}),
        &["Values has 31 values"],
    );
}

fn conditional(name: &str, values: &[&str], condition: Option<(&str, &str)>) -> Value {
    let mut range = json!({"Name": name, "Values": values});
    if let Some((parent, value)) = condition {
        range["Condition"] = json!({"Name": parent, "Values": [value]});
    }
    range
}

#[test]
fn conditions_name_categorical_hyperparameters_and_values_of_theirs() {
    let ranges = |conditions: &[Value]| {
        json!({
            "IntegerParameterRanges": [{"Name": "n", "MinValue": 0, "MaxValue": 1}],
            "CategoricalParameterRanges": conditions,
        })
    };
    assert_problems(
        &ranges(&[
            conditional("optimizer", &["sgd", "adam"], None),
            conditional("a", &["1"], Some(("optimiser", "sgd"))),
            conditional("b", &["1"], Some(("optimizer", "adm"))),
            conditional("c", &["1"], Some(("n", "0"))),
            json!({"Name": "d", "Values": ["1"], "Condition": {"name": "optimizer", "Values": []}}),
        ]),
        &[
            "a: Condition names \"optimiser\", which has no range (did you mean \"optimizer\"?)",
            "b: Condition has the value \"adm\", which optimizer never has (did you mean \"adam\"?)",
            "c: Condition names \"n\", which is a range of numbers",
            "Condition: the condition has the unknown key \"name\"",
            "Condition: Name is missing",
            "Condition: Values is empty",
        ],
    );
    assert_problems(
        &ranges(&[conditional("a", &["1"], Some(("a", "1")))]),
        &["the conditions of a run in a circle"],
    );
    assert_problems(
        &ranges(&[
            conditional("a", &["1"], Some(("b", "1"))),
            conditional("b", &["1"], Some(("c", "1"))),
            conditional("c", &["1"], Some(("a", "1"))),
        ]),
        &["the conditions of a, b, c run in a circle"],
    );
    // Nothing is said about a condition on a range that is wrong itself.
    assert_problems(
        &ranges(&[
            conditional("optimizer", &[], None),
            conditional("a", &["1"], Some(("optimizer", "sgd"))),
        ]),
        &["(optimizer): Values is empty"],
    );
}

#[test]
fn conditions_hold_over_several_levels() {
    let space = read_parameter_ranges(&json!({"CategoricalParameterRanges": [
        conditional("c", &["x", "y"], Some(("b", "x"))),
        conditional("b", &["x", "y"], Some(("a", "x"))),
        conditional("a", &["x", "y"], None),
    ]}))
    .unwrap();
    let mut lengths = [0; 4];
    for number in 0..400 {
        let drawn = RandomSampler::new(5).draw_assignment(&space, number);
        assert_eq!(drawn.get("b").is_some(), drawn.get("a") == Some("x"));
        assert_eq!(drawn.get("c").is_some(), drawn.get("b") == Some("x"));
        lengths[drawn.len()] += 1;
    }
    assert!((150..250).contains(&lengths[1]), "{lengths:?}");
    assert!((60..140).contains(&lengths[2]) && (60..140).contains(&lengths[3]), "{lengths:?}");
}

/// Tells if each value of an assignment belongs to the space, and the right ones are there.
fn belongs(space: &SearchSpace, assignment: &Assignment) -> bool {
    let mut active_count = 0;
    for parameter in space.parameters() {
        let text = assignment.get(&parameter.name);
        if text.is_some() != parameter.is_active(assignment) {
            return false;
        }
        if let Some(text) = text {
            active_count += 1;
            if parameter.domain.position_of(text).is_none() {
                return false;
            }
        }
    }
    active_count == assignment.len()
}

fn any_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| Value::from(format!("{number:e}"))),
        (-3.0..3.0).prop_map(Value::from),
        (-5..100_i64).prop_map(|number| Value::from(number.to_string())),
        "[abc]".prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"])
            .prop_map(Value::from),
    ]
}

const KEYS: [&str; 11] = [
    "IntegerParameterRanges",
    "ContinuousParameterRanges",
    "CategoricalParameterRanges",
    "AutoParameters",
    "Name",
    "MinValue",
    "MaxValue",
    "ScalingType",
    "Condition",
    "Values",
    "else",
];

/// Any JSON, with the keys of ranges more often than by chance.
fn any_json() -> impl Strategy<Value = Value> {
    any_scalar().prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((prop::sample::select(KEYS.to_vec()), inner), 0..8).prop_map(
                |fields| {
                    let mut object = Map::new();
                    for (key, value) in fields {
                        object.insert(key.to_owned(), value);
                    }
                    Value::Object(object)
                }
            ),
        ]
    })
}

/// A range that is right more often than not.
fn any_range(index: usize) -> impl Strategy<Value = Value> {
    let scaling = prop::sample::select(vec!["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"]);
    let bounds = prop_oneof![
        (any::<f64>(), any::<f64>()),
        (0.0..1.0, 0.0..1.0),
        (-9e15..9e15, -9e15..9e15),
        (0..40, 0..40).prop_map(|(a, b)| (f64::from(a), f64::from(b))),
    ];
    (bounds, scaling).prop_map(move |((a, b), scaling)| {
        json!({"Name": format!("p{index}"), "MinValue": format!("{:?}", a.min(b)),
               "MaxValue": a.max(b), "ScalingType": scaling,
               "Condition": {"Name": "w", "Values": ["x"]}})
    })
}

fn trials_of(space: &SearchSpace, count: u64) -> Vec<Trial> {
    let mut trials = Vec::new();
    for number in 0..count {
        let assignment = RandomSampler::new(1).draw_assignment(space, number);
        trials.push(Trial::new(number, assignment).complete((number * 7 % 11) as f64));
    }
    trials
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_json_is_read_or_refused(ranges in any_json()) {
        if let Err(error) = read_parameter_ranges(&ranges) {
            prop_assert!(!error.problems().is_empty());
        }
    }

    #[test]
    fn accepted_ranges_give_values_within_them(
        integer in any_range(0),
        continuous in any_range(1),
        words in prop::collection::vec("[a-z]{1,3}", 0..4),
        seed in any::<u64>(),
    ) {
        let mut values = vec!["x".to_owned()];
        values.extend(words);
        let category = json!({"Name": "w", "Values": values});
        // One at a time too, so that a range is tested though the other is refused.
        for ranges in [
            json!({"IntegerParameterRanges": [integer], "CategoricalParameterRanges": [category]}),
            json!({"ContinuousParameterRanges": [continuous], "CategoricalParameterRanges": [category]}),
            json!({"IntegerParameterRanges": [integer], "ContinuousParameterRanges": [continuous],
                   "CategoricalParameterRanges": [category]}),
        ] {
            let Ok(space) = read_parameter_ranges(&ranges) else { continue };
            let trials = trials_of(&space, 12);
            for trial in &trials {
                prop_assert!(belongs(&space, &trial.assignment), "{ranges} {:?}", trial.assignment);
            }
            for is_joint in [false, true] {
                let settings = TpeSettings { is_joint, ..TpeSettings::default() };
                let sampler = TpeSampler::new(seed, Objective::Minimize, settings);
                for number in 12..15 {
                    let drawn = sampler.draw_assignment(&space, &trials, number);
                    prop_assert!(belongs(&space, &drawn), "{ranges} {drawn:?}");
                }
            }
        }
    }
}

#[test]
fn a_space_built_in_code_is_checked_too() {
    let empty = Parameter {
        name: "kind".to_owned(),
        domain: Domain::Categorical(Vec::new()),
        condition: None,
    };
    let error = SearchSpace::new(vec![empty.clone(), empty]).unwrap_err();
    assert_eq!(error.problems().len(), 3, "{error}");
    assert!(SearchSpace::new(Vec::new()).is_err());
}
