//! The pickle machine: reads opcodes and builds values, and can do nothing else.

use std::collections::HashMap;

use super::global::{self, Global};
use super::value::{Arena, Storage, Value};
use super::{ADVICE, opcode as op};
use crate::error::{Error, Result};

/// Opcodes in one file, more than any weights need: a network of 1,000 tensors takes 30,000, and what
/// the machine holds grows by less than 200 bytes with each.
const MAX_OPCODES: usize = 500_000;

/// `torch.serialization.MAGIC_NUMBER`, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Reads the pickles in some bytes, one after the other.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    /// How far it has read.
    at: usize,
    opcodes: usize,
    stack: Vec<Value<'a>>,
    memo: HashMap<usize, Value<'a>>,
    /// What was built.
    pub(super) arena: Arena<'a>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let (stack, memo, arena) = (Vec::new(), HashMap::new(), Arena::default());
        Self { bytes, at: 0, opcodes: 0, stack, memo, arena }
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| {
            Error::input(format!(
                "the file ends early: {count} bytes are wanted at byte {} of {}",
                self.at,
                self.bytes.len()
            ))
        })?;
        self.at += count;
        Ok(taken)
    }

    /// Reads one whole pickle.
    pub(super) fn load(&mut self) -> Result<Value<'a>> {
        self.stack.clear();
        self.memo.clear();
        loop {
            let opcode = self.byte()?;
            self.opcodes += 1;
            if self.opcodes > MAX_OPCODES {
                return Err(Error::input(format!(
                    "the pickle has more than {MAX_OPCODES} opcodes, more than weights need; \
                     {ADVICE}"
                )));
            }
            if opcode == op::STOP {
                return self.pop();
            }
            self.execute(opcode)?;
        }
    }

    fn execute(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            op::PROTO => {
                self.take(1)?;
            }
            op::FRAME => {
                self.take(8)?;
            }
            op::MARK => self.stack.push(Value::Mark),
            op::NONE | op::NEWTRUE | op::NEWFALSE => self.stack.push(Value::Inert),
            op::BINFLOAT => {
                self.take(8)?;
                self.stack.push(Value::Inert);
            }
            op::BININT | op::BININT1 | op::BININT2 | op::LONG1 => {
                let number = self.number(opcode)?;
                self.stack.push(number);
            }
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINSTRING | op::SHORT_BINSTRING => {
                let text = self.text(opcode)?;
                self.stack.push(Value::Text(text));
            }
            op::EMPTY_TUPLE | op::EMPTY_LIST => {
                let sequence = self.arena.sequence(Vec::new());
                self.stack.push(sequence);
            }
            op::TUPLE => {
                let items = self.since_mark()?;
                let tuple = self.arena.sequence(items);
                self.stack.push(tuple);
            }
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let items = self.last(usize::from(opcode - op::TUPLE1) + 1)?;
                let tuple = self.arena.sequence(items);
                self.stack.push(tuple);
            }
            op::APPEND | op::APPENDS => {
                let items = if opcode == op::APPEND { self.last(1)? } else { self.since_mark()? };
                self.append(items)?;
            }
            op::EMPTY_DICT => {
                let dict = self.arena.dict(Vec::new());
                self.stack.push(dict);
            }
            op::SETITEM | op::SETITEMS => {
                let items = if opcode == op::SETITEM { self.last(2)? } else { self.since_mark()? };
                self.set_items(&items)?;
            }
            op::BINPUT | op::LONG_BINPUT | op::MEMOIZE => {
                let index = match opcode {
                    op::MEMOIZE => self.memo.len(),
                    _ => self.index(opcode == op::LONG_BINPUT)?,
                };
                let value = self.stack.last().copied().ok_or_else(|| self.odd("an empty stack"))?;
                self.memo.insert(index, value);
            }
            op::BINGET | op::LONG_BINGET => {
                let index = self.index(opcode == op::LONG_BINGET)?;
                let value = self.memo.get(&index).copied();
                self.stack.push(value.ok_or_else(|| self.odd("an index that names nothing"))?);
            }
            op::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(global::find(module, name)?));
            }
            op::STACK_GLOBAL => {
                let names = self.last(2)?;
                let [Value::Text(module), Value::Text(name)] = names[..] else {
                    return Err(self.odd("a name that is no text"));
                };
                self.stack.push(Value::Global(global::find(module, name)?));
            }
            op::REDUCE | op::NEWOBJ => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let arguments = self.arena.items(arguments).map(<[_]>::to_vec);
                let arguments = arguments.ok_or_else(|| self.odd("arguments that are no tuple"))?;
                let made = global::call(&mut self.arena, callable, &arguments)?;
                self.stack.push(made);
            }
            // Attributes, for example OrderedDict's `_metadata`: weights have none that matter.
            op::BUILD => {
                self.pop()?;
            }
            op::BINPERSID => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.arena.storages.push(storage);
                self.stack.push(Value::Storage(storage));
            }
            other => {
                return Err(self.odd(&format!("opcode {other:#04x}, which state dicts do not use")));
            }
        }
        Ok(())
    }

    /// A storage from what `torch.save` writes in its place: `("storage", type, key, device, count)`.
    fn storage(&self, id: Value<'a>) -> Result<Storage<'a>> {
        match self.arena.items(id) {
            Some(
                [
                    Value::Text("storage"),
                    Value::Global(Global::Storage(dtype)),
                    Value::Text(key),
                    Value::Text(_),
                    Value::Int(_),
                    views @ ..,
                ],
            ) => match views {
                [] | [Value::Inert] => Ok(Storage { key, dtype: *dtype }),
                _ => Err(Error::input(format!(
                    "the file was written by a PyTorch before 0.4, whose storages are views of \
                     others; load it in a newer one and save it again: {ADVICE}"
                ))),
            },
            _ => Err(self.odd("a storage that is described in an unknown way")),
        }
    }

    fn append(&mut self, items: Vec<Value<'a>>) -> Result<()> {
        let target = self.stack.last().copied();
        match target {
            Some(Value::Sequence(index)) if index < self.arena.sequences.len() => {
                self.arena.sequences[index].extend(items);
                Ok(())
            }
            _ => Err(self.odd("items for something that is no list")),
        }
    }

    fn set_items(&mut self, items: &[Value<'a>]) -> Result<()> {
        let target = self.stack.last().copied();
        match target {
            Some(Value::Dict(index))
                if index < self.arena.dicts.len() && items.len().is_multiple_of(2) =>
            {
                let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
                self.arena.dicts[index].extend(pairs);
                Ok(())
            }
            _ => Err(self.odd("items for something that is no dict")),
        }
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        match self.stack.pop() {
            Some(Value::Mark) | None => Err(self.odd("an empty stack")),
            Some(value) => Ok(value),
        }
    }

    /// The last `count` values, the deepest first.
    fn last(&mut self, count: usize) -> Result<Vec<Value<'a>>> {
        let from = self.stack.len().checked_sub(count).ok_or_else(|| self.odd("an empty stack"))?;
        let values = self.stack.split_off(from);
        if values.contains(&Value::Mark) {
            return Err(self.odd("an empty stack"));
        }
        Ok(values)
    }

    /// Everything above the last mark, which goes too.
    fn since_mark(&mut self) -> Result<Vec<Value<'a>>> {
        let mark = self.stack.iter().rposition(|value| *value == Value::Mark);
        let mark = mark.ok_or_else(|| self.odd("the end of a sequence without its start"))?;
        let values = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(values)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned number of one or four bytes.
    fn index(&mut self, long: bool) -> Result<usize> {
        Ok(little_endian(self.take(if long { 4 } else { 1 })?) as usize)
    }

    fn number(&mut self, opcode: u8) -> Result<Value<'a>> {
        let bytes = match opcode {
            op::BININT1 => self.take(1)?,
            op::BININT2 => self.take(2)?,
            op::BININT => {
                let number = little_endian(self.take(4)?) as u32;
                return Ok(Value::Int(i64::from(number.cast_signed())));
            }
            _ => {
                let length = usize::from(self.byte()?);
                let bytes = self.take(length)?;
                return Ok(match bytes {
                    _ if bytes == MAGIC => Value::Magic,
                    // As long as no number of a tensor needs to be.
                    [.., _, _, _, _, _, _, _, _, _] => Value::Inert,
                    _ => {
                        let unused = 64 - 8 * bytes.len() as u32;
                        let number = little_endian(bytes).checked_shl(unused).unwrap_or(0);
                        Value::Int(number.cast_signed().checked_shr(unused).unwrap_or(0))
                    }
                });
            }
        };
        Ok(Value::Int(little_endian(bytes).cast_signed()))
    }

    fn text(&mut self, opcode: u8) -> Result<&'a str> {
        let long = opcode == op::BINUNICODE || opcode == op::BINSTRING;
        let length = self.index(long)?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.odd("a text that is not UTF-8"))
    }

    /// A text up to the end of the line.
    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take(1000).position(|&byte| byte == b'\n');
        let length = length.ok_or_else(|| self.odd("a name without an end"))?;
        let line = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| self.odd("a name that is not UTF-8"))
    }

    fn odd(&self, what: &str) -> Error {
        Error::input(format!(
            "the pickle holds {what} at byte {}; the file is damaged or not a state dict",
            self.at
        ))
    }
}

/// The number in up to 8 bytes.
pub(super) fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
