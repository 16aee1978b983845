//! What a result says about one region: its labels and its geometry.
//!
//! One pass reads only what there is (for the index of all tasks), another the geometry itself.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

use super::packing::unpack;
use crate::annotations::json::{Byte, Number, Once, Side};
use crate::annotations::region::Shape;

/// The object `value` of a result, or a region of a `JSON_MIN` row, which is flattened.
#[derive(Debug, Default)]
pub(super) struct Value<G> {
    /// The lists under keys that end in `labels`, in their order.
    pub(super) labels: Vec<(String, Vec<String>)>,
    pub(super) geometry: G,
}

/// How much of the geometry is kept.
pub(super) trait Geometry: Default {
    /// Takes the value of `key` from the map, whether it is needed or not.
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
    /// Whether a key of geometry is there and not null.
    fn has(&self, key: &str) -> bool;
}

impl<'de, G: Geometry> Deserialize<'de> for Value<G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByKey<G>(PhantomData<G>);
        impl<'de, G: Geometry> Visitor<'de> for ByKey<G> {
            type Value = Value<G>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the geometry and the labels of a region")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<G>, A::Error> {
                let mut value = Value { labels: Vec::new(), geometry: G::default() };
                while let Some(key) = map.next_key::<String>()? {
                    if !key.ends_with("labels") {
                        value.geometry.read(&key, &mut map)?;
                        continue;
                    }
                    let Labels(names) = map.next_value()?;
                    if value.labels.iter().any(|(known, _)| *known == key) {
                        return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
                    }
                    value.labels.push((key, names));
                }
                Ok(value)
            }
        }
        deserializer.deserialize_map(ByKey(PhantomData))
    }
}

/// Names of labels; null is none.
struct Labels(Vec<String>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of label names")
            }

            fn visit_unit<E: Error>(self) -> Result<Labels, E> {
                Ok(Labels(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Labels, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Labels(names))
            }
        }
        deserializer.deserialize_any(List)
    }
}

/// The keys that tell the shape of a region.
const KEYS: [&str; 9] =
    ["rle", "points", "x", "y", "width", "height", "radiusX", "radiusY", "imageDataURL"];

/// Which keys of geometry there are.
#[derive(Debug, Default)]
pub(super) struct Traits {
    /// One bit per key of [`KEYS`].
    present: u16,
}

impl Geometry for Traits {
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let there = map.next_value::<Option<IgnoredAny>>()?.is_some();
        if let Some(bit) = KEYS.iter().position(|&known| known == key) {
            self.present |= u16::from(there) << bit;
        }
        Ok(())
    }

    fn has(&self, key: &str) -> bool {
        let bit = KEYS.iter().position(|&known| known == key);
        bit.is_some_and(|bit| self.present >> bit & 1 == 1)
    }
}

/// The geometry itself.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    rle: Once<Rle>,
    points: Once<Vec<[Number; 2]>>,
    numbers: Numbers,
    data_url: Once<String>,
    /// In pixels; here in rows, beside the value in results.
    original_width: Once<Side>,
    original_height: Once<Side>,
}

/// In percent and degrees.
#[derive(Debug, Default)]
struct Numbers {
    x: Once<Number>,
    y: Once<Number>,
    width: Once<Number>,
    height: Once<Number>,
    radius_x: Once<Number>,
    radius_y: Once<Number>,
    rotation: Once<Number>,
}

impl Geometry for Drawing {
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let numbers = &mut self.numbers;
        match key {
            "rle" => self.rle.read("rle", map),
            "points" => self.points.read("points", map),
            "x" => numbers.x.read("x", map),
            "y" => numbers.y.read("y", map),
            "width" => numbers.width.read("width", map),
            "height" => numbers.height.read("height", map),
            "radiusX" => numbers.radius_x.read("radiusX", map),
            "radiusY" => numbers.radius_y.read("radiusY", map),
            "rotation" => numbers.rotation.read("rotation", map),
            "imageDataURL" => self.data_url.read("imageDataURL", map),
            "original_width" => self.original_width.read("original_width", map),
            "original_height" => self.original_height.read("original_height", map),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }

