//! Conditions of condition steps, with all values known.

use serde_json::Value;

use super::super::definition::describe;

/// Returns true if all conditions of a list hold. The error says which cannot be told, and why.
pub(super) fn hold_all(conditions: &Value) -> Result<bool, String> {
    let mut hold = true;
    for (index, condition) in conditions.as_array().into_iter().flatten().enumerate() {
        let holds = holds(condition)
            .map_err(|problem| format!("Arguments.Conditions[{index}]: {problem}"))?;
        hold &= holds;
    }
    Ok(hold)
}

fn holds(condition: &Value) -> Result<bool, String> {
    let value = |key: &str| condition.get(key).unwrap_or(&Value::Null);
    let kind = value("Type").as_str().unwrap_or_default();
    match kind {
        "Or" => {
            let mut any = false;
            for inner in value("Conditions").as_array().into_iter().flatten() {
                any |= holds(inner)?;
            }
            Ok(any)
        }
        "Not" => Ok(!holds(value("Condition"))?),
        "In" | "NotIn" => {
            let (wanted, list) = if condition.get("QueryValue").is_some() {
                (value("QueryValue"), value("Values"))
            } else {
                (value("Value"), value("In"))
            };
            let mut is_in = false;
            for other in list.as_array().into_iter().flatten() {
                is_in |= are_equal(wanted, other)?;
            }
            Ok(is_in == (kind == "In"))
        }
        "Equals" => are_equal(value("LeftValue"), value("RightValue")),
        "NotEquals" => Ok(!are_equal(value("LeftValue"), value("RightValue"))?),
        "GreaterThan" | "GreaterThanOrEqualTo" | "LessThan" | "LessThanOrEqualTo" => {
            let (left, right) = (value("LeftValue"), value("RightValue"));
            let (Some(left_number), Some(right_number)) = (left.as_f64(), right.as_f64()) else {
                return Err(format!(
                    "{kind} compares {} with {}; allowed: two numbers",
                    describe(left),
                    describe(right)
                ));
            };
            Ok(match kind {
                "GreaterThan" => left_number > right_number,
                "GreaterThanOrEqualTo" => left_number >= right_number,
                "LessThan" => left_number < right_number,
                _ => left_number <= right_number,
            })
        }
        other => Err(format!("Type is {other:?}, which is no condition")),
    }
}

fn are_equal(left: &Value, right: &Value) -> Result<bool, String> {
    match (left, right) {
        (Value::Number(_), Value::Number(_)) => Ok(left.as_f64() == right.as_f64()),
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => {
            Ok(left == right)
        }
        _ => Err(format!(
            "compares {} with {}; allowed: two texts, two numbers, or two of true and false",
            describe(left),
            describe(right)
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_compare_as_the_service_does() {
        let compare = |kind: &str, left: Value, right: Value| {
            hold_all(&json!([{"Type": kind, "LeftValue": left, "RightValue": right}]))
        };
        assert_eq!(compare("GreaterThanOrEqualTo", json!(0.6), json!(0.6)), Ok(true));
        assert_eq!(compare("GreaterThan", json!(0.6), json!(0.6)), Ok(false));
        assert_eq!(compare("LessThan", json!(1), json!(1.5)), Ok(true));
        assert_eq!(compare("LessThanOrEqualTo", json!(2), json!(1.5)), Ok(false));
        assert_eq!(compare("Equals", json!(1), json!(1.0)), Ok(true));
        assert_eq!(compare("Equals", json!("a"), json!("a")), Ok(true));
        assert_eq!(compare("NotEquals", json!(true), json!(false)), Ok(true));
        assert!(compare("GreaterThan", json!("0.6"), json!(0.5)).unwrap_err().contains("numbers"));
        assert!(compare("GreaterThan", json!(null), json!(0.5)).is_err());
        assert!(compare("Equals", json!("1"), json!(1)).is_err());
    }

    #[test]
    fn lists_and_combinations() {
        let is_in = |kind: &str| json!({"Type": kind, "QueryValue": "a", "Values": ["b", "a"]});
        assert_eq!(hold_all(&json!([is_in("In")])), Ok(true));
        assert_eq!(hold_all(&json!([is_in("NotIn")])), Ok(false));
        assert_eq!(hold_all(&json!([{"Type": "In", "Value": 1, "In": [2]}])), Ok(false));
        let not = json!({"Type": "Not", "Condition": is_in("In")});
        assert_eq!(hold_all(&json!([not])), Ok(false));
        let or = json!({"Type": "Or", "Conditions": [not, is_in("In")]});
        assert_eq!(hold_all(&json!([or])), Ok(true));
        assert_eq!(hold_all(&json!([or, not])), Ok(false), "all of a list must hold");
    }
}
