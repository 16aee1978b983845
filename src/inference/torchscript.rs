//! Runs any TorchScript segmentation network that takes normalized images and returns logits,
//! whatever program trained it.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::model::precision::ComputePrecision;
use crate::torch::FrozenModule;

/// Multiple that the sides of an input must have, with height and width of a probe of such sides.
/// Odd sides come first, for networks that take any.
const PROBE_SIZES: [(i64, [i64; 2]); 2] = [(1, [75, 101]), (32, [96, 128])];

/// A TorchScript module that computed a probe.
#[derive(Debug)]
pub(super) struct TorchScriptNetwork {
    module: FrozenModule,
    kind: Kind,
    device: Device,
    /// Number that the sides of an input must be multiples of.
    size_multiple: i64,
    /// Number of classes.
    pub(super) num_classes: i64,
}

impl TorchScriptNetwork {
    /// Loads a file and runs a probe through it, so that a file that is no such network is refused
    /// now.
    pub(super) fn load(path: &Path, device: Device, precision: ComputePrecision) -> Result<Self> {
        let kind = precision.kind();
        let module = FrozenModule::load(path, device, kind)?;
        let mut network = Self { module, kind, device, size_multiple: 1, num_classes: 0 };
        let mut first_error = None;
        for (multiple, [height, width]) in PROBE_SIZES {
            let probe = Tensor::f_zeros([1, height, width, 3], (Kind::Float, device))?
                .f_permute([0, 3, 1, 2])?;
            match tch::no_grad(|| network.forward(&probe)) {
                Ok(logits) => {
                    network.size_multiple = multiple;
                    network.num_classes = check_output_shape(&logits)?;
                    return Ok(network);
                }
                // The first error names the reason; later ones may only repeat it.
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        let message = first_error.as_ref().map(Error::to_string).unwrap_or_default();
        let first: String = message.lines().next().unwrap_or_default().chars().take(300).collect();
        Err(Error::input(format!(
            "is not a segmentation network as expected: given a normalized image as f32 [1, 3, \
             height, width] it must return logits [1, classes, height, width] or a dictionary with \
             them as \"out\"; it says: {first}"
        )))
    }

    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// Returns logits `[batch, classes, height, width]` in 32 bits for normalized images. The
    /// network decides height and width of the result.
    pub(super) fn logits(&self, input: &Tensor) -> Result<Tensor> {
        let size = input.size();
        let multiple = self.size_multiple as u64;
        let height = (size[2] as u64).next_multiple_of(multiple) as i64;
        let width = (size[3] as u64).next_multiple_of(multiple) as i64;
        if (height, width) == (size[2], size[3]) {
            return self.forward(input);
        }
        // The image is padded at the right and at the bottom with zeros, which are the mean color,
        // and the cells of the padding are cut off.
        let padded = input.f_constant_pad_nd([0, width - size[3], 0, height - size[2]])?;
        let logits = self.forward(&padded)?;
        let grid = logits.size();
        let rows = covered_cells(grid[2], size[2], height);
        let columns = covered_cells(grid[3], size[3], width);
        Ok(logits.f_narrow(2, 0, rows)?.f_narrow(3, 0, columns)?)
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        Ok(self.module.forward(&input.f_to_kind(self.kind)?)?.f_to_kind(Kind::Float)?)
    }
}

/// Returns how many of the cells that cover `full` pixels cover the first `side` of them.
fn covered_cells(cells: i64, side: i64, full: i64) -> i64 {
    (cells * side + full - 1) / full
}

/// Returns the number of classes of the logits for one image, or an error if their shape is wrong.
fn check_output_shape(logits: &Tensor) -> Result<i64> {
    match logits.size()[..] {
        [1, classes @ 2..=254, height, width] if height > 0 && width > 0 => Ok(classes),
        ref other => Err(Error::input(format!(
            "is not a segmentation network as expected: for one image it returns {other:?}; \
             allowed: logits [1, classes, height, width] with 2 to 254 classes"
        ))),
    }
}
