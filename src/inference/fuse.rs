//! Which layers of a network are computed in one pass: BatchNorm is folded into the convolution before it, and
//! ReLU and the sum with a shortcut are done while the convolution's results are still at hand.

use crate::model::graph::{Conv, Graph, Op, Value};

/// One pass over its inputs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// What is computed.
    pub(super) work: Work,
    /// From which values; of a convolution with a sum the second is what it is added to.
    pub(super) inputs: Vec<Value>,
    /// Which value it is: the last of the nodes that it stands for.
    pub(super) output: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Work {
    /// A convolution with what follows it.
    Conv {
        conv: Conv,
        /// The BatchNorm that is folded in.
        norm: Option<String>,
        /// Whether the second input is added.
        sum: bool,
        relu: bool,
    },
    /// Anything else, as the graph has it.
    Plain(Op),
}

impl Step {
    /// Elements of its weight.
    pub(super) fn weight(&self) -> i64 {
        match &self.work {
            Work::Conv { conv, .. } => conv.input * conv.output * conv.kernel * conv.kernel,
            Work::Plain(_) => 0,
        }
    }
}

/// The passes that give `wanted`, in an order in which each comes after its inputs.
pub(super) fn fuse(graph: &Graph, wanted: Value) -> Vec<Step> {
    let last_uses = graph.last_uses(&[wanted]);
    let needed: Vec<bool> = last_uses.iter().map(Option::is_some).collect();
    let mut readers = vec![0; graph.nodes.len()];
    readers[wanted] += 1;
    for (node, _) in graph.nodes.iter().zip(&needed).filter(|(_, needed)| **needed) {
        node.inputs.iter().for_each(|&input| readers[input] += 1);
    }
    let matcher = Matcher { graph, readers };
    let mut swallowed = vec![false; graph.nodes.len()];
    let mut steps = Vec::new();
    // From the end: the last node of a pass is met before those that it swallows.
    for value in (1..graph.nodes.len()).rev().filter(|&value| needed[value]) {
        if swallowed[value] || matcher.is_dropout(value) {
            continue;
        }
        let (work, inputs, inner) = matcher.pass(value);
        for value in inner {
            swallowed[value] = true;
        }
        let inputs = inputs.into_iter().map(|input| matcher.source(input)).collect();
        steps.push(Step { work, inputs, output: value });
    }
    steps.reverse();
    steps
}

struct Matcher<'a> {
    graph: &'a Graph,
    /// How many nodes read each value.
    readers: Vec<usize>,
}

impl Matcher<'_> {
    fn op(&self, value: Value) -> &Op {
        &self.graph.nodes[value].op
    }

    fn input(&self, value: Value) -> Value {
        self.graph.nodes[value].inputs[0]
    }

    fn is_dropout(&self, value: Value) -> bool {
        matches!(self.op(value), Op::Dropout { .. })
    }

    /// The value itself, or what a dropout, which does nothing in inference, would pass on.
    fn source(&self, mut value: Value) -> Value {
        while self.is_dropout(value) {
            value = self.input(value);
        }
        value
    }

    /// The pass that ends with `value`: its work, what it reads, and the nodes inside it.
    fn pass(&self, value: Value) -> (Work, Vec<Value>, Vec<Value>) {
        let mut inner = Vec::new();
        let mut at = value;
        // One node further in, if nobody else reads it.
        let mut step_in = |at: &mut Value| {
            let next = self.input(*at);
            let alone = self.readers[next] == 1;
            if alone {
                inner.push(next);
                *at = next;
            }
            alone
        };
        let relu = *self.op(at) == Op::Relu && step_in(&mut at);
        let mut shortcut = None;
        if *self.op(at) == Op::Add {
            let added = self.graph.nodes[at].inputs[1];
            if added != 0 && step_in(&mut at) {
                shortcut = Some(added);
            }
        }
        let mut norm = None;
        if let Op::BatchNorm { name, .. } = self.op(at) {
            let name = name.clone();
            if step_in(&mut at) {
                norm = Some(name);
            }
        }
        if let Op::Conv(conv) = self.op(at) {
            let inputs = std::iter::once(self.input(at)).chain(shortcut).collect();
            let sum = shortcut.is_some();
            (Work::Conv { conv: conv.clone(), norm, sum, relu }, inputs, inner)
        } else {
            let node = &self.graph.nodes[value];
            (Work::Plain(node.op.clone()), node.inputs.clone(), Vec::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::network::graph;
    use crate::sagemaker::hyperparameters::{Algorithm, Backbone};

    #[test]
    fn nothing_is_left_of_normalisation_and_of_dropout_in_any_network() {
        for algorithm in [Algorithm::Fcn, Algorithm::Psp, Algorithm::Deeplab] {
            for backbone in [Backbone::Resnet18, Backbone::Resnet50] {
                let graph = graph(algorithm, backbone, 3);
                let steps = fuse(&graph, graph.out);
                assert_eq!(steps.last().unwrap().output, graph.out);
                let mut known = vec![0];
                for Step { work, inputs, output } in &steps {
                    assert!(inputs.iter().all(|input| known.contains(input)), "{work:?}");
                    known.push(*output);
                    assert!(
                        !matches!(
                            work,
                            Work::Plain(
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
        let graph = graph(Algorithm::Fcn, Backbone::Resnet50, 3);
        let steps = fuse(&graph, graph.out);
        let plain: Vec<&Work> = steps
            .iter()
            .map(|step| &step.work)
            .filter(|work| matches!(work, Work::Plain(_)))
            .collect();
        assert!(
            matches!(plain[..], [Work::Plain(Op::MaxPool { .. }), Work::Plain(Op::ResizeLike)]),
            "{plain:?}"
        );
        let sums = steps.iter().filter(|s| matches!(s.work, Work::Conv { sum: true, .. }));
        assert_eq!((steps.len(), sums.count()), (55 + 2, 16));
    }
}
