//! The labels and the geometry of a result.
//!
//! The index of all tasks only needs to know which keys exist ([`GeometryKeys`]); a second pass
//! reads the geometry itself ([`GeometryValues`]).

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

use super::packing::unpack_list;
use super::vector_path::{VectorVertex, flatten_closed_path};
use crate::annotations::error::Error as AnnotationError;
use crate::annotations::json::{AnyJson, Byte, FromAnyJson, Number, SideLength, UniqueValue};
use crate::annotations::region::Shape;

/// The object `value` of a result, or a region of a `JSON_MIN` row, which is flattened.
#[derive(Debug, Default)]
pub(super) struct RegionValue<G> {
    /// Lists under keys that end in `labels`, in the order of the document.
    pub(super) labels: Vec<(String, Vec<String>)>,
    pub(super) geometry: G,
}

/// Storage of a region's geometry.
pub(super) trait Geometry: Default {
    /// Reads the value of `key` from the map, needed or not.
    fn read_key<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
    /// Returns true if a key of the geometry exists and is not null.
    fn has_key(&self, key: &str) -> bool;
    /// Returns true if the key `closed` is true: a vector path is an area only then.
    fn is_closed(&self) -> bool;
}

impl<'de, G: Geometry> Deserialize<'de> for RegionValue<G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RegionValueVisitor<G>(PhantomData<G>);
        impl<'de, G: Geometry> Visitor<'de> for RegionValueVisitor<G> {
            type Value = RegionValue<G>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the geometry and the labels of a region")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RegionValue<G>, A::Error> {
                let mut value = RegionValue { labels: Vec::new(), geometry: G::default() };
                while let Some(key) = map.next_key::<String>()? {
                    if !key.ends_with("labels") {
                        value.geometry.read_key(&key, &mut map)?;
                        continue;
                    }
                    let LabelNames(names) = map.next_value()?;
                    if value.labels.iter().any(|(seen_key, _)| *seen_key == key) {
                        return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
                    }
                    value.labels.push((key, names));
                }
                Ok(value)
            }
        }
        deserializer.deserialize_map(RegionValueVisitor(PhantomData))
    }
}

/// Names of labels; null is an empty list.
struct LabelNames(Vec<String>);

impl<'de> Deserialize<'de> for LabelNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelNamesVisitor;
        impl<'de> Visitor<'de> for LabelNamesVisitor {
            type Value = LabelNames;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of label names")
            }

            fn visit_unit<E: Error>(self) -> Result<LabelNames, E> {
                Ok(LabelNames(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<LabelNames, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(LabelNames(names))
            }
        }
        deserializer.deserialize_any(LabelNamesVisitor)
    }
}

/// Keys that describe the shape of a region.
const GEOMETRY_KEYS: [&str; 10] = [
    "rle",
    "points",
    "x",
    "y",
    "width",
    "height",
    "radiusX",
    "radiusY",
    "imageDataURL",
    "vertices",
];

/// Presence of the keys of the geometry.
#[derive(Debug, Default)]
pub(super) struct GeometryKeys {
    /// One bit per key of [`GEOMETRY_KEYS`], the first key lowest.
    present_bits: u16,
    is_closed: bool,
}

impl Geometry for GeometryKeys {
    fn read_key<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key == CLOSED_KEY {
            let AnyJson(ClosedFlag(is_closed)) = map.next_value()?;
            self.is_closed = is_closed;
            return Ok(());
        }
        let is_present = map.next_value::<Option<IgnoredAny>>()?.is_some();
        if let Some(bit) = geometry_key_bit(key) {
            self.present_bits |= u16::from(is_present) << bit;
        }
        Ok(())
    }

    fn has_key(&self, key: &str) -> bool {
        geometry_key_bit(key).is_some_and(|bit| self.present_bits >> bit & 1 == 1)
    }

    fn is_closed(&self) -> bool {
        self.is_closed
    }
}

/// Key that says if a path is closed.
const CLOSED_KEY: &str = "closed";

/// Value of the key `closed`. What is no boolean counts as false.
struct ClosedFlag(bool);

