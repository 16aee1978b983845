//! The pickle machine: reads opcodes and builds values, and can do nothing else.

use std::collections::HashMap;

use super::global::{self, PickleGlobal};
use super::value::{Arena, PickleValue, StorageRef};
use super::{SAVE_WEIGHTS_ADVICE, opcode as op};
use crate::error::{Error, Result};

/// Opcodes in one file, more than any weights need: a network of 1,000 tensors takes 30,000, and what
/// the machine holds grows by less than 200 bytes with each.
const MAX_OPCODES: usize = 500_000;

/// `torch.serialization.MAGIC_NUMBER`, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Reads the pickles in some bytes, one after the other.
#[derive(Debug)]
pub(super) struct Unpickler<'a> {
    bytes: &'a [u8],
    /// How far it has read.
    position: usize,
    opcode_count: usize,
    stack: Vec<PickleValue<'a>>,
    memo: HashMap<usize, PickleValue<'a>>,
    /// What was built.
    pub(super) arena: Arena<'a>,
}

impl<'a> Unpickler<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let (stack, memo, arena) = (Vec::new(), HashMap::new(), Arena::default());
        Self { bytes, position: 0, opcode_count: 0, stack, memo, arena }
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.position.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.position..end)).ok_or_else(|| {
            Error::input(format!(
                "the file ends early: {count} bytes are wanted at byte {} of {}",
                self.position,
                self.bytes.len()
            ))
        })?;
        self.position += count;
        Ok(taken)
    }

    /// Reads one whole pickle.
    pub(super) fn load(&mut self) -> Result<PickleValue<'a>> {
        self.stack.clear();
        self.memo.clear();
        loop {
            let opcode = self.take_byte()?;
            self.opcode_count += 1;
            if self.opcode_count > MAX_OPCODES {
                return Err(Error::input(format!(
                    "the pickle has more than {MAX_OPCODES} opcodes, more than weights need; \
                     {SAVE_WEIGHTS_ADVICE}"
                )));
            }
            if opcode == op::STOP {
                return self.pop();
            }
            self.execute(opcode)?;
        }
    }

    #[expect(clippy::too_many_lines)]
    fn execute(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            op::PROTO => {
                self.take(1)?;
            }
            op::FRAME => {
                self.take(8)?;
            }
            op::MARK => self.stack.push(PickleValue::Mark),
            op::NONE | op::NEWTRUE | op::NEWFALSE => self.stack.push(PickleValue::Ignored),
            op::BINFLOAT => {
                self.take(8)?;
                self.stack.push(PickleValue::Ignored);
            }
            op::BININT | op::BININT1 | op::BININT2 | op::LONG1 => {
                let number = self.take_number(opcode)?;
                self.stack.push(number);
            }
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINSTRING | op::SHORT_BINSTRING => {
                let text = self.take_text(opcode)?;
                self.stack.push(PickleValue::Text(text));
            }
            op::EMPTY_TUPLE | op::EMPTY_LIST => {
                let sequence = self.arena.add_sequence(Vec::new());
                self.stack.push(sequence);
            }
            op::TUPLE => {
                let items = self.pop_to_mark()?;
                let tuple = self.arena.add_sequence(items);
                self.stack.push(tuple);
            }
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let items = self.pop_last(usize::from(opcode - op::TUPLE1) + 1)?;
                let tuple = self.arena.add_sequence(items);
                self.stack.push(tuple);
            }
            op::APPEND | op::APPENDS => {
                let items =
                    if opcode == op::APPEND { self.pop_last(1)? } else { self.pop_to_mark()? };
                self.append(items)?;
            }
            op::EMPTY_DICT => {
                let dict = self.arena.add_dict(Vec::new());
                self.stack.push(dict);
            }
            op::SETITEM | op::SETITEMS => {
                let items =
                    if opcode == op::SETITEM { self.pop_last(2)? } else { self.pop_to_mark()? };
                self.set_items(&items)?;
            }
            op::BINPUT | op::LONG_BINPUT | op::MEMOIZE => {
                let index = match opcode {
                    op::MEMOIZE => self.memo.len(),
                    _ => self.take_index(opcode == op::LONG_BINPUT)?,
                };
                let value = self
                    .stack
                    .last()
                    .copied()
                    .ok_or_else(|| self.unexpected_error("an empty stack"))?;
                self.memo.insert(index, value);
            }
            op::BINGET | op::LONG_BINGET => {
                let index = self.take_index(opcode == op::LONG_BINGET)?;
                let value = self.memo.get(&index).copied();
                self.stack.push(
                    value.ok_or_else(|| self.unexpected_error("an index that names nothing"))?,
                );
            }
            op::GLOBAL => {
                let (module, name) = (self.take_line()?, self.take_line()?);
                self.stack.push(PickleValue::Global(global::find_global(module, name)?));
            }
            op::STACK_GLOBAL => {
                let names = self.pop_last(2)?;
                let [PickleValue::Text(module), PickleValue::Text(name)] = names[..] else {
                    return Err(self.unexpected_error("a name that is no text"));
                };
                self.stack.push(PickleValue::Global(global::find_global(module, name)?));
            }
            op::REDUCE | op::NEWOBJ => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let arguments = self.arena.items(arguments).map(<[_]>::to_vec);
                let arguments = arguments
                    .ok_or_else(|| self.unexpected_error("arguments that are no tuple"))?;
                let result = global::call_global(&mut self.arena, callable, &arguments)?;
                self.stack.push(result);
            }
            // Attributes, for example OrderedDict's `_metadata`: weights have none that matter.
            op::BUILD => {
                self.pop()?;
            }
            op::BINPERSID => {
                let id = self.pop()?;
                let storage = self.parse_storage(id)?;
                self.arena.storages.push(storage);
                self.stack.push(PickleValue::Storage(storage));
            }
            other => {
                return Err(self.unexpected_error(&format!(
                    "opcode {other:#04x}, which state dicts do not use"
                )));
            }
        }
        Ok(())
    }

    /// A storage from what `torch.save` writes in its place: `("storage", type, key, device, count)`.
    fn parse_storage(&self, id: PickleValue<'a>) -> Result<StorageRef<'a>> {
        match self.arena.items(id) {
            Some(
                [
                    PickleValue::Text("storage"),
                    PickleValue::Global(PickleGlobal::StorageType(dtype)),
                    PickleValue::Text(key),
                    PickleValue::Text(_),
                    PickleValue::Int(_),
                    views @ ..,
                ],
            ) => match views {
                [] | [PickleValue::Ignored] => Ok(StorageRef { key, dtype: *dtype }),
                _ => Err(Error::input(format!(
                    "the file was written by a PyTorch before 0.4, whose storages are views of \
                     others; load it in a newer one and save it again: {SAVE_WEIGHTS_ADVICE}"
                ))),
            },
            _ => Err(self.unexpected_error("a storage that is described in an unknown way")),
        }
    }

    fn append(&mut self, items: Vec<PickleValue<'a>>) -> Result<()> {
        let target = self.stack.last().copied();
        match target {
            Some(PickleValue::Sequence(index)) if index < self.arena.sequences.len() => {
                self.arena.sequences[index].extend(items);
                Ok(())
            }
            _ => Err(self.unexpected_error("items for something that is no list")),
        }
    }

    fn set_items(&mut self, items: &[PickleValue<'a>]) -> Result<()> {
        let target = self.stack.last().copied();
        match target {
            Some(PickleValue::Dict(index))
                if index < self.arena.dicts.len() && items.len().is_multiple_of(2) =>
            {
                let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
                self.arena.dicts[index].extend(pairs);
                Ok(())
            }
            _ => Err(self.unexpected_error("items for something that is no dict")),
        }
    }

    fn pop(&mut self) -> Result<PickleValue<'a>> {
        match self.stack.pop() {
            Some(PickleValue::Mark) | None => Err(self.unexpected_error("an empty stack")),
            Some(value) => Ok(value),
        }
    }

    /// The last `count` values, the deepest first.
    fn pop_last(&mut self, count: usize) -> Result<Vec<PickleValue<'a>>> {
        let start = self
            .stack
            .len()
            .checked_sub(count)
            .ok_or_else(|| self.unexpected_error("an empty stack"))?;
        let values = self.stack.split_off(start);
        if values.contains(&PickleValue::Mark) {
            return Err(self.unexpected_error("an empty stack"));
        }
        Ok(values)
    }

    /// Everything above the last mark, which goes too.
    fn pop_to_mark(&mut self) -> Result<Vec<PickleValue<'a>>> {
        let mark = self.stack.iter().rposition(|value| *value == PickleValue::Mark);
        let mark =
            mark.ok_or_else(|| self.unexpected_error("the end of a sequence without its start"))?;
        let values = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(values)
    }

    fn take_byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned number of one or four bytes.
    fn take_index(&mut self, is_long: bool) -> Result<usize> {
        Ok(read_little_endian(self.take(if is_long { 4 } else { 1 })?) as usize)
    }

    fn take_number(&mut self, opcode: u8) -> Result<PickleValue<'a>> {
        let bytes = match opcode {
            op::BININT1 => self.take(1)?,
            op::BININT2 => self.take(2)?,
            op::BININT => {
                let number = read_little_endian(self.take(4)?) as u32;
                return Ok(PickleValue::Int(i64::from(number.cast_signed())));
            }
            _ => {
                let length = usize::from(self.take_byte()?);
                let bytes = self.take(length)?;
                return Ok(match bytes {
                    _ if bytes == MAGIC => PickleValue::MagicNumber,
                    // As long as no number of a tensor needs to be.
                    [.., _, _, _, _, _, _, _, _, _] => PickleValue::Ignored,
                    _ => {
                        let unused_bits = 64 - 8 * bytes.len() as u32;
                        let number =
                            read_little_endian(bytes).checked_shl(unused_bits).unwrap_or(0);
                        PickleValue::Int(number.cast_signed().checked_shr(unused_bits).unwrap_or(0))
                    }
                });
            }
        };
        Ok(PickleValue::Int(read_little_endian(bytes).cast_signed()))
    }

    fn take_text(&mut self, opcode: u8) -> Result<&'a str> {
        let is_long = opcode == op::BINUNICODE || opcode == op::BINSTRING;
        let length = self.take_index(is_long)?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.unexpected_error("a text that is not UTF-8"))
    }

    /// A text up to the end of the line.
    fn take_line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.position..];
        let length = rest.iter().take(1000).position(|&byte| byte == b'\n');
        let length = length.ok_or_else(|| self.unexpected_error("a name without an end"))?;
        let line = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| self.unexpected_error("a name that is not UTF-8"))
    }

    fn unexpected_error(&self, found: &str) -> Error {
        Error::input(format!(
            "the pickle holds {found} at byte {}; the file is damaged or not a state dict",
            self.position
        ))
    }
}

/// The number in up to 8 bytes.
pub(super) fn read_little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
