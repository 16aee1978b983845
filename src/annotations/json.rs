//! Reading JSON whose writers differ: errors name the key, numbers come in several clothes.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

/// Longest part of a user's text in an error, in characters.
const MAX_ERROR_CHARS: usize = 240;

/// Reads a value. An error begins with the path to what is wrong.
pub(super) fn parse_json<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, String> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        // Following the path costs time, so only what failed is read again with it.
        Err(error) => {
            Err(parse_error_with_path::<T>(bytes).unwrap_or_else(|| format_error(&error, "")))
        }
    }
}

fn parse_error_with_path<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Option<String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let error = serde_path_to_error::deserialize::<_, T>(&mut deserializer).err()?;
    Some(format_error(error.inner(), &error.path().to_string()))
}

fn format_error(error: &serde_json::Error, path: &str) -> String {
    let text = error.to_string();
    // Line and column are those inside of an element; they only help where no key can be named.
    let text =
        if error.is_data() { text.split(" at line ").next().unwrap_or(&text) } else { &text };
    let mut truncated: String = text.chars().take(MAX_ERROR_CHARS).collect();
    if truncated.len() < text.len() {
        truncated.push_str("...");
        // What is allowed comes last.
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

/// The value of a key that may come once. Null is as if it were missing.
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
    /// Takes the value of `key` from the map.
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

/// A visitor with what it expects and the kinds that it takes; every other kind is an error of serde's.
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

/// A number of any notation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(pub(super) f64);

impl_deserialize!(Number, deserialize_f64, "a number", {
    fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
        Ok(Number(number))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
        Ok(Number(number as f64))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
        Ok(Number(number as f64))
    }
});

/// One byte as a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Byte(pub(super) u8);

impl_deserialize!(Byte, deserialize_u64, "a whole number from 0 to 255", {
    fn visit_u64<E: Error>(self, number: u64) -> Result<Byte, E> {
        let range_error = |_| E::invalid_value(Unexpected::Unsigned(number), &self);
        u8::try_from(number).map(Byte).map_err(range_error)
    }
});

/// A side of an image in pixels. Some writers let every number be a float.
#[derive(Debug, Clone, Copy)]
pub(super) struct SideLength(pub(super) u32);

impl_deserialize!(SideLength, deserialize_any, "a whole number of pixels from 1 to 4294967295", {
    fn visit_u64<E: Error>(self, number: u64) -> Result<SideLength, E> {
        let length = u32::try_from(number).ok().filter(|&side| side > 0);
        length.map(SideLength).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<SideLength, E> {
        if (1.0..=f64::from(u32::MAX)).contains(&number) && number.fract() == 0.0 {
            return Ok(SideLength(number as u32));
        }
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
});

/// The id of a task, an annotation or an image; none if it is text that is no number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id(pub(super) Option<i64>);

impl_deserialize!(Id, deserialize_any, "a whole number", {
    fn visit_i64<E: Error>(self, number: i64) -> Result<Id, E> {
        Ok(Id(Some(number)))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Id, E> {
        let range_error = |_| E::invalid_value(Unexpected::Unsigned(number), &self);
        i64::try_from(number).map(|id| Id(Some(id))).map_err(range_error)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
        Ok(Id(text.trim().parse().ok()))
    }
});

/// A name that some writers make a number.
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
});

/// What can be made of a value of any kind; kinds without a method of their own are all the same.
pub(super) trait FromAnyJson: Sized {
    /// Of what is not looked at.
    fn from_other() -> Self;

    fn from_text(_: &str) -> Self {
        Self::from_other()
    }

    fn from_list<'de, A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| Self::from_other())
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Self::from_other())
    }
}

/// Reads a value of any kind.
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

            fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
                Ok(T::from_other())
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
