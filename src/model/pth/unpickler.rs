//! The pickle machine, which reads opcodes and builds values, and can do nothing else.

use std::collections::HashMap;

use super::global::{self, PickleGlobal};
use super::value::{Arena, PickleValue, StorageRef};
use super::{SAVE_WEIGHTS_ADVICE, opcode as op};
use crate::error::{Error, Result};

/// Largest number of opcodes in one file. A network of 1,000 tensors takes 30,000. With each opcode
/// the machine's memory grows by less than 200 bytes.
const MAX_OPCODES: usize = 500_000;

/// `torch.serialization.MAGIC_NUMBER` in little-endian bytes.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// A reader of the pickles that lie one after the other in some bytes.
#[derive(Debug)]
pub(super) struct Unpickler<'a> {
    bytes: &'a [u8],
    /// Offset of the next byte to read.
    position: usize,
    opcode_count: usize,
    stack: Vec<PickleValue<'a>>,
    memo: HashMap<usize, PickleValue<'a>>,
    /// Values that were built.
    pub(super) arena: Arena<'a>,
}

impl<'a> Unpickler<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let (stack, memo, arena) = (Vec::new(), HashMap::new(), Arena::default());
        Self { bytes, position: 0, opcode_count: 0, stack, memo, arena }
    }

    /// Reads the next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.position.saturating_add(count);
        let Some(taken) = self.bytes.get(self.position..end) else {
            return Err(Error::input(format!(
                "the file ends early: {count} bytes are wanted at byte {} of {}",
                self.position,
                self.bytes.len()
            )));
        };
        self.position += count;
        Ok(taken)
    }

    /// Reads one whole pickle and returns its value.
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

    fn execute(&mut self, opcode: u8) -> Result<()> {
        let value = match opcode {
            op::PROTO => return self.skip(1),
            op::FRAME => return self.skip(8),
            op::MARK => PickleValue::Mark,
            op::NONE | op::NEWTRUE | op::NEWFALSE => PickleValue::Ignored,
            op::BINFLOAT => {
                self.skip(8)?;
                PickleValue::Ignored
            }
            op::BININT | op::BININT1 | op::BININT2 | op::LONG1 => self.take_number(opcode)?,
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINSTRING | op::SHORT_BINSTRING => {
                PickleValue::Text(self.take_text(opcode)?)
            }
            op::EMPTY_TUPLE | op::EMPTY_LIST => self.arena.add_sequence(Vec::new()),
            op::TUPLE | op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let items = self.pop_items(opcode)?;
                self.arena.add_sequence(items)
            }
            op::EMPTY_DICT => self.arena.add_dict(Vec::new()),
            op::APPEND | op::APPENDS => {
                let items = self.pop_items(opcode)?;
                return self.append(items);
            }
            op::SETITEM | op::SETITEMS => {
                let items = self.pop_items(opcode)?;
                return self.set_items(&items);
            }
            op::BINPUT | op::LONG_BINPUT | op::MEMOIZE => return self.memoize(opcode),
            op::BINGET | op::LONG_BINGET => self.recall(opcode)?,
            op::GLOBAL | op::STACK_GLOBAL => PickleValue::Global(self.take_global(opcode)?),
            op::REDUCE | op::NEWOBJ => self.call()?,
            op::BUILD => {
                // Attributes are dropped, for example OrderedDict's `_metadata`: no attribute of
                // weights matters.
                self.pop()?;
                return Ok(());
            }
            op::BINPERSID => {
                let id = self.pop()?;
                let storage = self.parse_storage(id)?;
                self.arena.storages.push(storage);
                PickleValue::Storage(storage)
            }
            other => {
                let found = format!("opcode {other:#04x}, which state dicts do not use");
                return Err(self.unexpected_error(&found));
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// Pops the items that an opcode puts into a tuple, list or dict.
    fn pop_items(&mut self, opcode: u8) -> Result<Vec<PickleValue<'a>>> {
        match opcode {
            op::TUPLE1 | op::APPEND => self.pop_last(1),
            op::TUPLE2 | op::SETITEM => self.pop_last(2),
            op::TUPLE3 => self.pop_last(3),
            _ => self.pop_to_mark(),
        }
    }

    /// Remembers the last value under an index.
    fn memoize(&mut self, opcode: u8) -> Result<()> {
        let index = match opcode {
            op::MEMOIZE => self.memo.len(),
            _ => self.take_index(opcode == op::LONG_BINPUT)?,
        };
        let Some(value) = self.stack.last() else {
            return Err(self.unexpected_error("an empty stack"));
        };
        self.memo.insert(index, *value);
        Ok(())
    }

    /// Returns the value that was remembered under an index.
    fn recall(&mut self, opcode: u8) -> Result<PickleValue<'a>> {
        let index = self.take_index(opcode == op::LONG_BINGET)?;
        match self.memo.get(&index) {
            Some(value) => Ok(*value),
            None => Err(self.unexpected_error("an index that names nothing")),
        }
    }

    /// Finds the callable or type that the following lines or the last two values name.
    fn take_global(&mut self, opcode: u8) -> Result<PickleGlobal> {
        if opcode == op::GLOBAL {
            let (module, name) = (self.take_line()?, self.take_line()?);
            return global::find_global(module, name);
        }
        let names = self.pop_last(2)?;
        let [PickleValue::Text(module), PickleValue::Text(name)] = names[..] else {
            return Err(self.unexpected_error("a name that is no text"));
        };
        global::find_global(module, name)
    }

    /// Pops arguments and a callable, and returns the value of the call.
    fn call(&mut self) -> Result<PickleValue<'a>> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let Some(arguments) = self.arena.items(arguments).map(<[_]>::to_vec) else {
            return Err(self.unexpected_error("arguments that are no tuple"));
        };
        global::call_global(&mut self.arena, callable, &arguments)
    }

    /// Parses the persistent id that `torch.save` writes in the place of a storage: `("storage",
    /// type, key, device, count)`.
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
            Some(PickleValue::Ignored) => Ok(()),
            _ => Err(self.unexpected_error("items for something that is no list")),
        }
    }

    fn set_items(&mut self, items: &[PickleValue<'a>]) -> Result<()> {
        let target = self.stack.last().copied();
        match target {
            Some(PickleValue::Dict(index))
                if index < self.arena.dicts.len() && items.len().is_multiple_of(2) =>
            {
                for pair in items.chunks_exact(2) {
                    self.arena.dicts[index].push((pair[0], pair[1]));
                }
                Ok(())
            }
            Some(PickleValue::Ignored) => Ok(()),
            _ => Err(self.unexpected_error("items for something that is no dict")),
        }
    }

    fn pop(&mut self) -> Result<PickleValue<'a>> {
        match self.stack.pop() {
            Some(PickleValue::Mark) | None => Err(self.unexpected_error("an empty stack")),
            Some(value) => Ok(value),
        }
    }

    /// Pops the last `count` values and returns them, the deepest first.
    fn pop_last(&mut self, count: usize) -> Result<Vec<PickleValue<'a>>> {
        let Some(start) = self.stack.len().checked_sub(count) else {
            return Err(self.unexpected_error("an empty stack"));
        };
        let values = self.stack.split_off(start);
        if values.contains(&PickleValue::Mark) {
            return Err(self.unexpected_error("an empty stack"));
        }
        Ok(values)
    }

    /// Pops and returns the values above the last mark, and drops the mark.
    fn pop_to_mark(&mut self) -> Result<Vec<PickleValue<'a>>> {
        let mark = self.stack.iter().rposition(|value| *value == PickleValue::Mark);
        let Some(mark) = mark else {
            return Err(self.unexpected_error("the end of a sequence without its start"));
        };
        let values = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(values)
    }

    fn skip(&mut self, count: usize) -> Result<()> {
        self.take(count)?;
        Ok(())
    }

    fn take_byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// Reads an unsigned number of one byte, or of four if `is_long`.
    fn take_index(&mut self, is_long: bool) -> Result<usize> {
        Ok(read_little_endian(self.take(if is_long { 4 } else { 1 })?) as usize)
    }

    fn take_number(&mut self, opcode: u8) -> Result<PickleValue<'a>> {
        let number = match opcode {
            op::BININT1 => read_little_endian(self.take(1)?).cast_signed(),
            op::BININT2 => read_little_endian(self.take(2)?).cast_signed(),
            op::BININT => {
                let number = read_little_endian(self.take(4)?) as u32;
                i64::from(number.cast_signed())
            }
            _ => {
                let length = usize::from(self.take_byte()?);
                return Ok(parse_long(self.take(length)?));
            }
        };
        Ok(PickleValue::Int(number))
    }

    fn take_text(&mut self, opcode: u8) -> Result<&'a str> {
        let is_long = opcode == op::BINUNICODE || opcode == op::BINSTRING;
        let length = self.take_index(is_long)?;
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(text),
            Err(_) => Err(self.unexpected_error("a text that is not UTF-8")),
        }
    }

    /// Reads a text up to the end of the line, at most 999 bytes long, and its newline.
    fn take_line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.position..];
        let Some(length) = rest.iter().take(1000).position(|&byte| byte == b'\n') else {
            return Err(self.unexpected_error("a name without an end"));
        };
        let line = self.take(length)?;
        self.take(1)?;
        match std::str::from_utf8(line) {
            Ok(name) => Ok(name),
            Err(_) => Err(self.unexpected_error("a name that is not UTF-8")),
        }
    }

    fn unexpected_error(&self, found: &str) -> Error {
        Error::input(format!(
            "the pickle holds {found} at byte {}; the file is damaged or not a state dict",
            self.position
        ))
    }
}

/// Returns the value of a signed little-endian integer of any length.
fn parse_long<'a>(bytes: &[u8]) -> PickleValue<'a> {
    if bytes == MAGIC {
        return PickleValue::MagicNumber;
    }
    // No number of a tensor needs more than 8 bytes.
    if bytes.len() > 8 {
        return PickleValue::Ignored;
    }
    let unused_bits = 64 - 8 * bytes.len() as u32;
    let number = read_little_endian(bytes).checked_shl(unused_bits).unwrap_or(0);
    PickleValue::Int(number.cast_signed().checked_shr(unused_bits).unwrap_or(0))
}

/// Returns the unsigned number in up to 8 little-endian bytes.
pub(super) fn read_little_endian(bytes: &[u8]) -> u64 {
    let mut number = 0;
    for &byte in bytes.iter().rev() {
        number = number << 8 | u64::from(byte);
    }
    number
}
