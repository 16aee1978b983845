//! Groups the layers of a network into passes: BatchNorm is folded into the convolution before it,
//! and ReLU and the sum with a shortcut are computed while the convolution's results are still in
//! registers or caches.

use crate::model::graph::{Conv, Graph, Op, ValueId};

/// One pass of the fused network, which computes one value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FusedNode {
    pub(super) op: FusedOp,
    /// Values that the pass reads. For a convolution with a sum, the second is the addend.
    pub(super) inputs: Vec<ValueId>,
    /// Value that the pass computes: that of the last node that it replaces.
    pub(super) output: ValueId,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum FusedOp {
    /// A convolution with the nodes that follow it.
    Conv {
        conv: Conv,
        /// Name of the BatchNorm that is folded in.
        norm: Option<String>,
        /// True if the second input is added.
        add: bool,
        relu: bool,
    },
    /// Any other operation, as in the graph.
    Unfused(Op),
}

impl FusedNode {
    /// Returns the number of elements of the weight.
    pub(super) fn weight_elements(&self) -> i64 {
        match &self.op {
            FusedOp::Conv { conv, .. } => {
                conv.in_channels * conv.out_channels * conv.kernel * conv.kernel
            }
            FusedOp::Unfused(_) => 0,
        }
    }
}

/// Returns the passes that compute `output`, in an order in which each comes after its inputs.
pub(super) fn fuse_graph(graph: &Graph, output: ValueId) -> Vec<FusedNode> {
    let last_uses = graph.last_uses(&[output]);
    let mut reader_counts = vec![0; graph.nodes.len()];
    reader_counts[output] += 1;
    for (node, last_use) in graph.nodes.iter().zip(&last_uses) {
        if last_use.is_some() {
            for &input in &node.inputs {
                reader_counts[input] += 1;
            }
        }
    }
    let matcher = FusionMatcher { graph, reader_counts };
    let mut is_fused = vec![false; graph.nodes.len()];
    let mut nodes = Vec::new();
    // The loop runs from the end, because the last node of a pass must be met before the nodes that
    // it absorbs.
    for value in (1..graph.nodes.len()).rev() {
        if last_uses[value].is_none() || is_fused[value] || matcher.is_dropout(value) {
            continue;
        }
        let (op, mut inputs, inner_nodes) = matcher.match_ending_at(value);
        for inner in inner_nodes {
            is_fused[inner] = true;
        }
        for input in &mut inputs {
            *input = matcher.skip_dropouts(*input);
        }
        nodes.push(FusedNode { op, inputs, output: value });
    }
    nodes.reverse();
    nodes
}

struct FusionMatcher<'a> {
    graph: &'a Graph,
    /// Number of nodes that read each value.
    reader_counts: Vec<usize>,
}

impl FusionMatcher<'_> {
    fn op(&self, value: ValueId) -> &Op {
        &self.graph.nodes[value].op
    }

    fn input(&self, value: ValueId) -> ValueId {
        self.graph.nodes[value].inputs[0]
    }

    fn is_dropout(&self, value: ValueId) -> bool {
        matches!(self.op(value), Op::Dropout { .. })
    }

    /// Returns the value itself, or the input of a dropout, which does nothing in inference.
    fn skip_dropouts(&self, mut value: ValueId) -> ValueId {
        while self.is_dropout(value) {
            value = self.input(value);
        }
        value
    }

    /// Returns the pass that ends with `value`: its operation, the values that it reads, and the
    /// nodes inside it.
    fn match_ending_at(&self, value: ValueId) -> (FusedOp, Vec<ValueId>, Vec<ValueId>) {
        let mut walk = PassWalk { matcher: self, current: value, inner_nodes: Vec::new() };
        let relu = *self.op(value) == Op::Relu && walk.step_back();
        let mut shortcut = None;
        if *self.op(walk.current) == Op::Add {
            let addend = self.graph.nodes[walk.current].inputs[1];
            if addend != 0 && walk.step_back() {
                shortcut = Some(addend);
            }
        }
        let mut norm = None;
        if let Op::BatchNorm { name, .. } = self.op(walk.current)
            && walk.step_back()
        {
            norm = Some(name.clone());
        }
        if let Op::Conv(conv) = self.op(walk.current) {
            let mut inputs = vec![self.input(walk.current)];
            inputs.extend(shortcut);
            let op = FusedOp::Conv { conv: conv.clone(), norm, add: shortcut.is_some(), relu };
            (op, inputs, walk.inner_nodes)
        } else {
            let node = &self.graph.nodes[value];
            (FusedOp::Unfused(node.op.clone()), node.inputs.clone(), Vec::new())
        }
    }
}

/// Walk from the last node of a pass toward its inputs.
struct PassWalk<'a> {
    matcher: &'a FusionMatcher<'a>,
    current: ValueId,
    /// Nodes on the way that belong to the pass, without its last node.
    inner_nodes: Vec<ValueId>,
}

impl PassWalk<'_> {
    /// Steps to the first input of the current node and returns true, unless another node reads
    /// that input too.
    fn step_back(&mut self) -> bool {
        let next = self.matcher.input(self.current);
        let is_only_reader = self.matcher.reader_counts[next] == 1;
        if is_only_reader {
            self.inner_nodes.push(next);
            self.current = next;
        }
        is_only_reader
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;
    use crate::model::network::build_graph;
    use crate::model::{Algorithm, Backbone};

    #[test]
    fn nothing_is_left_of_normalization_and_of_dropout_in_any_network() {
        for algorithm in [Algorithm::Fcn, Algorithm::Psp, Algorithm::Deeplab] {
            for backbone in [Backbone::Resnet18, Backbone::Resnet50] {
                let graph = build_graph(Architecture { algorithm, backbone }, 3);
                let steps = fuse_graph(&graph, graph.out);
                assert_eq!(steps.last().unwrap().output, graph.out);
                let mut computed = vec![0];
                for FusedNode { op: work, inputs, output } in &steps {
                    assert!(inputs.iter().all(|input| computed.contains(input)), "{work:?}");
                    computed.push(*output);
                    assert!(
                        !matches!(
                            work,
                            FusedOp::Unfused(
                                Op::BatchNorm { .. } | Op::Dropout { .. } | Op::Relu | Op::Add
                            )
                        ),
                        "{work:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_resnet_is_its_convolutions_a_pooling_and_a_resize() {
        let fcn50 = Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet50 };
        let graph = build_graph(fcn50, 3);
        let steps = fuse_graph(&graph, graph.out);
        let plain: Vec<&FusedOp> = steps
            .iter()
            .map(|step| &step.op)
            .filter(|work| matches!(work, FusedOp::Unfused(_)))
            .collect();
        assert!(
            matches!(
                plain[..],
                [FusedOp::Unfused(Op::MaxPool { .. }), FusedOp::Unfused(Op::ResizeLike)]
            ),
            "{plain:?}"
        );
        let sums = steps.iter().filter(|s| matches!(s.op, FusedOp::Conv { add: true, .. }));
        assert_eq!((steps.len(), sums.count()), (55 + 2, 16));
    }
}
