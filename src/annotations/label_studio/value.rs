//! What a result says about one region: its labels and its geometry.
//!
//! One pass reads only what there is (for the index of all tasks), another the geometry itself.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::annotations::json::{Byte, Number, Side, once};
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
    rle: Option<Option<Rle>>,
    points: Option<Option<Vec<[Number; 2]>>>,
    numbers: Numbers,
    data_url: Option<Option<String>>,
    /// In pixels; here in rows, beside the value in results.
    original_width: Option<Option<Side>>,
    original_height: Option<Option<Side>>,
}

/// In percent and degrees.
#[derive(Debug, Default)]
struct Numbers {
    x: Option<Option<Number>>,
    y: Option<Option<Number>>,
    width: Option<Option<Number>>,
    height: Option<Option<Number>>,
    radius_x: Option<Option<Number>>,
    radius_y: Option<Option<Number>>,
    rotation: Option<Option<Number>>,
}

impl Geometry for Drawing {
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let numbers = &mut self.numbers;
        match key {
            "rle" => once(&mut self.rle, "rle", map),
            "points" => once(&mut self.points, "points", map),
            "x" => once(&mut numbers.x, "x", map),
            "y" => once(&mut numbers.y, "y", map),
            "width" => once(&mut numbers.width, "width", map),
            "height" => once(&mut numbers.height, "height", map),
            "radiusX" => once(&mut numbers.radius_x, "radiusX", map),
            "radiusY" => once(&mut numbers.radius_y, "radiusY", map),
            "rotation" => once(&mut numbers.rotation, "rotation", map),
            "imageDataURL" => once(&mut self.data_url, "imageDataURL", map),
            "original_width" => once(&mut self.original_width, "original_width", map),
            "original_height" => once(&mut self.original_height, "original_height", map),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }

    fn has(&self, key: &str) -> bool {
        let there = |number: &Option<Option<Number>>| matches!(number, Some(Some(_)));
        match key {
            "rle" => matches!(self.rle, Some(Some(_))),
            "points" => matches!(self.points, Some(Some(_))),
            "x" => there(&self.numbers.x),
            "y" => there(&self.numbers.y),
            "width" => there(&self.numbers.width),
            "height" => there(&self.numbers.height),
            "radiusX" => there(&self.numbers.radius_x),
            "radiusY" => there(&self.numbers.radius_y),
            "imageDataURL" => matches!(self.data_url, Some(Some(_))),
            _ => false,
        }
    }
}

impl Drawing {
    /// Width and height in pixels, if both are there.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        Some((self.original_width??.0, self.original_height??.0))
    }

    /// The shape; the key that it lacks if there is one.
    pub(super) fn shape(self, kind: Kind) -> Result<Shape, &'static str> {
        let number = |number: Option<Option<Number>>, key| match number {
            Some(Some(Number(number))) => Ok(number),
            _ => Err(key),
        };
        let Numbers { x, y, width, height, radius_x, radius_y, rotation } = self.numbers;
        let rotation = rotation.flatten().map_or(0.0, |Number(degrees)| degrees);
        Ok(match kind {
            Kind::Brush => {
                let Rle(rle) = self.rle.flatten().ok_or("rle")?;
                Shape::Brush { rle }
            }
            Kind::Polygon => {
                let points = self.points.flatten().ok_or("points")?;
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
                Shape::Bitmask { data_url: self.data_url.flatten().ok_or("imageDataURL")? }
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
        }
        deserializer.deserialize_seq(List)
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