impl FromAnyJson for ClosedFlag {
    fn from_other() -> Self {
        Self(false)
    }

    fn from_bool(truth: bool) -> Self {
        Self(truth)
    }
}

fn geometry_key_bit(key: &str) -> Option<usize> {
    GEOMETRY_KEYS.iter().position(|&candidate| candidate == key)
}

/// Values of the geometry.
#[derive(Debug, Default)]
pub(super) struct GeometryValues {
    rle: UniqueValue<RleBytes>,
    points: UniqueValue<Vec<[Number; 2]>>,
    /// Corners of a vector path.
    vertices: UniqueValue<Vec<VectorVertex>>,
    is_closed: bool,
    numbers: GeometryNumbers,
    data_url: UniqueValue<String>,
    /// Size of the annotated image, in pixels. Rows of `JSON_MIN` have it here, results beside the
    /// value.
    original_width: UniqueValue<SideLength>,
    original_height: UniqueValue<SideLength>,
}

/// Numbers of the geometry, in percent and degrees.
#[derive(Debug, Default)]
struct GeometryNumbers {
    x: UniqueValue<Number>,
    y: UniqueValue<Number>,
    width: UniqueValue<Number>,
    height: UniqueValue<Number>,
    radius_x: UniqueValue<Number>,
    radius_y: UniqueValue<Number>,
    rotation: UniqueValue<Number>,
}

