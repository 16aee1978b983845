//! Probabilities in the format of the built-in algorithm: one record of `RecordIO` that holds one
//! `aialgs.data.Record`.
//!
//! Its features are `target`, the probabilities of `[1, classes, H, W]` in one list, and `shape`,
//! these four numbers as the values of a tensor of their own. `application/x-recordio-protobuf`
//! (the documentation's name) and `application/x-protobuf` (the example notebook's) are the same
//! bytes.

use std::collections::BTreeMap;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::inference::Segmentation;
use crate::serve::api_error::{ApiError, ErrorType};

/// First word of a record.
const RECORDIO_MAGIC: u32 = 0xced7_230a;
/// Length of the magic number and the message's length together, in bytes.
const HEADER_BYTES: usize = 8;
/// Largest length that the 29 bits of a record's header can hold, in bytes.
const MAX_MESSAGE_BYTES: u64 = (1 << 29) - 1;

/// The short features of `aialgs.data.Record`. The feature with the probabilities is written
/// without this type, so that there is one copy of them and not three. Field numbers are those of
/// `record.proto`.
#[derive(Clone, PartialEq, Message)]
struct RecordMessage {
    #[prost(btree_map = "string, message", tag = "1")]
    features: BTreeMap<String, ValueMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueMessage {
    #[prost(message, optional, tag = "7")]
    int32_tensor: Option<Int32Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Int32Tensor {
    #[prost(int32, repeated, tag = "1")]
    values: Vec<i32>,
}

/// Returns the record without its probabilities.
fn shape_record((width, height): (u32, u32), classes: usize) -> RecordMessage {
    // The casts fit: sides have at most 65535 pixels, and ids 8 bits.
    let values = vec![1, classes as i32, height as i32, width as i32];
    let shape = ValueMessage { int32_tensor: Some(Int32Tensor { values }) };
    RecordMessage { features: [("shape".to_owned(), shape)].into() }
}

/// The lengths, in bytes, of the nested messages: an entry of the map with its key, its value, the
/// tensor (`float32_tensor`) in the value, and the packed numbers (`values`) in the tensor.
struct TargetLengths {
    entry: u64,
    value: u64,
    tensor: u64,
    numbers: u64,
}

impl TargetLengths {
    const FEATURE_NAME: &'static str = "target";
    /// Field numbers of `record.proto`.
    const ENTRY_FIELD: u32 = 1;
    const KEY_FIELD: u32 = 1;
    const VALUE_FIELD: u32 = 2;
    const TENSOR_FIELD: u32 = 2;
    const VALUES_FIELD: u32 = 1;

    fn new((width, height): (u32, u32), classes: usize) -> Self {
        let numbers = 4 * u64::from(width) * u64::from(height) * classes as u64;
        let tensor = nested_field_bytes(numbers);
        let value = nested_field_bytes(tensor);
        Self {
            entry: nested_field_bytes(Self::FEATURE_NAME.len() as u64) + nested_field_bytes(value),
            value,
            tensor,
            numbers,
        }
    }

    /// Writes all of the feature but the numbers, which come last.
    fn write_prefix(&self, bytes: &mut Vec<u8>) {
        write_field_prefix(bytes, Self::ENTRY_FIELD, self.entry);
        write_field_prefix(bytes, Self::KEY_FIELD, Self::FEATURE_NAME.len() as u64);
        bytes.extend_from_slice(Self::FEATURE_NAME.as_bytes());
        write_field_prefix(bytes, Self::VALUE_FIELD, self.value);
        write_field_prefix(bytes, Self::TENSOR_FIELD, self.tensor);
        write_field_prefix(bytes, Self::VALUES_FIELD, self.numbers);
    }
}

/// Writes the key and the length of a field of `length` bytes.
fn write_field_prefix(bytes: &mut Vec<u8>, field_number: u32, length: u64) {
    encode_key(field_number, WireType::LengthDelimited, bytes);
    encode_varint(length, bytes);
}

/// Returns the length of a field of `length` bytes with its key, of one byte, and its length.
fn nested_field_bytes(length: u64) -> u64 {
    1 + encoded_len_varint(length) as u64 + length
}

/// Returns the length of the message, in bytes.
fn message_bytes(size: (u32, u32), classes: usize) -> u64 {
    shape_record(size, classes).encoded_len() as u64
        + nested_field_bytes(TargetLengths::new(size, classes).entry)
}

/// Returns the length of [`encode_recordio`]'s answer, in bytes.
pub(super) fn recordio_bytes(size: (u32, u32), classes: usize) -> u64 {
    HEADER_BYTES as u64 + message_bytes(size, classes).next_multiple_of(4)
}

/// Returns the length of the message, in bytes, or an error if no record can hold it.
pub(super) fn check_message_size(size: (u32, u32), classes: usize) -> Result<u32, ApiError> {
    let length = message_bytes(size, classes);
    u32::try_from(length).ok().filter(|_| length <= MAX_MESSAGE_BYTES).ok_or_else(|| {
        ApiError::new(
            ErrorType::ReplyTooLarge,
            format!(
                "the probabilities of {classes} classes in {} x {} pixels make {length} bytes, \
                 and a RecordIO record \
                 has at most {MAX_MESSAGE_BYTES}; send a smaller image, or ask for \
                 application/x-npy;probabilities=true",
                size.0, size.1
            ),
        )
    })
}

/// Encodes the probability of each class in each pixel.
///
/// The record is never split where its payload holds the magic number, as writers of dmlc do: the
/// clients of the built-in algorithm read one part by its length and look for no others.
pub(super) fn encode_recordio(segmentation: &Segmentation) -> Result<Vec<u8>, ApiError> {
    let size = segmentation.ids.dimensions();
    let classes = segmentation.probabilities.len() / segmentation.ids.as_raw().len().max(1);
    let length = check_message_size(size, classes)?;
    let padded_bytes = HEADER_BYTES + (length as usize).next_multiple_of(4);
    let mut bytes = Vec::with_capacity(padded_bytes);
    bytes.extend_from_slice(&RECORDIO_MAGIC.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    shape_record(size, classes).encode_raw(&mut bytes);
    TargetLengths::new(size, classes).write_prefix(&mut bytes);
    super::append_f32_le(&mut bytes, &segmentation.probabilities);
    bytes.resize(padded_bytes, 0);
    Ok(bytes)
}
