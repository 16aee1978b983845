//! Which layers of a network are computed in one pass: BatchNorm is folded into the convolution before it, and
//! ReLU and the sum with a shortcut are done while the convolution's results are still at hand.

use crate::model::graph::{Conv, Graph, Op, ValueId};

/// One pass over its inputs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FusedNode {
    /// What is computed.
    pub(super) op: FusedOp,
    /// From which values; of a convolution with a sum the second is what it is added to.
    pub(super) inputs: Vec<ValueId>,
    /// Which value it is: the last of the nodes that it stands for.
    pub(super) output: ValueId,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum FusedOp {
    /// A convolution with what follows it.
    Conv {
        conv: Conv,
        /// The BatchNorm that is folded in.
        norm: Option<String>,
        /// Whether the second input is added.
        add: bool,
        relu: bool,
    },
    /// Anything else, as the graph has it.
    Unfused(Op),
}

impl FusedNode {
    /// Elements of its weight.
    pub(super) fn weight_elements(&self) -> i64 {
        match &self.op {
            FusedOp::Conv { conv, .. } => {
                conv.in_channels * conv.out_channels * conv.kernel * conv.kernel
            }
            FusedOp::Unfused(_) => 0,
        }
    }
}

/// The passes that give `wanted`, in an order in which each comes after its inputs.
pub(super) fn fuse_graph(graph: &Graph, output: ValueId) -> Vec<FusedNode> {
    let last_uses = graph.last_uses(&[output]);
    let needed: Vec<bool> = last_uses.iter().map(Option::is_some).collect();
    let mut reader_counts = vec![0; graph.nodes.len()];
    reader_counts[output] += 1;
    for (node, _) in graph.nodes.iter().zip(&needed).filter(|(_, needed)| **needed) {
        node.inputs.iter().for_each(|&input| reader_counts[input] += 1);
    }
    let matcher = FusionMatcher { graph, reader_counts };
    let mut is_fused = vec![false; graph.nodes.len()];
    let mut steps = Vec::new();
    // From the end: the last node of a pass is met before those that it swallows.
    for value in (1..graph.nodes.len()).rev().filter(|&value| needed[value]) {
        if is_fused[value] || matcher.is_dropout(value) {
            continue;
        }
        let (op, inputs, inner_nodes) = matcher.match_ending_at(value);
        for value in inner_nodes {
            is_fused[value] = true;
        }
        let inputs = inputs.into_iter().map(|input| matcher.skip_dropouts(input)).collect();
        steps.push(FusedNode { op, inputs, output: value });
    }
    steps.reverse();
    steps
}

struct FusionMatcher<'a> {
    graph: &'a Graph,
    /// How many nodes read each value.
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

    /// The value itself, or what a dropout, which does nothing in inference, would pass on.
    fn skip_dropouts(&self, mut value: ValueId) -> ValueId {
        while self.is_dropout(value) {
            value = self.input(value);
        }
        value
    }

    /// The pass that ends with `value`: its work, what it reads, and the nodes inside it.
    fn match_ending_at(&self, value: ValueId) -> (FusedOp, Vec<ValueId>, Vec<ValueId>) {
        let mut inner_nodes = Vec::new();
        let mut current = value;
        // One node further in, if nobody else reads it.
        let mut step_back = |current: &mut ValueId| {
            let next = self.input(*current);
            let is_only_reader = self.reader_counts[next] == 1;
            if is_only_reader {
                inner_nodes.push(next);
                *current = next;
            }
            is_only_reader
        };
        let relu = *self.op(current) == Op::Relu && step_back(&mut current);
        let mut shortcut = None;
        if *self.op(current) == Op::Add {
            let addend = self.graph.nodes[current].inputs[1];
            if addend != 0 && step_back(&mut current) {
                shortcut = Some(addend);
            }
        }
        let mut norm = None;
        if let Op::BatchNorm { name, .. } = self.op(current) {
            let name = name.clone();
            if step_back(&mut current) {
                norm = Some(name);
            }
        }
        if let Op::Conv(conv) = self.op(current) {
            let inputs = std::iter::once(self.input(current)).chain(shortcut).collect();
            let add = shortcut.is_some();
            (FusedOp::Conv { conv: conv.clone(), norm, add, relu }, inputs, inner_nodes)
        } else {
            let node = &self.graph.nodes[value];
            (FusedOp::Unfused(node.op.clone()), node.inputs.clone(), Vec::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::network::build_graph;
    use crate::sagemaker::hyperparameters::{Algorithm, Backbone};

    #[test]
    fn nothing_is_left_of_normalization_and_of_dropout_in_any_network() {
        for algorithm in [Algorithm::Fcn, Algorithm::Psp, Algorithm::Deeplab] {
            for backbone in [Backbone::Resnet18, Backbone::Resnet50] {
                let graph = build_graph(algorithm, backbone, 3);
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
        let graph = build_graph(Algorithm::Fcn, Backbone::Resnet50, 3);
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
