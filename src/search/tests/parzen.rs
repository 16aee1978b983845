//! Densities against those of Optuna, which `tests/golden/make_parzen.py` computed.

use serde::Deserialize;
use serde_json::Value;

use crate::search::parzen::ParzenEstimator;
use crate::search::read_parameter_ranges;
use crate::search::space::Domain;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    ranges: Value,
    names: Vec<String>,
    observations: Vec<Vec<f64>>,
    points: Vec<Vec<f64>>,
    log_densities: Vec<f64>,
}

#[test]
fn densities_are_optunas() {
    let golden: Golden =
        serde_json::from_str(include_str!("../../../tests/golden/parzen.json")).unwrap();
    assert_eq!(golden.cases.len(), 36);
    for case in golden.cases {
        let space = read_parameter_ranges(&case.ranges).unwrap();
        let mut domains = Vec::new();
        for name in &case.names {
            let found = space.parameters().iter().find(|parameter| parameter.name == *name);
            domains.push(&found.unwrap().domain);
        }
        let place = |values: &Vec<f64>| -> Vec<f64> {
            let mut positions = Vec::new();
            for (domain, &value) in domains.iter().zip(values) {
                positions.push(match domain {
                    Domain::Number(range) => range.position(value),
                    Domain::Categorical(_) => value,
                });
            }
            positions
        };
        let observations: Vec<Vec<f64>> = case.observations.iter().map(place).collect();
        let estimator = ParzenEstimator::build(&domains, &observations);
        for (point, expected) in case.points.iter().zip(case.log_densities) {
            let found = estimator.log_density(&place(point));
            assert!((found - expected).abs() < 1e-9, "{}: {point:?} {found} {expected}", case.name);
        }
    }
}
