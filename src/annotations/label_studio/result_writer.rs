//! Results as Label Studio stores them: regions of predictions.

use serde::{Serialize, Serializer};

/// A region that is to be stored, on an upright image.
#[derive(Debug, Clone)]
pub struct PredictedRegion<'a> {
    /// Id of the region, which no other of the same prediction has.
    pub id: &'a str,
    /// Name of the control tag, and of the image on which it draws.
    pub from_name: &'a str,
    pub to_name: &'a str,
    /// Label, which the control tag has.
    pub label: &'a str,
    /// Width and height of the image, in pixels.
    pub size: (u32, u32),
    /// Confidence, 0 to 1, if it is known.
    pub score: Option<f64>,
    pub geometry: PredictedGeometry,
}

/// Pixels of a region.
#[derive(Debug, Clone)]
pub enum PredictedGeometry {
    /// Bytes of [`encode_brush_rle`](crate::annotations::brush_rle::encode_brush_rle).
    Brush(Vec<u8>),
    /// Data URL of [`encode_bitmask`](crate::annotations::bitmask::encode_bitmask).
    Bitmask(String),
    /// Corners in pixels, the last joined to the first.
    Polygon(Vec<[f64; 2]>),
}

impl PredictedGeometry {
    /// Returns the type of the region, which is also the key of its labels.
    fn region_type(&self) -> &'static str {
        match self {
            Self::Brush(_) => "brushlabels",
            Self::Bitmask(_) => "bitmasklabels",
            Self::Polygon(_) => "polygonlabels",
        }
    }
}

/// A region in the JSON of a result.
#[derive(Serialize)]
struct ResultJson<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    region_type: &'static str,
    from_name: &'a str,
    to_name: &'a str,
    original_width: u32,
    original_height: u32,
    image_rotation: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    value: ValueJson<'a>,
}

/// The `value` of a result. Each geometry has its own keys.
#[derive(Default, Serialize)]
struct ValueJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rle: Option<&'a [u8]>,
    #[serde(rename = "imageDataURL", skip_serializing_if = "Option::is_none")]
    image_data_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    points: Option<Vec<[f64; 2]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    brushlabels: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bitmasklabels: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    polygonlabels: Option<[&'a str; 1]>,
}

impl Serialize for PredictedRegion<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (width, height) = self.size;
        let mut value = ValueJson::default();
        match &self.geometry {
            PredictedGeometry::Brush(rle) => {
                value.format = Some("rle");
                value.rle = Some(rle);
                value.brushlabels = Some([self.label]);
            }
            PredictedGeometry::Bitmask(url) => {
                value.image_data_url = Some(url);
                value.bitmasklabels = Some([self.label]);
            }
            PredictedGeometry::Polygon(corners) => {
                value.points = Some(to_percent(corners, width, height));
                value.closed = Some(true);
                value.polygonlabels = Some([self.label]);
            }
        }
        let json = ResultJson {
            id: self.id,
            region_type: self.geometry.region_type(),
            from_name: self.from_name,
            to_name: self.to_name,
            original_width: width,
            original_height: height,
            image_rotation: 0,
            score: self.score,
            value,
        };
        json.serialize(serializer)
    }
}

/// Converts corners from pixels to percent of the image's width and height.
fn to_percent(corners: &[[f64; 2]], width: u32, height: u32) -> Vec<[f64; 2]> {
    let mut points = Vec::with_capacity(corners.len());
    for [x, y] in corners {
        points.push([x * 100.0 / f64::from(width.max(1)), y * 100.0 / f64::from(height.max(1))]);
    }
    points
}
