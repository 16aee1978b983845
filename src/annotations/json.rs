//! Reading JSON whose writers differ: errors name the key, numbers come in several clothes.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

/// Longest part of a user's text in an error, in characters.
const LONGEST: usize = 240;

/// Reads a value. An error begins with the path to what is wrong.
pub(super) fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, String> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        // Following the path costs time, so only what failed is read again with it.
        Err(error) => Err(explain::<T>(bytes).unwrap_or_else(|| tell(&error, ""))),
    }
}

fn explain<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Option<String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let error = serde_path_to_error::deserialize::<_, T>(&mut deserializer).err()?;
    Some(tell(error.inner(), &error.path().to_string()))
}

fn tell(error: &serde_json::Error, path: &str) -> String {
    let text = error.to_string();
    // Line and column are those inside of an element; they only help where no key can be named.
    let text =
        if error.is_data() { text.split(" at line ").next().unwrap_or(&text) } else { &text };
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push_str("...");
        // What is allowed comes last.
        if let Some((_, allowed)) = text.rsplit_once(", expected ")
            && allowed.len() < LONGEST
        {
            short.push_str(", expected ");
            short.push_str(allowed);
        }
    }
    let path: String = path.chars().take(LONGEST).collect();
    if matches!(path.as_str(), "" | "." | "?") { short } else { format!("{path}: {short}") }
}

/// The value of a key that may come once. Null is as if it were missing.
#[derive(Debug)]
pub(super) struct Once<T> {
    seen: bool,
    value: Option<T>,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self { seen: false, value: None }
    }
}

impl<T> Once<T> {
    /// Takes the value of `key` from the map.
    pub(super) fn read<'de, A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut A,
    ) -> Result<(), A::Error>
    where
        T: Deserialize<'de>,
    {
        if std::mem::replace(&mut self.seen, true) {
            return Err(A::Error::duplicate_field(key));
        }
        self.value = map.next_value()?;
        Ok(())
    }

    pub(super) fn get(self) -> Option<T> {
        self.value
    }

    pub(super) fn is_there(&self) -> bool {
        self.value.is_some()
    }
}

/// A visitor with what it expects and the kinds that it takes; every other kind is an error of serde's.
macro_rules! read {
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

read!(Number, deserialize_f64, "a number", {
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

read!(Byte, deserialize_u64, "a whole number from 0 to 255", {
    fn visit_u64<E: Error>(self, number: u64) -> Result<Byte, E> {
        let outside = |_| E::invalid_value(Unexpected::Unsigned(number), &self);
        u8::try_from(number).map(Byte).map_err(outside)
    }
});

/// A side of an image in pixels. Some writers let every number be a float.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side(pub(super) u32);

read!(Side, deserialize_any, "a whole number of pixels from 1 to 4294967295", {
    fn visit_u64<E: Error>(self, number: u64) -> Result<Side, E> {
        let side = u32::try_from(number).ok().filter(|&side| side > 0);
        side.map(Side).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Side, E> {
        if (1.0..=f64::from(u32::MAX)).contains(&number) && number.fract() == 0.0 {
            return Ok(Side(number as u32));
        }
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
});

/// The id of a task, an annotation or an image; none if it is text that is no number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id(pub(super) Option<i64>);

read!(Id, deserialize_any, "a whole number", {
    fn visit_i64<E: Error>(self, number: i64) -> Result<Id, E> {
        Ok(Id(Some(number)))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Id, E> {
        let too_large = |_| E::invalid_value(Unexpected::Unsigned(number), &self);
        i64::try_from(number).map(|id| Id(Some(id))).map_err(too_large)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
        Ok(Id(text.trim().parse().ok()))
    }
});

/// A name that some writers make a number.
#[derive(Debug, Clone)]
pub(super) struct Name(pub(super) String);

read!(Name, deserialize_any, "a string", {
    fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
        Ok(Name(text.to_owned()))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Name, E> {
        Ok(Name(number.to_string()))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Name, E> {
        Ok(Name(number.to_string()))
    }
});

/// What can be made of a value of any kind; kinds without a method of their own are all the same.
pub(super) trait Lenient: Sized {
    /// Of what is not looked at.
    fn other() -> Self;

    fn text(_: &str) -> Self {
        Self::other()
    }

    fn list<'de, A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| Self::other())
    }

    fn map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Self::other())
    }
}

/// Reads a value of any kind.
pub(super) struct AnyKind<T>(pub(super) T);

impl<'de, T: Lenient> Deserialize<'de> for AnyKind<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(PhantomData<T>);
        impl<'de, T: Lenient> Visitor<'de> for Visit<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
                Ok(T::text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
                T::list(list)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::map(map)
            }

            fn visit_unit<E: Error>(self) -> Result<T, E> {
                Ok(T::other())
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
                Ok(T::other())
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
                Ok(T::other())
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<T, E> {
                Ok(T::other())
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
                Ok(T::other())
            }
        }
        deserializer.deserialize_any(Visit(PhantomData)).map(Self)
    }
}
