//! The elements of lists in rows of `JSON_MIN`: regions, or values of the task's data. Both stand
//! beside each other under keys that anybody may choose, so only the content tells them apart.

use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde::de::{Error, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::packing::PACKED_PREFIX;
use super::region_value::{Geometry, RegionValue};
use super::task_data::{DataValue, append_texts};
use crate::annotations::json::{AnyJson, FromAnyJson};

/// Element of a list of a row.
pub(super) enum RowElement<G> {
    Region(RegionValue<G>),
    Data(DataValue),
}

impl<G: Geometry> FromAnyJson for RowElement<G> {
    fn from_other() -> Self {
        Self::Data(DataValue::Other)
    }

    fn from_text(text: &str) -> Self {
        Self::Data(DataValue::from_text(text))
    }

    fn from_list<'de, A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        DataValue::from_list(list).map(Self::Data)
    }

    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut object = RawObject { entries: Vec::new() };
        while let Some(entry) = map.next_entry()? {
            object.entries.push(entry);
        }
        if object.is_region() {
            return object.read_region().map(Self::Region);
        }
        object.read_data().map(Self::Data)
    }
}

/// An object whose values are not parsed yet.
struct RawObject {
    entries: Vec<(String, Box<RawValue>)>,
}

impl RawObject {
    /// Returns true for a list of labels, or for all keys of a geometry. Data may have some of the
    /// keys too, such as the width and the height of a page.
    fn is_region(&self) -> bool {
        for (key, value) in &self.entries {
            let first = first_byte(value);
            let is_part = match key.as_str() {
                "rle" => first == b'[' || is_packed_list(value),
                "points" | "vertices" => first == b'[',
                "imageDataURL" => first == b'"',
                _ => key.ends_with("labels") && first == b'[',
            };
            if is_part {
                return true;
            }
        }
        let has_center = self.has_number("x") && self.has_number("y");
        let is_rectangle = self.has_number("width") && self.has_number("height");
        let is_ellipse = self.has_number("radiusX") && self.has_number("radiusY");
        has_center && (is_rectangle || is_ellipse)
    }

    fn has_number(&self, wanted_key: &str) -> bool {
        self.entries.iter().any(|(key, value)| {
            key == wanted_key && matches!(first_byte(value), b'-' | b'0'..=b'9')
        })
    }

    fn read_region<G: Geometry, E: Error>(&self) -> Result<RegionValue<G>, E> {
        if let Ok(region) = RegionValue::deserialize(self.deserializer()) {
            return Ok(region);
        }
        // The path is tracked in a second pass, because that costs time.
        serde_path_to_error::deserialize(self.deserializer()).map_err(|error| {
            let path = error.path().to_string();
            let cause = error.into_inner();
            if path == "." {
                return E::custom(cause);
            }
            E::custom(format_args!("{path}: {cause}"))
        })
    }

    fn deserializer(
        &self,
    ) -> MapDeserializer<'_, impl Iterator<Item = (&str, &RawValue)>, serde_json::Error> {
        MapDeserializer::new(self.entries.iter().map(|(key, value)| (key.as_str(), &**value)))
    }

    fn read_data<E: Error>(&self) -> Result<DataValue, E> {
        let mut texts = Vec::new();
        for (key, value) in &self.entries {
            let AnyJson(value) = AnyJson::<DataValue>::deserialize(&**value).map_err(E::custom)?;
            append_texts(key, value, &mut texts);
        }
        Ok(DataValue::Nested(texts))
    }
}

fn is_packed_list(value: &RawValue) -> bool {
    value.get().strip_prefix('"').is_some_and(|text| text.starts_with(PACKED_PREFIX))
}

/// Returns the first byte of a value, which tells its kind.
fn first_byte(value: &RawValue) -> u8 {
    value.get().bytes().next().unwrap_or_default()
}
