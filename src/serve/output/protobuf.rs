//! Probabilities as the built-in algorithm sends them: one record of `RecordIO` that holds one `aialgs.data.Record`.
//!
//! Its features are `target`, the probabilities of `[1, classes, H, W]` in one list, and `shape`, these four numbers as
//! the values of a tensor of their own. `application/x-recordio-protobuf` (the documentation's name) and
//! `application/x-protobuf` (the example notebook's) are the same bytes.

use std::collections::BTreeMap;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::super::reply::{ErrorType, Refusal};
use crate::inference::Segmentation;

/// The first word of a record.
const MAGIC: u32 = 0xced7_230a;
/// That word and the length.
const HEADER: usize = 8;
/// What 29 bits of a length can say.
const LONGEST: u64 = (1 << 29) - 1;

/// `aialgs.data.Record`, as far as it is short: what holds the probabilities is written without it, so that there is one
/// copy of them and not three. Field numbers are those of `record.proto`.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(btree_map = "string, message", tag = "1")]
    features: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(message, optional, tag = "7")]
    int32_tensor: Option<Int32Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Int32Tensor {
    #[prost(int32, repeated, tag = "1")]
    values: Vec<i32>,
}

/// The record without its probabilities.
fn shape((width, height): (u32, u32), classes: usize) -> Record {
    // Sides have at most 65535 pixels, and ids 8 bits.
    let values = vec![1, classes as i32, height as i32, width as i32];
    let shape = Value { int32_tensor: Some(Int32Tensor { values }) };
    Record { features: [("shape".to_owned(), shape)].into() }
}

/// The lengths of what is in each other: an entry of the map with its key, its value, the tensor (`float32_tensor`) in
/// that, and the packed numbers (`values`) in that.
struct Target {
    entry: u64,
    value: u64,
    tensor: u64,
    numbers: u64,
}

impl Target {
    const NAME: &'static str = "target";
    /// Field numbers.
    const ENTRY: u32 = 1;
    const KEY: u32 = 1;
    const VALUE: u32 = 2;
    const TENSOR: u32 = 2;
    const NUMBERS: u32 = 1;

    fn of((width, height): (u32, u32), classes: usize) -> Self {
        let numbers = 4 * u64::from(width) * u64::from(height) * classes as u64;
        let tensor = nested(numbers);
        let value = nested(tensor);
        Self { entry: nested(Self::NAME.len() as u64) + nested(value), value, tensor, numbers }
    }

    /// All but the numbers, which come last.
    fn start(&self, bytes: &mut Vec<u8>) {
        field(bytes, Self::ENTRY, self.entry);
        field(bytes, Self::KEY, Self::NAME.len() as u64);
        bytes.extend_from_slice(Self::NAME.as_bytes());
        field(bytes, Self::VALUE, self.value);
        field(bytes, Self::TENSOR, self.tensor);
        field(bytes, Self::NUMBERS, self.numbers);
    }
}

/// What stands before a field of so many bytes.
fn field(bytes: &mut Vec<u8>, number: u32, length: u64) {
    encode_key(number, WireType::LengthDelimited, bytes);
    encode_varint(length, bytes);
}

/// A field of so many bytes with its key, of one byte, and its length.
fn nested(length: u64) -> u64 {
    1 + encoded_len_varint(length) as u64 + length
}

/// The bytes of the message alone.
fn message_bytes(size: (u32, u32), classes: usize) -> u64 {
    shape(size, classes).encoded_len() as u64 + nested(Target::of(size, classes).entry)
}

/// The bytes of [`encode`].
pub(in super::super) fn bytes(size: (u32, u32), classes: usize) -> u64 {
    HEADER as u64 + message_bytes(size, classes).next_multiple_of(4)
}

/// The bytes of the message, unless no record can hold it.
pub(super) fn checked(size: (u32, u32), classes: usize) -> Result<u32, Refusal> {
    let length = message_bytes(size, classes);
    u32::try_from(length).ok().filter(|_| length <= LONGEST).ok_or_else(|| {
        Refusal::new(
            ErrorType::ReplyTooLarge,
            format!(
                "the probabilities of {classes} classes in {} x {} pixels make {length} bytes, and a RecordIO record \
                 has at most {LONGEST}; send a smaller image, or ask for application/x-npy;probabilities=true",
                size.0, size.1
            ),
        )
    })
}

/// Every class's probability in every pixel.
///
/// The record is never split where its payload holds the magic number, as writers of dmlc do: the clients of the
/// built-in algorithm read one part by its length and look for no others.
pub(in super::super) fn encode(answer: &Segmentation) -> Result<Vec<u8>, Refusal> {
    let size = answer.ids.dimensions();
    let classes = answer.probabilities.len() / answer.ids.as_raw().len().max(1);
    let length = checked(size, classes)?;
    let padded = HEADER + (length as usize).next_multiple_of(4);
    let mut bytes = Vec::with_capacity(padded);
    bytes.extend_from_slice(&MAGIC.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    shape(size, classes).encode_raw(&mut bytes);
    Target::of(size, classes).start(&mut bytes);
    super::extend_floats(&mut bytes, &answer.probabilities);
    bytes.resize(padded, 0);
    Ok(bytes)
}
