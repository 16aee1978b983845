//! The allow-list: the names that a pickle may use, and the values that calling them makes.

use safetensors::Dtype;

use super::value::{Arena, PickleValue, StorageRef, StridedTensor};
use super::{SAVE_WEIGHTS_ADVICE, view};
use crate::error::{Error, Result};

/// A callable or type that a pickle may name. None of it runs: each stands for data that is built
/// here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PickleGlobal {
    /// `collections.OrderedDict`, which holds a state dict.
    OrderedDict,
    /// Settings, paths, numbers and the like, which training programs save beside the weights, such
    /// as torchvision's `argparse.Namespace`. Their content is not read.
    Ignored,
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`, which make a view of a storage.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`, which marks a tensor as learned.
    RebuildParameter,
    /// `torch.FloatStorage` and the like, which stand for the type of a storage's elements.
    StorageType(Dtype),
}

/// Returns the entry of the allow-list. The error for other names quotes the name.
pub(super) fn find_global(module: &str, name: &str) -> Result<PickleGlobal> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => PickleGlobal::OrderedDict,
        (module, name) if is_ignored(module, name) => PickleGlobal::Ignored,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => PickleGlobal::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => PickleGlobal::RebuildParameter,
        ("torch" | "torch.cuda", storage) if storage_dtype(storage).is_some() => {
            PickleGlobal::StorageType(storage_dtype(storage).unwrap_or(Dtype::F32))
        }
        _ => {
            let name: String = format!("{module}.{name}").chars().take(100).collect();
            return Err(Error::input(format!(
                "the file wants to run {name}, which weights do not need and which may be harmful: \
                 nothing was run; {SAVE_WEIGHTS_ADVICE}"
            )));
        }
    })
}

/// Returns true for types of data beside the weights, of which nothing is read.
fn is_ignored(module: &str, name: &str) -> bool {
    matches!(
        (module, name),
        ("argparse", "Namespace")
            | ("collections", "defaultdict" | "deque" | "Counter")
            | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct")
            | ("numpy", "dtype" | "ndarray")
            | ("_codecs", "encode")
            | ("torch", "Size" | "device")
            | ("pathlib", "Path" | "PosixPath" | "WindowsPath" | "PurePosixPath")
            | ("__builtin__" | "builtins", "set" | "frozenset" | "list" | "dict" | "complex")
            | (
                "pytorch_lightning.utilities.parsing"
                    | "lightning_fabric.utilities.data"
                    | "lightning.fabric.utilities.data",
                "AttributeDict"
            )
    )
}

fn storage_dtype(storage: &str) -> Option<Dtype> {
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

/// Returns the value of `callable(*arguments)`.
pub(super) fn call_global<'a>(
    arena: &mut Arena<'a>,
    callable: PickleValue<'a>,
    arguments: &[PickleValue<'a>],
) -> Result<PickleValue<'a>> {
    match (callable, arguments) {
        (PickleValue::Global(PickleGlobal::OrderedDict), []) => Ok(arena.add_dict(Vec::new())),
        // Python 2 passes a list of pairs.
        (PickleValue::Global(PickleGlobal::OrderedDict), [list]) => {
            let Some(items) = arena.items(*list) else {
                return Err(unexpected_pickle_error("OrderedDict of no list"));
            };
            let mut pairs = Vec::with_capacity(items.len());
            for item in items {
                let Some([key, value]) = arena.items(*item) else {
                    let found = "OrderedDict of a list of other things than pairs";
                    return Err(unexpected_pickle_error(found));
                };
                pairs.push((*key, *value));
            }
            Ok(arena.add_dict(pairs))
        }
        (PickleValue::Global(PickleGlobal::Ignored), _) => Ok(PickleValue::Ignored),
        (
            PickleValue::Global(PickleGlobal::RebuildParameter),
            [tensor @ PickleValue::Tensor(_), ..],
        ) => Ok(*tensor),
        (
            PickleValue::Global(PickleGlobal::RebuildTensor),
            [PickleValue::Storage(storage), offset, shape, strides, ..],
        ) => {
            let tensor = rebuild_tensor(arena, *storage, *offset, *shape, *strides)?;
            Ok(arena.add_tensor(tensor))
        }
        (PickleValue::Global(global), _) => {
            Err(unexpected_pickle_error(&format!("{global:?} of unknown arguments")))
        }
        _ => Err(unexpected_pickle_error("a call of something that cannot be called")),
    }
}

fn rebuild_tensor<'a>(
    arena: &Arena<'a>,
    storage: StorageRef<'a>,
    offset: PickleValue<'a>,
    shape: PickleValue<'a>,
    strides: PickleValue<'a>,
) -> Result<StridedTensor<'a>> {
    match (to_usize(offset), to_usizes(arena, shape), to_usizes(arena, strides)) {
        (Some(offset), Some(shape), Some(strides)) if shape.len() == strides.len() => {
            Ok(StridedTensor { storage, offset, shape, strides })
        }
        _ => Err(unexpected_pickle_error(
            "a tensor whose offset, shape or strides are not numbers from 0",
        )),
    }
}

fn to_usize(value: PickleValue<'_>) -> Option<usize> {
    match value {
        PickleValue::Int(number) => usize::try_from(number).ok(),
        _ => None,
    }
}

/// Returns the numbers of a tuple or list with at most [`view::MAX_DIMENSIONS`] items.
fn to_usizes<'a>(arena: &Arena<'a>, value: PickleValue<'a>) -> Option<Vec<usize>> {
    let items = arena.items(value)?;
    if items.len() > view::MAX_DIMENSIONS {
        return None;
    }
    items.iter().copied().map(to_usize).collect()
}

fn unexpected_pickle_error(found: &str) -> Error {
    Error::input(format!("the pickle holds {found}; the file is damaged or not a state dict"))
}
