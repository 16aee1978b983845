//! Lenient parsing of JSON by different writers: errors name the key, and numbers may be written in
//! several ways.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{
    DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::error::Result;
use crate::python_json::replace_non_finite_numbers;

/// Largest excerpt of a user's text in an error, in characters.
const MAX_ERROR_CHARS: usize = 240;

/// Parses a value. NaN, Infinity and -Infinity, which Python writes, are read as null. The text of
/// an error begins with the path to the key that is wrong.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let error = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if let Some(replaced) = replace_non_finite_numbers(bytes) {
        return match serde_json::from_slice(&replaced) {
            Ok(value) => Ok(value),
            Err(error) => Err(locate_json_error::<T>(&replaced, error)
                .located("", " (NaN and Infinity in it are read as null)")),
        };
    }
    Err(locate_json_error::<T>(bytes, error))
}

/// Adds the path to the key that is wrong. Tracking the path costs time, so only a document that
/// failed is parsed again with it.
fn locate_json_error<T: DeserializeOwned>(bytes: &[u8], error: serde_json::Error) -> super::Error {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => json_error(error, ""),
        Err(error) => {
            let path = error.path().to_string();
            json_error(error.into_inner(), &path)
        }
    }
}

/// Returns the error for a value at `path`.
fn json_error(cause: serde_json::Error, path: &str) -> super::Error {
    super::Error::Json { message: format_error(&cause, path), cause }
}

fn format_error(error: &serde_json::Error, path: &str) -> String {
    let text = error.to_string();
    // Line and column count from the start of the element, so they only help where no key can be
    // named.
    let text =
        if error.is_data() { text.split(" at line ").next().unwrap_or(&text) } else { &text };
    let mut truncated: String = text.chars().take(MAX_ERROR_CHARS).collect();
    if truncated.len() < text.len() {
        truncated.push_str("...");
        // serde puts what is allowed at the end of its message, so that part is kept too.
        if let Some((_, allowed)) = text.rsplit_once(", expected ")
            && allowed.len() < MAX_ERROR_CHARS
        {
            truncated.push_str(", expected ");
            truncated.push_str(allowed);
        }
    }
    let path: String = path.chars().take(MAX_ERROR_CHARS).collect();
    if matches!(path.as_str(), "" | "." | "?") { truncated } else { format!("{path}: {truncated}") }
}

/// Value of a key that may appear once. Null counts as a missing value.
#[derive(Debug)]
pub(super) struct UniqueValue<T> {
    is_seen: bool,
    value: Option<T>,
}

impl<T> Default for UniqueValue<T> {
    fn default() -> Self {
        Self { is_seen: false, value: None }
    }
}

impl<T> UniqueValue<T> {
    /// Reads the value of `key` from the map. A second call is an error.
    pub(super) fn read<'de, A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut A,
    ) -> Result<(), A::Error>
    where
        T: Deserialize<'de>,
    {
        if std::mem::replace(&mut self.is_seen, true) {
            return Err(A::Error::duplicate_field(key));
        }
        self.value = map.next_value()?;
        Ok(())
    }

    pub(super) fn into_inner(self) -> Option<T> {
        self.value
    }

    pub(super) fn is_present(&self) -> bool {
        self.value.is_some()
    }
}

/// Implements `Deserialize` by a visitor that takes the listed kinds of values. serde refuses the
/// other kinds with a message that says what was expected.
macro_rules! impl_deserialize {
    ($type:ident, $via:ident, $expecting:literal, { $($visit:item)* }) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visit;
                impl<'de> Visitor<'de> for Visit {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    $($visit)*
                }
                deserializer.$via(Visit)
            }
        }
    };
}

/// A number, written as an integer or as a float. Null is NaN: JavaScript writes NaN as null, and
/// Python's NaN and Infinity are read as null.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(pub(super) f64);

impl_deserialize!(Number, deserialize_any, "a number", {
    fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
        Ok(Number(number))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
        Ok(Number(number as f64))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
        Ok(Number(number as f64))
    }
    fn visit_unit<E: Error>(self) -> Result<Number, E> {
        Ok(Number(f64::NAN))
    }
});

/// A byte, written as a whole number from 0 to 255.
#[derive(Debug, Clone, Copy)]
pub(super) struct Byte(pub(super) u8);

