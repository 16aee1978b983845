//! Finds the layer after which no other reads a value, so that its memory can be freed or reused.

use super::fuse::FusedNode;
use crate::model::graph::ValueId;

/// Last readers of the values of a network.
#[derive(Debug)]
pub(super) struct Liveness {
    /// Index of the node that reads each value last; `None` for a value without readers, and for
    /// the network's output.
    last_readers: Vec<Option<usize>>,
}

impl Liveness {
    /// Reads nodes in the order in which they are computed.
    pub(super) fn new(nodes: &[FusedNode], value_count: usize, output: ValueId) -> Self {
        let mut last_readers = vec![None; value_count];
        for (index, node) in nodes.iter().enumerate() {
            for &input in &node.inputs {
                last_readers[input] = Some(index);
            }
        }
        last_readers[output] = None;
        Self { last_readers }
    }

    pub(super) fn value_count(&self) -> usize {
        self.last_readers.len()
    }

    /// Returns true if the node at this index is the last that reads the value.
    pub(super) fn is_last_reader(&self, index: usize, value: ValueId) -> bool {
        self.last_readers[value] == Some(index)
    }

    /// Lists the values to free after each of `node_count` nodes.
    pub(super) fn values_to_free(&self, node_count: usize) -> Vec<Vec<ValueId>> {
        let mut values_to_free = vec![Vec::new(); node_count];
        for (value, last_reader) in self.last_readers.iter().enumerate() {
            if let Some(last_reader) = last_reader {
                values_to_free[*last_reader].push(value);
            }
        }
        values_to_free
    }
}
