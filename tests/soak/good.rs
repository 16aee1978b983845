//! Requests that must be answered by 200, or by 503 where the queue is full, and what their answers must hold.

use serde::Deserialize;

use crate::bodies::Sample;
use crate::http::Answer;

/// The classes of `sample-data`, with the background.
const CLASSES: usize = 4;

pub(crate) struct Good {
    pub(crate) name: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: fn(&Sample) -> &[u8],
    pub(crate) accept: Option<&'static str>,
    /// The header `X-Amzn-SageMaker-Custom-Attributes`.
    pub(crate) attributes: Option<&'static str>,
    /// How often it comes.
    pub(crate) weight: usize,
    /// What is wrong with an answer of status 200.
    pub(crate) check: fn(&Answer, &Sample) -> Result<(), String>,
}

/// The commonest request; the others say what differs.
const PLAIN: Good = Good {
    name: "mask of a jpeg",
    content_type: "image/jpeg",
    body: |sample| &sample.jpeg,
    accept: None,
    attributes: None,
    weight: 2,
    check: png,
};

pub(crate) const TABLE: &[Good] = &[
    Good { weight: 6, ..PLAIN },
    Good {
        name: "mask of a png",
        content_type: "image/png",
        body: |sample| &sample.png,
        accept: Some("image/png"),
        weight: 4,
        ..PLAIN
    },
    Good { name: "mask, any answer will do", accept: Some("*/*"), ..PLAIN },
    Good {
        name: "mask, by weights of accept",
        accept: Some("application/pdf, image/*;q=0.5, */*;q=0"),
        content_type: "application/x-image",
        ..PLAIN
    },
    Good {
        name: "mask, attributes of the client's own",
        attributes: Some("trace=00-4bf92f3577b34da6"),
        ..PLAIN
    },
    Good { name: "mask of a bmp", content_type: "image/bmp", body: |sample| &sample.bmp, ..PLAIN },
    Good {
        name: "mask of a webp",
        content_type: "image/webp",
        body: |sample| &sample.webp,
        weight: 1,
        ..PLAIN
    },
    Good {
        name: "mask of a tiff",
        content_type: "application/octet-stream",
        body: |sample| &sample.tiff,
        weight: 1,
        ..PLAIN
    },
    Good {
        name: "mask of an npy",
        content_type: "application/x-npy",
        body: |sample| &sample.npy,
        ..PLAIN
    },
    Good {
        name: "mask by flip and scales",
        attributes: Some("flip=true;scales=0.75:1:1.25"),
        weight: 1,
        ..PLAIN
    },
    Good { name: "mask by tiles", attributes: Some("tile=true"), weight: 1, ..PLAIN },
    Good { name: "overlay", accept: Some("image/png;overlay=true"), check: picture, ..PLAIN },
    Good { name: "json", accept: Some("application/json"), check: json, ..PLAIN },
    Good {
        name: "json, every notation, exact",
        accept: Some("application/json"),
        attributes: Some("rle=both,tolerance=0,background=true"),
        check: json,
        ..PLAIN
    },
    Good { name: "jsonlines of one", accept: Some("application/jsonlines"), check: line, ..PLAIN },
    Good { name: "npy of class ids", accept: Some("application/x-npy"), check: ids, ..PLAIN },
    Good {
        name: "npy of probabilities",
        accept: Some("application/x-npy;probabilities=true"),
        check: probabilities,
        ..PLAIN
    },
    Good {
        name: "recordio",
        accept: Some("application/x-recordio-protobuf"),
        check: recordio,
        ..PLAIN
    },
    Good { name: "protobuf", accept: Some("application/x-protobuf"), check: recordio, ..PLAIN },
    Good {
        name: "json of a json record",
        content_type: "application/json",
        body: |sample| &sample.json,
        check: json,
        ..PLAIN
    },
    Good {
        name: "json of instances, one bad",
        content_type: "application/json",
        body: |sample| &sample.instances,
        check: predictions,
        weight: 1,
        ..PLAIN
    },
    Good {
        name: "jsonlines, one bad",
        content_type: "application/jsonlines",
        body: |sample| &sample.lines,
        check: lines,
        weight: 1,
        ..PLAIN
    },
];

fn is(found: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if found { Ok(()) } else { Err(what()) }
}

fn content_type(answer: &Answer, wanted: &str) -> Result<(), String> {
    let found = answer.header("content-type").unwrap_or("missing");
    is(found == wanted, || format!("the Content-Type is {found}, not {wanted}"))
}

/// A PNG of the sample's size, so that no answer is another client's.
fn png(answer: &Answer, sample: &Sample) -> Result<(), String> {
    picture(answer, sample)?;
    is(answer.body.get(25) == Some(&3), || "the mask has no palette".into())
}