impl Geometry for GeometryValues {
    fn read_key<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let numbers = &mut self.numbers;
        match key {
            "rle" => self.rle.read("rle", map),
            "points" => self.points.read("points", map),
            "vertices" => self.vertices.read("vertices", map),
            CLOSED_KEY => {
                let AnyJson(ClosedFlag(is_closed)) = map.next_value()?;
                self.is_closed = is_closed;
                Ok(())
            }
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

    fn has_key(&self, key: &str) -> bool {
        let GeometryNumbers { x, y, width, height, radius_x, radius_y, .. } = &self.numbers;
        match key {
            "rle" => self.rle.is_present(),
            "points" => self.points.is_present(),
            "vertices" => self.vertices.is_present(),
            "x" => x.is_present(),
            "y" => y.is_present(),
            "width" => width.is_present(),
            "height" => height.is_present(),
            "radiusX" => radius_x.is_present(),
            "radiusY" => radius_y.is_present(),
            "imageDataURL" => self.data_url.is_present(),
            _ => false,
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed
    }
}

/// Reason why a region has no shape.
#[derive(Debug)]
pub(super) enum ShapeError {
    /// The value lacks this key.
    MissingKey(&'static str),
    /// The value cannot be used. The text follows the region's description.
    Unusable(AnnotationError),
}

impl From<&'static str> for ShapeError {
    fn from(key: &'static str) -> Self {
        Self::MissingKey(key)
    }
}

impl GeometryValues {
    /// Takes the width and height of the annotated image, in pixels, if both are known.
    pub(super) fn take_image_size(&mut self) -> Option<(u32, u32)> {
        let width = std::mem::take(&mut self.original_width).into_inner();
        let height = std::mem::take(&mut self.original_height).into_inner();
        let (SideLength(width), SideLength(height)) = width.zip(height)?;
        Some((width, height))
    }

    /// Returns the shape of a region of the given kind.
    pub(super) fn into_shape(self, kind: RegionKind) -> Result<Shape, ShapeError> {
        let GeometryNumbers { x, y, width, height, radius_x, radius_y, rotation } = self.numbers;
        let rotation = rotation.into_inner().map_or(0.0, |Number(degrees)| degrees);
        Ok(match kind {
            RegionKind::Brush => {
                let RleBytes(rle) = self.rle.into_inner().ok_or("rle")?;
                Shape::Brush { rle }
            }
            RegionKind::Polygon => {
                let points = self.points.into_inner().ok_or("points")?;
                let points = points.into_iter().map(|[Number(x), Number(y)]| [x, y]).collect();
                Shape::Polygon { points }
            }
            RegionKind::Rectangle => Shape::Rectangle {
                x: require_number(x, "x")?,
                y: require_number(y, "y")?,
                width: require_number(width, "width")?,
                height: require_number(height, "height")?,
                rotation,
            },
            RegionKind::Ellipse => Shape::Ellipse {
                x: require_number(x, "x")?,
                y: require_number(y, "y")?,
                radius_x: require_number(radius_x, "radiusX")?,
                radius_y: require_number(radius_y, "radiusY")?,
                rotation,
            },
            RegionKind::Bitmask => {
                Shape::Bitmask { data_url: self.data_url.into_inner().ok_or("imageDataURL")? }
            }
            RegionKind::ClosedVector => {
                let vertices = self.vertices.into_inner().ok_or("vertices")?;
                let points = flatten_closed_path(&vertices).map_err(ShapeError::Unusable)?;
                Shape::Polygon { points }
            }
        })
    }
}

/// Returns the number, or `key` as the error if the number is missing.
fn require_number(value: UniqueValue<Number>, key: &'static str) -> Result<f64, &'static str> {
    match value.into_inner() {
        Some(Number(number)) => Ok(number),
        None => Err(key),
    }
}

/// The bytes of a brush region, written as a list of numbers or as a packed text.
#[derive(Debug)]
struct RleBytes(Vec<u8>);

impl<'de> Deserialize<'de> for RleBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RleBytesVisitor;
        impl<'de> Visitor<'de> for RleBytesVisitor {
            type Value = RleBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers from 0 to 255")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RleBytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(Byte(byte)) = list.next_element()? {
                    bytes.push(byte);
                }
                Ok(RleBytes(bytes))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RleBytes, E> {
                match unpack_list(text) {
                    Some(bytes) => Ok(RleBytes(bytes)),
                    None => Err(E::invalid_type(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(RleBytesVisitor)
    }
}

/// Kinds of regions that have an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RegionKind {
    Brush,
    Polygon,
    Rectangle,
    Ellipse,
    Bitmask,
    /// A path of straight lines and curves that is closed. An open path has no area.
    ClosedVector,
}

impl RegionKind {
    /// Returns the kind that the type of a result names (`brushlabels`, `brush`). For other types
    /// (`labels`, `magicwand`, none) returns the kind that fits the keys of the geometry. Returns
    /// none if the region has no area.
    pub(super) fn detect(result_type: &str, geometry: &impl Geometry) -> Option<Self> {
        match result_type.strip_suffix("labels").unwrap_or(result_type) {
            "brush" => Some(Self::Brush),
            "polygon" => Some(Self::Polygon),
            "rectangle" => Some(Self::Rectangle),
            "ellipse" => Some(Self::Ellipse),
            "bitmask" => Some(Self::Bitmask),
            "vector" if geometry.is_closed() => Some(Self::ClosedVector),
            "keypoint" | "vector" => None,
            _ if has_all_keys(geometry, &["rle"]) => Some(Self::Brush),
            _ if has_all_keys(geometry, &["points"]) => Some(Self::Polygon),
            _ if has_all_keys(geometry, &["imageDataURL"]) => Some(Self::Bitmask),
            _ if has_all_keys(geometry, &["vertices"]) => {
                geometry.is_closed().then_some(Self::ClosedVector)
            }
            _ if has_all_keys(geometry, &["x", "y", "radiusX", "radiusY"]) => Some(Self::Ellipse),
            _ if has_all_keys(geometry, &["x", "y", "width", "height"]) => Some(Self::Rectangle),
            _ => None,
        }
    }

    /// Returns the keys that the kind requires, for messages.
    pub(super) fn required_keys(self) -> &'static str {
        match self {
            Self::Brush => "rle",
            Self::Polygon => "points",
            Self::Rectangle => "x, y, width and height",
            Self::Ellipse => "x, y, radiusX and radiusY",
            Self::Bitmask => "imageDataURL",
            Self::ClosedVector => "vertices",
        }
    }
}

fn has_all_keys(geometry: &impl Geometry, keys: &[&str]) -> bool {
    keys.iter().all(|key| geometry.has_key(key))
}
