//! Bodies that hold the answers to several records.

use crate::serve::api_error::{ApiError, ErrorType};

/// The answer to one record: the record's id in JSON, and an object of JSON or the reason why there
/// is none.
pub(in crate::serve) type RecordAnswer = (Option<String>, Result<Vec<u8>, ApiError>);

/// Encodes a single answer in JSON, with its id.
pub(super) fn encode_single_json(answers: Vec<RecordAnswer>) -> Result<Vec<u8>, ApiError> {
    let (id, object) = take_first_answer(answers)?;
    let mut bytes = Vec::new();
    append_answer(&mut bytes, id.as_deref(), Ok(object));
    Ok(bytes)
}

/// Returns a single answer in a format that has no place for an id.
pub(super) fn take_single_body(answers: Vec<RecordAnswer>) -> Result<Vec<u8>, ApiError> {
    take_first_answer(answers).map(|(_, bytes)| bytes)
}

/// Joins answers as one line each.
pub(super) fn join_json_lines(answers: Vec<RecordAnswer>) -> Result<Vec<u8>, ApiError> {
    check_any_succeeded(&answers)?;
    let mut bytes = Vec::new();
    for (id, answer) in answers {
        append_answer(&mut bytes, id.as_deref(), answer);
        if bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
    }
    Ok(bytes)
}

/// Joins answers as `{"predictions": [...]}`.
pub(super) fn join_predictions(answers: Vec<RecordAnswer>) -> Result<Vec<u8>, ApiError> {
    check_any_succeeded(&answers)?;
    let mut bytes = br#"{"predictions":["#.to_vec();
    for (index, (id, answer)) in answers.into_iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        append_answer(&mut bytes, id.as_deref(), answer);
    }
    bytes.extend_from_slice(b"]}");
    Ok(bytes)
}

fn take_first_answer(answers: Vec<RecordAnswer>) -> Result<(Option<String>, Vec<u8>), ApiError> {
    let Some((id, answer)) = answers.into_iter().next() else { return Err(no_records_error()) };
    Ok((id, answer?))
}

/// Returns the first error if every answer is an error, or if there is no answer.
fn check_any_succeeded(answers: &[RecordAnswer]) -> Result<(), ApiError> {
    let mut first_error = None;
    for (_, answer) in answers {
        match answer {
            Ok(_) => return Ok(()),
            Err(error) if first_error.is_none() => first_error = Some(error.clone()),
            Err(_) => {}
        }
    }
    Err(first_error.unwrap_or_else(no_records_error))
}

fn no_records_error() -> ApiError {
    ApiError::new(ErrorType::InvalidJson, "the body has no records")
}

/// Appends an object of JSON, with the id as its first key.
fn append_answer(bytes: &mut Vec<u8>, id: Option<&str>, answer: Result<Vec<u8>, ApiError>) {
    let object = answer.unwrap_or_else(|error| error.to_json().to_string().into_bytes());
    match id {
        Some(id) => {
            // Every answer is an object with at least one key.
            bytes.extend_from_slice(format!("{{\"id\":{id},").as_bytes());
            bytes.extend_from_slice(object.strip_prefix(b"{").unwrap_or(&object));
        }
        None => bytes.extend_from_slice(&object),
    }
}
