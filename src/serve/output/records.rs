//! Several answers in one body.

use serde_json::Value;

use super::super::reply::{ApiError, ErrorType};

/// The answer to one record: what the client calls it, and one object of JSON or why there is none.
pub(in super::super) type RecordAnswer = (Option<Value>, Result<Vec<u8>, ApiError>);

/// The one answer, in JSON, with its id.
pub(in super::super) fn encode_single_json(
    answers: Vec<RecordAnswer>,
) -> Result<Vec<u8>, ApiError> {
    let (id, object) = take_first_answer(answers)?;
    let mut bytes = Vec::new();
    append_answer(&mut bytes, id.as_ref(), Ok(object));
    Ok(bytes)
}

/// The one answer in a form that has no place for an id.
pub(in super::super) fn take_single_body(answers: Vec<RecordAnswer>) -> Result<Vec<u8>, ApiError> {
    take_first_answer(answers).map(|(_, bytes)| bytes)
}

/// A line per answer.
pub(in super::super) fn join_json_lines(answers: Vec<RecordAnswer>) -> Result<Vec<u8>, ApiError> {
    check_any_succeeded(&answers)?;
    let mut bytes = Vec::new();
    for (id, answer) in answers {
        append_answer(&mut bytes, id.as_ref(), answer);
        if bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
    }
    Ok(bytes)
}

/// `{"predictions": [...]}`.
pub(in super::super) fn join_predictions(answers: Vec<RecordAnswer>) -> Result<Vec<u8>, ApiError> {
    check_any_succeeded(&answers)?;
    let mut bytes = br#"{"predictions":["#.to_vec();
    for (index, (id, answer)) in answers.into_iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        append_answer(&mut bytes, id.as_ref(), answer);
    }
    bytes.extend_from_slice(b"]}");
    Ok(bytes)
}

fn take_first_answer(answers: Vec<RecordAnswer>) -> Result<(Option<Value>, Vec<u8>), ApiError> {
    let no_records_error = || ApiError::new(ErrorType::InvalidJson, "the body has no records");
    let (id, answer) = answers.into_iter().next().ok_or_else(no_records_error)?;
    answer.map(|bytes| (id, bytes))
}

/// Refuses the whole, with the first reason, where there is no good answer.
fn check_any_succeeded(answers: &[RecordAnswer]) -> Result<(), ApiError> {
    let api_error = |(_, answer): &RecordAnswer| answer.as_ref().err().cloned();
    match answers.iter().map(api_error).collect::<Option<Vec<_>>>() {
        None => Ok(()),
        Some(api_errors) => Err(api_errors
            .into_iter()
            .next()
            .unwrap_or_else(|| ApiError::new(ErrorType::InvalidJson, "the body has no records"))),
    }
}

/// Appends an object, with the id as its first key.
fn append_answer(bytes: &mut Vec<u8>, id: Option<&Value>, answer: Result<Vec<u8>, ApiError>) {
    let object = answer.unwrap_or_else(|error| error.to_json().to_string().into_bytes());
    match id {
        Some(id) => {
            // An answer is an object that has keys.
            bytes.extend_from_slice(format!("{{\"id\":{id},").as_bytes());
            bytes.extend_from_slice(object.strip_prefix(b"{").unwrap_or(&object));
        }
        None => bytes.extend_from_slice(&object),
    }
}