/// A PNG of the sample's width; an overlay may be higher by its legend, or wider where that has no room.
fn picture(answer: &Answer, sample: &Sample) -> Result<(), String> {
    content_type(answer, "image/png")?;
    let body = &answer.body;
    is(body.starts_with(b"\x89PNG\r\n\x1a\n") && body.ends_with(b"IEND\xaeB`\x82"), || {
        format!("the {} bytes are no whole PNG", body.len())
    })?;
    let side = |at: usize| u32::from_be_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
    let (found, wanted) = ((side(16), side(20)), (sample.width, sample.height));
    let is_overlay = body[25] == 2;
    let is_right =
        if is_overlay { found.0 >= wanted.0 && found.1 >= wanted.1 } else { found == wanted };
    is(is_right, || format!("the picture is {found:?}, the image was {wanted:?}"))
}

/// The answer about one image, or why there is none.
#[derive(Deserialize)]
struct One {
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    #[serde(default)]
    classes: Vec<Class>,
    error_type: Option<String>,
}

#[derive(Deserialize)]
struct Class {
    pixels: u64,
}

impl One {
    /// Whether it is about the sample, whose classes share all its pixels.
    fn check(&self, sample: &Sample) -> Result<(), String> {
        let (found, wanted) = ((self.width, self.height), (sample.width, sample.height));
        is(found == wanted, || format!("the answer is about {found:?}, the image was {wanted:?}"))?;
        let found: u64 = self.classes.iter().map(|class| class.pixels).sum();
        let wanted = u64::from(sample.width * sample.height);
        is(found == wanted, || format!("the classes have {found} of {wanted} pixels"))
    }
}

fn parsed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("the JSON: {error}"))
}

fn json(answer: &Answer, sample: &Sample) -> Result<(), String> {
    content_type(answer, "application/json")?;
    parsed::<One>(&answer.body)?.check(sample)
}

fn line(answer: &Answer, sample: &Sample) -> Result<(), String> {
    content_type(answer, "application/jsonlines")?;
    parsed::<One>(&answer.body)?.check(sample)
}

/// Of three records, of which the one in the middle is no image.
fn three(answers: &[One], sample: &Sample) -> Result<(), String> {
    let [first, second, third] = answers else {
        return Err(format!("{} answers to 3 records", answers.len()));
    };
    first.check(sample)?;
    third.check(sample)?;
    is(second.error_type.as_deref() == Some("UndecodableImage"), || {
        format!("the record that is no image has the error {:?}", second.error_type)
    })
}

fn predictions(answer: &Answer, sample: &Sample) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Predictions {
        predictions: Vec<One>,
    }
    three(&parsed::<Predictions>(&answer.body)?.predictions, sample)
}

fn lines(answer: &Answer, sample: &Sample) -> Result<(), String> {
    content_type(answer, "application/jsonlines")?;
    let body = answer.body.strip_suffix(b"\n").ok_or("the last line has no end")?;
    let answers: Result<Vec<_>, _> = body.split(|&byte| byte == b'\n').map(parsed).collect();
    three(&answers?, sample)
}

/// An array with so many bytes of samples.
fn npy(answer: &Answer, samples: usize) -> Result<(), String> {
    content_type(answer, "application/x-npy")?;
    let body = &answer.body;
    is(body.len() > 10 && body.starts_with(b"\x93NUMPY\x01"), || "the bytes are no array".into())?;
    let found = body.len() - 10 - usize::from(u16::from_le_bytes([body[8], body[9]]));
    is(found == samples, || format!("the array has {found} bytes of samples, not {samples}"))
}

fn ids(answer: &Answer, sample: &Sample) -> Result<(), String> {
    npy(answer, sample.width as usize * sample.height as usize)
}

fn probabilities(answer: &Answer, sample: &Sample) -> Result<(), String> {
    npy(answer, 4 * CLASSES * sample.width as usize * sample.height as usize)
}

/// One record, filled up to 4 bytes, which has room for the probabilities.
fn recordio(answer: &Answer, sample: &Sample) -> Result<(), String> {
    let body = &answer.body;
    is(body.len() > 8 && body.starts_with(&0xced7_230a_u32.to_le_bytes()), || {
        "the bytes are no RecordIO".into()
    })?;
    let length = u32::from_le_bytes([body[4], body[5], body[6], body[7]]) as usize;
    is(body.len() == 8 + length.next_multiple_of(4), || {
        format!("the record has {length} bytes, the body {}", body.len())
    })?;
    let least = 4 * CLASSES * sample.width as usize * sample.height as usize;
    is(length > least && length < least + 200, || {
        format!("the record has {length} bytes, the probabilities alone {least}")
    })
}
