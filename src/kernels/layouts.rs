//! Keeps a weight in each of oneDNN's layouts that the inputs so far asked for.
//!
//! oneDNN chooses a layout by the processor and the input's shape. Two or three layouts per weight
//! were seen. Reordering the weight at every call may take longer than all else that a small image
//! needs.
//!
//! Two layouts count as the same if the packed bytes are the same ([`packed_weights_equal`]).
//! libtorch exports no comparison of oneDNN's descriptions of layouts. Reading the descriptions by
//! byte offsets was tried: the padding between their fields holds arbitrary values, and a test that
//! held on one processor failed on another.

use std::collections::HashMap;

use tch::Tensor;

use super::tuning::MAX_INPUT_CLASSES;
use crate::error::{Error, Result};
use crate::torch::{Geometry, pack_weight, packed_weights_equal};

/// A weight in the layouts that the inputs so far asked for.
#[derive(Debug, Default)]
pub(super) struct PackedLayouts {
    /// Copies of the weight, one per layout; no two hold the same bytes.
    pub(super) packed_weights: Vec<Tensor>,
    /// Index into `packed_weights` by class of inputs.
    pub(super) layout_by_class: HashMap<InputClass, usize>,
}

/// Class of inputs that get the same layout: all inputs of one shape `[batch, channels, height,
/// width]`, or, as `None`, all large inputs.
pub(super) type InputClass = Option<[i64; 4]>;

impl PackedLayouts {
    /// Returns the weight in the layout for this class of inputs, and makes it for an input of this
    /// shape if it is missing.
    pub(super) fn weight_for(
        &mut self,
        geometry: Geometry,
        class: InputClass,
        input_shape: [i64; 4],
    ) -> Result<&Tensor> {
        let index = if let Some(&index) = self.layout_by_class.get(&class) {
            index
        } else {
            let unpacked = self.unpacked()?;
            self.add_layout(&unpacked, geometry, class, input_shape)?
        };
        self.packed_weights.get(index).ok_or_else(|| Error::internal("no layout was chosen"))
    }

    /// Packs a plain weight for an input of this shape, and keeps the result unless it equals a
    /// copy that is kept already. Returns the index of the kept copy.
    pub(super) fn add_layout(
        &mut self,
        unpacked: &Tensor,
        geometry: Geometry,
        class: InputClass,
        input_shape: [i64; 4],
    ) -> Result<usize> {
        let Self { packed_weights, layout_by_class } = self;
        let new_packed = pack_weight(unpacked, geometry, Some(&input_shape))?;
        let mut existing = None;
        for (index, weight) in packed_weights.iter().enumerate() {
            if packed_weights_equal(weight, &new_packed)? {
                existing = Some(index);
                break;
            }
        }
        let index = existing.unwrap_or(packed_weights.len());
        if existing.is_none() {
            packed_weights.push(new_packed);
        }
        if layout_by_class.len() == MAX_INPUT_CLASSES {
            layout_by_class.clear();
        }
        layout_by_class.insert(class, index);
        Ok(index)
    }

    /// Returns the weight in libtorch's own layout.
    pub(super) fn unpacked(&self) -> Result<Tensor> {
        let Some(first) = self.packed_weights.first() else {
            return Err(Error::internal("nothing was packed"));
        };
        Ok(first.f_to_dense(None, false)?)
    }
}