    fn has(&self, key: &str) -> bool {
        let Numbers { x, y, width, height, radius_x, radius_y, .. } = &self.numbers;
        match key {
            "rle" => self.rle.is_there(),
            "points" => self.points.is_there(),
            "x" => x.is_there(),
            "y" => y.is_there(),
            "width" => width.is_there(),
            "height" => height.is_there(),
            "radiusX" => radius_x.is_there(),
            "radiusY" => radius_y.is_there(),
            "imageDataURL" => self.data_url.is_there(),
            _ => false,
        }
    }
}

impl Drawing {
    /// Width and height in pixels, if both are there.
    pub(super) fn size(&mut self) -> Option<(u32, u32)> {
        let take = |side: &mut Once<Side>| std::mem::take(side).get().map(|Side(side)| side);
        take(&mut self.original_width).zip(take(&mut self.original_height))
    }

    /// The shape; the key that it lacks if there is one.
    pub(super) fn shape(self, kind: Kind) -> Result<Shape, &'static str> {
        let number = |number: Once<Number>, key| match number.get() {
            Some(Number(number)) => Ok(number),
            None => Err(key),
        };
        let Numbers { x, y, width, height, radius_x, radius_y, rotation } = self.numbers;
        let rotation = rotation.get().map_or(0.0, |Number(degrees)| degrees);
        Ok(match kind {
            Kind::Brush => {
                let Rle(rle) = self.rle.get().ok_or("rle")?;
                Shape::Brush { rle }
            }
            Kind::Polygon => {
                let points = self.points.get().ok_or("points")?;
                let points = points.into_iter().map(|[Number(x), Number(y)]| [x, y]).collect();
                Shape::Polygon { points }
            }
            Kind::Rectangle => Shape::Rectangle {
                x: number(x, "x")?,
                y: number(y, "y")?,
                width: number(width, "width")?,
                height: number(height, "height")?,
                rotation,
            },
            Kind::Ellipse => Shape::Ellipse {
                x: number(x, "x")?,
                y: number(y, "y")?,
                radius_x: number(radius_x, "radiusX")?,
                radius_y: number(radius_y, "radiusY")?,
                rotation,
            },
            Kind::Bitmask => {
                Shape::Bitmask { data_url: self.data_url.get().ok_or("imageDataURL")? }
            }
        })
    }
}

/// The bytes of a brush region, as a list of numbers.
#[derive(Debug)]
struct Rle(Vec<u8>);

impl<'de> Deserialize<'de> for Rle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Rle;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers from 0 to 255")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Rle, A::Error> {
                let mut bytes = Vec::new();
                while let Some(Byte(byte)) = list.next_element()? {
                    bytes.push(byte);
                }
                Ok(Rle(bytes))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Rle, E> {
                let unexpected = || E::invalid_type(Unexpected::Str(text), &self);
                unpack(text).map(Rle).ok_or_else(unexpected)
            }
        }
        deserializer.deserialize_any(List)
    }
}

/// The kinds of region that have an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Brush,
    Polygon,
    Rectangle,
    Ellipse,
    Bitmask,
}

impl Kind {
    /// The kind that a type of result says (`brushlabels`, `brush`), else the one that its geometry says (`labels`,
    /// `magicwand`, no type); none if nothing there has an area.
    pub(super) fn of(kind: &str, geometry: &impl Geometry) -> Option<Self> {
        let has = |keys: &[&str]| keys.iter().all(|key| geometry.has(key));
        match kind.strip_suffix("labels").unwrap_or(kind) {
            "brush" => Some(Self::Brush),
            "polygon" => Some(Self::Polygon),
            "rectangle" => Some(Self::Rectangle),
            "ellipse" => Some(Self::Ellipse),
            "bitmask" => Some(Self::Bitmask),
            "keypoint" | "vector" => None,
            _ if has(&["rle"]) => Some(Self::Brush),
            _ if has(&["points"]) => Some(Self::Polygon),
            _ if has(&["imageDataURL"]) => Some(Self::Bitmask),
            _ if has(&["x", "y", "radiusX", "radiusY"]) => Some(Self::Ellipse),
            _ if has(&["x", "y", "width", "height"]) => Some(Self::Rectangle),
            _ => None,
        }
    }

    /// The keys that it needs, for messages.
    pub(super) fn needs(self) -> &'static str {
        match self {
            Self::Brush => "rle",
            Self::Polygon => "points",
            Self::Rectangle => "x, y, width and height",
            Self::Ellipse => "x, y, radiusX and radiusY",
            Self::Bitmask => "imageDataURL",
        }
    }
}
