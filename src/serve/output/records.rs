//! Several answers in one body.

use serde_json::Value;

use super::super::reply::{ErrorType, Refusal};

/// The answer to one record: what the client calls it, and one object of JSON or why there is none.
pub(in super::super) type Answer = (Option<Value>, Result<Vec<u8>, Refusal>);

/// The one answer, in JSON, with its id.
pub(in super::super) fn lone(answers: Vec<Answer>) -> Result<Vec<u8>, Refusal> {
    let (id, object) = first(answers)?;
    let mut bytes = Vec::new();
    append(&mut bytes, id.as_ref(), Ok(object));
    Ok(bytes)
}

/// The one answer in a form that has no place for an id.
pub(in super::super) fn alone(answers: Vec<Answer>) -> Result<Vec<u8>, Refusal> {
    first(answers).map(|(_, bytes)| bytes)
}

/// A line per answer.
pub(in super::super) fn lines(answers: Vec<Answer>) -> Result<Vec<u8>, Refusal> {
    check(&answers)?;
    let mut bytes = Vec::new();
    for (id, answer) in answers {
        append(&mut bytes, id.as_ref(), answer);
        if bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
    }
    Ok(bytes)
}

/// `{"predictions": [...]}`.
pub(in super::super) fn predictions(answers: Vec<Answer>) -> Result<Vec<u8>, Refusal> {
    check(&answers)?;
    let mut bytes = br#"{"predictions":["#.to_vec();
    for (at, (id, answer)) in answers.into_iter().enumerate() {
        if at > 0 {
            bytes.push(b',');
        }
        append(&mut bytes, id.as_ref(), answer);
    }
    bytes.extend_from_slice(b"]}");
    Ok(bytes)
}

fn first(answers: Vec<Answer>) -> Result<(Option<Value>, Vec<u8>), Refusal> {
    let none = || Refusal::new(ErrorType::InvalidJson, "the body has no records");
    let (id, answer) = answers.into_iter().next().ok_or_else(none)?;
    answer.map(|bytes| (id, bytes))
}

/// Refuses the whole, with the first reason, where there is no good answer.
fn check(answers: &[Answer]) -> Result<(), Refusal> {
    let reason = |(_, answer): &Answer| answer.as_ref().err().cloned();
    match answers.iter().map(reason).collect::<Option<Vec<_>>>() {
        None => Ok(()),
        Some(reasons) => Err(reasons
            .into_iter()
            .next()
            .unwrap_or_else(|| Refusal::new(ErrorType::InvalidJson, "the body has no records"))),
    }
}

/// Appends an object, with the id as its first key.
fn append(bytes: &mut Vec<u8>, id: Option<&Value>, answer: Result<Vec<u8>, Refusal>) {
    let object = answer.unwrap_or_else(|refusal| refusal.to_json().to_string().into_bytes());
    match id {
        Some(id) => {
            // An answer is an object that has keys.
            bytes.extend_from_slice(format!("{{\"id\":{id},").as_bytes());
            bytes.extend_from_slice(object.strip_prefix(b"{").unwrap_or(&object));
        }
        None => bytes.extend_from_slice(&object),
    }
}
