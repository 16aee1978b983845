//! The allow-list: what a pickle may name, and what calling it makes.

use safetensors::Dtype;

use super::value::{Arena, Storage, Tensor, Value};
use super::{ADVICE, view};
use crate::error::{Error, Result};

/// Something that a pickle may name. None of it runs: each stands for data that is built here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Global {
    /// `collections.OrderedDict`: a state dict.
    OrderedDict,
    /// `argparse.Namespace`: the settings that torchvision's training script saves beside the weights;
    /// their content is not looked at.
    Namespace,
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`: a view of a storage.
    Tensor,
    /// `torch._utils._rebuild_parameter`: a tensor that is learned.
    Parameter,
    /// `torch.FloatStorage` and its kin: the type of a storage's elements.
    Storage(Dtype),
}

/// The entry of the allow-list; what is not on it is an error that names it.
pub(super) fn find(module: &str, name: &str) -> Result<Global> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("argparse", "Namespace") => Global::Namespace,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::Tensor,
        ("torch._utils", "_rebuild_parameter") => Global::Parameter,
        ("torch" | "torch.cuda", storage) if dtype(storage).is_some() => {
            Global::Storage(dtype(storage).unwrap_or(Dtype::F32))
        }
        _ => {
            let name: String = format!("{module}.{name}").chars().take(100).collect();
            return Err(Error::input(format!(
                "the file wants to run {name}, which weights do not need and which may be harmful: \
                 nothing was run; {ADVICE}"
            )));
        }
    })
}

fn dtype(storage: &str) -> Option<Dtype> {
    Some(match storage {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

/// What `callable(*arguments)` makes.
pub(super) fn call<'a>(
    arena: &mut Arena<'a>,
    callable: Value<'a>,
    arguments: &[Value<'a>],
) -> Result<Value<'a>> {
    match (callable, arguments) {
        (Value::Global(Global::OrderedDict), []) => Ok(arena.dict(Vec::new())),
        // Python 2's way: a list of pairs.
        (Value::Global(Global::OrderedDict), [list]) => {
            let pairs = arena.items(*list).ok_or_else(|| odd("OrderedDict of no list"))?;
            let pairs = pairs.iter().map(|pair| match arena.items(*pair) {
                Some([key, value]) => Ok((*key, *value)),
                _ => Err(odd("OrderedDict of a list of other things than pairs")),
            });
            let pairs = pairs.collect::<Result<_>>()?;
            Ok(arena.dict(pairs))
        }
        (Value::Global(Global::Namespace), _) => Ok(Value::Inert),
        (Value::Global(Global::Parameter), [tensor @ Value::Tensor(_), ..]) => Ok(*tensor),
        (Value::Global(Global::Tensor), [Value::Storage(storage), offset, shape, strides, ..]) => {
            let tensor = tensor(arena, *storage, [*offset, *shape, *strides])?;
            Ok(arena.tensor(tensor))
        }
        (Value::Global(global), _) => Err(odd(&format!("{global:?} of unknown arguments"))),
        _ => Err(odd("a call of something that cannot be called")),
    }
}

fn tensor<'a>(
    arena: &Arena<'a>,
    storage: Storage<'a>,
    [offset, shape, strides]: [Value<'a>; 3],
) -> Result<Tensor<'a>> {
    let number = |value: &Value<'_>| match value {
        Value::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    };
    let numbers = |value| {
        let items = arena.items(value).filter(|items| items.len() <= view::MAX_DIMENSIONS)?;
        items.iter().map(number).collect::<Option<Vec<usize>>>()
    };
    match (number(&offset), numbers(shape), numbers(strides)) {
        (Some(offset), Some(shape), Some(strides)) if shape.len() == strides.len() => {
            Ok(Tensor { storage, offset, shape, strides })
        }
        _ => Err(odd("a tensor whose offset, shape or strides are not numbers from 0")),
    }
}

fn odd(what: &str) -> Error {
    Error::input(format!("the pickle holds {what}; the file is damaged or not a state dict"))
}