impl_deserialize!(Byte, deserialize_u64, "a whole number from 0 to 255", {
    fn visit_u64<E: Error>(self, number: u64) -> Result<Byte, E> {
        let Ok(byte) = u8::try_from(number) else {
            return Err(E::invalid_value(Unexpected::Unsigned(number), &self));
        };
        Ok(Byte(byte))
    }
});

/// Width or height of an image, in pixels. Some writers write every number as a float.
#[derive(Debug, Clone, Copy)]
pub(super) struct SideLength(pub(super) u32);

impl From<SideLength> for u32 {
    fn from(SideLength(pixels): SideLength) -> Self {
        pixels
    }
}

impl_deserialize!(SideLength, deserialize_any, "a whole number of pixels from 1 to 4294967295", {
    fn visit_u64<E: Error>(self, number: u64) -> Result<SideLength, E> {
        match u32::try_from(number) {
            Ok(length) if length > 0 => Ok(SideLength(length)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<SideLength, E> {
        if (1.0..=f64::from(u32::MAX)).contains(&number) && number.fract() == 0.0 {
            return Ok(SideLength(number as u32));
        }
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
});

/// Largest whole number up to which a float holds every whole number, 2^53.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// Id of a task, an annotation or an image; none if the id is text that is no number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id(pub(super) Option<i64>);

impl_deserialize!(Id, deserialize_any, "a whole number", {
    fn visit_i64<E: Error>(self, number: i64) -> Result<Id, E> {
        Ok(Id(Some(number)))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Id, E> {
        let Ok(id) = i64::try_from(number) else {
            return Err(E::invalid_value(Unexpected::Unsigned(number), &self));
        };
        Ok(Id(Some(id)))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
        Ok(Id(text.trim().parse().ok()))
    }
    /// Reads ids that pandas wrote, such as `7.0`.
    fn visit_f64<E: Error>(self, number: f64) -> Result<Id, E> {
        if number.fract() == 0.0 && number.abs() <= MAX_EXACT_INTEGER {
            return Ok(Id(Some(number as i64)));
        }
        Err(E::invalid_type(Unexpected::Float(number), &self))
    }
});

/// Text that some writers write as a number.
#[derive(Debug, Clone)]
pub(super) struct StringOrNumber(pub(super) String);

impl_deserialize!(StringOrNumber, deserialize_any, "a string", {
    fn visit_str<E: Error>(self, text: &str) -> Result<StringOrNumber, E> {
        Ok(StringOrNumber(text.to_owned()))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<StringOrNumber, E> {
        Ok(StringOrNumber(number.to_string()))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<StringOrNumber, E> {
        Ok(StringOrNumber(number.to_string()))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<StringOrNumber, E> {
        Ok(StringOrNumber(number.to_string()))
    }
});

/// Conversion from a JSON value of any kind. Kinds without a method of their own give `from_other`.
pub(super) trait FromAnyJson: Sized {
    /// Returns the value for a kind that the type ignores.
    fn from_other() -> Self;

    fn from_text(_: &str) -> Self {
        Self::from_other()
    }

    fn from_bool(_: bool) -> Self {
        Self::from_other()
    }

    fn from_list<'de, A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        IgnoredAny.visit_seq(list)?;
        Ok(Self::from_other())
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        IgnoredAny.visit_map(map)?;
        Ok(Self::from_other())
    }
}

/// Deserializes a JSON value of any kind by [`FromAnyJson`].
pub(super) struct AnyJson<T>(pub(super) T);

impl<'de, T: FromAnyJson> Deserialize<'de> for AnyJson<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyJsonVisitor<T>(PhantomData<T>);
        impl<'de, T: FromAnyJson> Visitor<'de> for AnyJsonVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
                Ok(T::from_text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
                T::from_list(list)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::from_map(map)
            }

            fn visit_unit<E: Error>(self) -> Result<T, E> {
                Ok(T::from_other())
            }

            fn visit_bool<E: Error>(self, truth: bool) -> Result<T, E> {
                Ok(T::from_bool(truth))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
                Ok(T::from_other())
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<T, E> {
                Ok(T::from_other())
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
                Ok(T::from_other())
            }
        }
        deserializer.deserialize_any(AnyJsonVisitor(PhantomData)).map(Self)
    }
}
