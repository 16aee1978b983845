//! Any TorchScript segmentation network: what it was trained with does not matter, as long as it takes normalized
//! images and returns logits.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::model::precision::ComputePrecision;
use crate::torch::FrozenModule;

/// Sides of the picture that a network is tried with: odd ones first, for those that take any.
const PROBE_SIZES: [(i64, [i64; 2]); 2] = [(1, [75, 101]), (32, [96, 128])];

/// A TorchScript module that was tried.
#[derive(Debug)]
pub(super) struct TorchScriptNetwork {
    module: FrozenModule,
    kind: Kind,
    device: Device,
    /// Sides that the network takes are multiples of this.
    size_multiple: i64,
    /// How many classes it tells apart.
    pub(super) num_classes: i64,
}

impl TorchScriptNetwork {
    /// Loads a file and tries it, so that a file that is no such network is told now.
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
                // The first says why, the later ones may only repeat it.
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        let message = first_error.map(|error| error.to_string()).unwrap_or_default();
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

    /// Logits `[batch, classes, height, width]` in 32 bits for normalized images; height and width of the result are
    /// the network's affair.
    pub(super) fn logits(&self, input: &Tensor) -> Result<Tensor> {
        let size = input.size();
        let round_up =
            |side: i64| (side + self.size_multiple - 1) / self.size_multiple * self.size_multiple;
        let (height, width) = (round_up(size[2]), round_up(size[3]));
        if (height, width) == (size[2], size[3]) {
            return self.forward(input);
        }
        // Filled up with the mean color at the right and at the bottom, and cut off again.
        let padded = input.f_constant_pad_nd([0, width - size[3], 0, height - size[2]])?;
        let logits = self.forward(&padded)?;
        let grid = logits.size();
        let covered_cells = |cells: i64, side: i64, full: i64| (cells * side + full - 1) / full;
        Ok(logits.f_narrow(2, 0, covered_cells(grid[2], size[2], height))?.f_narrow(
            3,
            0,
            covered_cells(grid[3], size[3], width),
        )?)
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        Ok(self.module.forward(&input.f_to_kind(self.kind)?)?.f_to_kind(Kind::Float)?)
    }
}

/// The classes of what a network answered about one image.
fn check_output_shape(logits: &Tensor) -> Result<i64> {
    match logits.size()[..] {
        [1, classes @ 2..=254, height, width] if height > 0 && width > 0 => Ok(classes),
        ref other => Err(Error::input(format!(
            "is not a segmentation network as expected: for one image it returns {other:?}; \
             allowed: logits [1, classes, height, width] with 2 to 254 classes"
        ))),
    }
}
