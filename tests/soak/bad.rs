//! Requests that must be refused: what each must get. A full queue may answer any whose head is right by 503 first.

use crate::bodies::Sample;
use crate::dice::Dice;
use crate::http::{chunked, head};

pub(crate) struct Bad {
    pub(crate) name: &'static str,
    /// All that is sent.
    pub(crate) bytes: fn(&mut Dice, &Sample) -> Vec<u8>,
    pub(crate) status: u16,
    /// The `error_type` of the answer; none where the HTTP library refuses, which knows no reasons.
    pub(crate) error_type: Option<&'static str>,
    /// Whether the connection can be used on afterwards.
    pub(crate) keeps: bool,
    /// Whether there may be no answer at all: the client has not sent what it announced, and closed its side.
    pub(crate) may_be_silent: bool,
}

/// What most have in common.
const PLAIN: Bad = Bad {
    name: "",
    bytes: |_, _| Vec::new(),
    status: 400,
    error_type: None,
    keeps: true,
    may_be_silent: false,
};

/// Refused by the HTTP library, which then closes.
const MALFORMED: Bad = Bad { keeps: false, ..PLAIN };

pub(crate) const TABLE: &[Bad] = &[
    Bad {
        name: "garbage",
        bytes: |dice, _| {
            let count = 1 + dice.below(5000);
            post("image/jpeg", &dice.bytes(count))
        },
        ..UNDECODABLE
    },
    Bad {
        name: "garbage after a jpeg's first bytes",
        bytes: |dice, _| {
            let mut body = b"\xff\xd8\xff\xe0\x00\x10JFIF\0".to_vec();
            body.extend(dice.bytes(500));
            post("image/jpeg", &body)
        },
        ..UNDECODABLE
    },
    Bad {
        name: "truncated jpeg",
        bytes: |dice, sample| post("image/jpeg", cut(dice, &sample.jpeg)),
        ..UNDECODABLE
    },
    Bad {
        name: "truncated png",
        bytes: |dice, sample| post("image/png", cut(dice, &sample.png)),
        ..UNDECODABLE
    },
    Bad {
        name: "png of 30000x30000",
        bytes: |_, _| post("image/png", &huge_png()),
        status: 413,
        error_type: Some("ImageTooLarge"),
        ..PLAIN
    },
    Bad {
        name: "empty body",
        bytes: |_, _| post("image/png", b""),
        error_type: Some("EmptyBody"),
        ..PLAIN
    },
    Bad {
        name: "content type of text",
        bytes: |_, sample| post("text/plain", &sample.jpeg),
        ..UNSUPPORTED
    },
    Bad {
        name: "no content type",
        bytes: |_, sample| {
            let body = &sample.jpeg;
            with(&[], body)
        },
        ..UNSUPPORTED
    },
    Bad {
        name: "accept of a pdf",
        bytes: |_, sample| accepting("application/pdf", &sample.jpeg),
        ..UNACCEPTABLE
    },
    Bad {
        name: "accept of nothing",
        bytes: |_, sample| accepting("*/*;q=0", &sample.jpeg),
        ..UNACCEPTABLE
    },
    Bad {
        name: "bad option",
        bytes: |_, sample| {
            let attributes = "x-amzn-sagemaker-custom-attributes: scales=9,flip=perhaps";
            with(&["content-type: image/jpeg", attributes], &sample.jpeg)
        },
        error_type: Some("InvalidOption"),
        ..PLAIN
    },
    Bad {
        name: "broken json",
        bytes: |dice, sample| post("application/json", cut(dice, &sample.json)),
        error_type: Some("InvalidJson"),
        ..PLAIN
    },
    Bad {
        name: "a reference to s3",
        bytes: |_, _| post("application/json", br#"{"image": "s3://bucket/key.jpg"}"#),
        status: 403,
        error_type: Some("ReferencesNotAllowed"),
        ..PLAIN
    },
    Bad {
        name: "truncated npy",
        bytes: |dice, sample| post("application/x-npy", cut(dice, &sample.npy)),
        status: 422,
        error_type: Some("InvalidArray"),
        ..PLAIN
    },
    Bad {
        name: "instances as a mask",
        bytes: |_, sample| {
            let lines = ["content-type: application/json", "accept: image/png"];
            with(&lines, &sample.instances)
        },
        ..UNACCEPTABLE
    },
    Bad {
        name: "declared 99999999999 bytes",
        bytes: |_, _| {
            head("/invocations", &["content-type: image/png", "content-length: 99999999999"])
        },
        status: 413,
        error_type: Some("BodyTooLarge"),
        keeps: false,
        ..PLAIN
    },
    Bad {
        name: "chunks over the limit",
        bytes: |_, _| {
            let lines = ["content-type: image/png", "transfer-encoding: chunked"];
            [head("/invocations", &lines), chunked(&vec![7; 5 << 20], 64 << 10)].concat()
        },
        status: 413,
        error_type: Some("BodyTooLarge"),
        keeps: false,
        ..PLAIN
    },
    Bad {
        name: "length shorter than the body",
        bytes: |_, sample| {
            let body = &sample.jpeg;
            let length = format!("content-length: {}", body.len() / 2);
            let lines = ["content-type: image/jpeg", &length];
            // What comes after half an image is then the head of the next request.
            [head("/invocations", &lines), body.clone()].concat()
        },
        keeps: false,
        ..UNDECODABLE
    },
    Bad {
        name: "length longer than the body",
        bytes: |_, sample| {
            let body = &sample.jpeg;
            let length = format!("content-length: {}", body.len() + 1);
            let lines = ["content-type: image/jpeg", &length];
            [head("/invocations", &lines), body.clone()].concat()
        },
        error_type: Some("BrokenBody"),
        may_be_silent: true,
        ..MALFORMED
    },
    Bad {
        name: "broken chunks",
        bytes: |_, _| {
            let lines = ["content-type: image/png", "transfer-encoding: chunked"];
            [head("/invocations", &lines), b"5\r\nabcde\r\nzz\r\n".to_vec()].concat()
        },
        error_type: Some("BrokenBody"),
        ..MALFORMED
    },
    Bad {
        name: "two lengths",
        bytes: |_, _| {
            let lines = ["content-type: image/png", "content-length: 5", "content-length: 6"];
            [head("/invocations", &lines), b"abcdef".to_vec()].concat()
        },
        ..MALFORMED
    },
    Bad {
        name: "a length that is no number",
        bytes: |_, _| head("/invocations", &["content-type: image/png", "content-length: many"]),
        ..MALFORMED
    },
    Bad {
        name: "a head that is none",
        bytes: |dice, _| {
            // No byte that ends a line, so that all of it is one.
            let line: Vec<u8> = dice.bytes(200).into_iter().map(|byte| byte | 0x80).collect();
            [line, b"\r\n\r\n".to_vec()].concat()
        },
        ..MALFORMED
    },
    Bad {
        name: "a version that does not exist",
        bytes: |_, _| b"POST /invocations HTTP/7.1\r\nhost: soak\r\n\r\n".to_vec(),
        ..MALFORMED
    },
    Bad {
        name: "500 headers",
        bytes: |_, _| {
            let lines: Vec<_> = (0..500).map(|number| format!("x-{number}: y")).collect();
            head("/invocations", &lines)
        },
        status: 431,
        ..MALFORMED
    },
    Bad {
        name: "a path that does not exist",
        bytes: |_, _| b"GET /nothing HTTP/1.1\r\nhost: soak\r\n\r\n".to_vec(),
        status: 404,
        error_type: Some("NotFound"),
        ..PLAIN
    },
    Bad {
        name: "a method that is not allowed",
        bytes: |_, _| b"GET /invocations HTTP/1.1\r\nhost: soak\r\n\r\n".to_vec(),
        status: 405,
        error_type: Some("MethodNotAllowed"),
        ..PLAIN
    },
];

const UNDECODABLE: Bad = Bad { status: 422, error_type: Some("UndecodableImage"), ..PLAIN };
const UNSUPPORTED: Bad = Bad { status: 415, error_type: Some("UnsupportedMediaType"), ..PLAIN };
const UNACCEPTABLE: Bad = Bad { status: 406, error_type: Some("NotAcceptable"), ..PLAIN };

/// A quarter to three quarters of a body.
fn cut<'a>(dice: &mut Dice, body: &'a [u8]) -> &'a [u8] {
    &body[..body.len() / 4 + dice.below(body.len() / 2)]
}

fn with(lines: &[&str], body: &[u8]) -> Vec<u8> {
    let length = format!("content-length: {}", body.len());
    let lines = [lines, &[length.as_str()]].concat();
    [&head("/invocations", &lines), body].concat()
}

fn post(content_type: &str, body: &[u8]) -> Vec<u8> {
    with(&[&format!("content-type: {content_type}")], body)
}

fn accepting(what: &str, body: &[u8]) -> Vec<u8> {
    with(&["content-type: image/jpeg", &format!("accept: {what}")], body)
}

/// A head that announces 900 megapixels, and nothing of them.
fn huge_png() -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    for side in [30_000_u32; 2] {
        header.extend_from_slice(&side.to_be_bytes());
    }
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&crc32fast::hash(&header).to_be_bytes());
    bytes.extend_from_slice(b"\0\0\0\x04IDAT");
    bytes
}
