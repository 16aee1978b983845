//! Any TorchScript segmentation network: what it was trained with does not matter, as long as it takes normalised
//! images and returns logits.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::model::precision::Compute;
use crate::torch::FrozenModule;

/// Sides of the picture that a network is tried with: odd ones first, for those that take any.
const PROBES: [(i64, [i64; 2]); 2] = [(1, [75, 101]), (32, [96, 128])];

/// A TorchScript module that was tried.
#[derive(Debug)]
pub(super) struct Scripted {
    module: FrozenModule,
    kind: Kind,
    device: Device,
    /// Sides that the network takes are multiples of this.
    multiple: i64,
    /// How many classes it tells apart.
    pub(super) classes: i64,
}

impl Scripted {
    /// Loads a file and tries it, so that a file that is no such network is told now.
    pub(super) fn load(path: &Path, device: Device, compute: Compute) -> Result<Self> {
        let kind = compute.kind();
        let module = FrozenModule::load(path, device, kind)?;
        let mut scripted = Self { module, kind, device, multiple: 1, classes: 0 };
        let mut refusal = None;
        for (multiple, [height, width]) in PROBES {
            let probe = Tensor::f_zeros([1, height, width, 3], (Kind::Float, device))?
                .f_permute([0, 3, 1, 2])?;
            match tch::no_grad(|| scripted.run(&probe)) {
                Ok(logits) => {
                    scripted.multiple = multiple;
                    scripted.classes = checked(&logits)?;
                    return Ok(scripted);
                }
                // The first says why, the later ones may only repeat it.
                Err(error) => _ = refusal.get_or_insert(error),
            }
        }
        let said = refusal.map(|error| error.to_string()).unwrap_or_default();
        let first: String = said.lines().next().unwrap_or_default().chars().take(300).collect();
        Err(Error::input(format!(
            "is not a segmentation network as expected: given a normalised image as f32 [1, 3, \
             height, width] it must return logits [1, classes, height, width] or a dictionary with \
             them as \"out\"; it says: {first}"
        )))
    }

    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// Logits `[batch, classes, height, width]` in 32 bits for normalised images; height and width of the result are
    /// the network's affair.
    pub(super) fn logits(&self, input: &Tensor) -> Result<Tensor> {
        let size = input.size();
        let to = |side: i64| (side + self.multiple - 1) / self.multiple * self.multiple;
        let (height, width) = (to(size[2]), to(size[3]));
        if (height, width) == (size[2], size[3]) {
            return self.run(input);
        }
        // Filled up with the mean colour at the right and at the bottom, and cut off again.
        let padded = input.f_constant_pad_nd([0, width - size[3], 0, height - size[2]])?;
        let logits = self.run(&padded)?;
        let grid = logits.size();
        let share = |cells: i64, side: i64, full: i64| (cells * side + full - 1) / full;
        Ok(logits.f_narrow(2, 0, share(grid[2], size[2], height))?.f_narrow(
            3,
            0,
            share(grid[3], size[3], width),
        )?)
    }

    fn run(&self, input: &Tensor) -> Result<Tensor> {
        Ok(self.module.forward(&input.f_to_kind(self.kind)?)?.f_to_kind(Kind::Float)?)
    }
}

/// The classes of what a network answered about one image.
fn checked(logits: &Tensor) -> Result<i64> {
    match logits.size()[..] {
        [1, classes @ 2..=254, height, width] if height > 0 && width > 0 => Ok(classes),
        ref other => Err(Error::input(format!(
            "is not a segmentation network as expected: for one image it returns {other:?}; \
             allowed: logits [1, classes, height, width] with 2 to 254 classes"
        ))),
    }
}
