//! The ONNX interpreter of a [`Graph`]: a file for ONNX Runtime and whatever else reads ONNX.
//!
//! One input, `input`: normalized images `[batch, 3, height, width]` of any size; one output, `out`:
//! logits `[batch, classes, height, width]`. Operator set 17.

mod pool;
mod proto;

use std::collections::HashSet;
use std::path::Path;

use prost::Message;

use self::proto::{
    AttributeProto, DATA_TYPE_FLOAT, DATA_TYPE_INT64, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, ValueInfoProto,
};
use super::graph::{Conv, Graph, Op, ValueId};
use super::weights::{Weights, tensor_bytes};
use crate::error::{Error, Result};
use crate::files::write_atomically;

/// The newest version that onnxruntime 1.12 and later read.
const IR_VERSION: i64 = 8;
/// The operators' meaning; `Resize` and `Shape` with a range are in it.
const OPSET_VERSION: i64 = 17;

/// Writes the network in evaluation mode, without its auxiliary head; the file is whole or absent.
/// `metadata` are names and texts for whoever uses it.
pub fn write_onnx(
    path: &Path,
    graph: &Graph,
    weights: &Weights,
    metadata: &[(&str, String)],
) -> Result<()> {
    let classes = graph.classifier().map(|conv| conv.out_channels);
    let classes = classes.ok_or_else(|| Error::internal("the graph has no classifier"))?;
    let graph = GraphWriter::new(weights).into_graph_proto(graph, classes)?;
    let entry = |(key, value): &(&str, String)| StringStringEntryProto {
        key: (*key).to_owned(),
        value: value.clone(),
    };
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "maskmaker".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: OPSET_VERSION,
        }],
        metadata_props: metadata.iter().map(entry).collect(),
    };
    write_atomically(path, &model.encode_to_vec())
}

/// Nodes and tensors as they come.
#[derive(Debug)]
struct GraphWriter<'a> {
    weights: &'a Weights,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    /// Names of the tensors that are there.
    written_names: HashSet<String>,
}

impl<'a> GraphWriter<'a> {
    fn new(weights: &'a Weights) -> Self {
        Self { weights, nodes: Vec::new(), tensors: Vec::new(), written_names: HashSet::new() }
    }

    fn into_graph_proto(mut self, graph: &Graph, classes: i64) -> Result<GraphProto> {
        let last_uses = graph.last_uses(&[graph.out]);
        // The name of each node's value.
        let mut names: Vec<String> = Vec::with_capacity(graph.nodes.len());
        for (index, node) in graph.nodes.iter().enumerate() {
            let name = match &node.op {
                Op::Input => "input".to_owned(),
                _ if last_uses[index].is_none() => String::new(),
                // Nothing is dropped in evaluation.
                Op::Dropout { .. } => input_name(&names, &node.inputs, 0)?.to_owned(),
                op => {
                    let inputs: Result<Vec<&str>> = (0..node.inputs.len())
                        .map(|at| input_name(&names, &node.inputs, at))
                        .collect();
                    let name =
                        if index == graph.out { "out".to_owned() } else { format!("v{index}") };
                    self.add_operation(op, &inputs?, &name)?;
                    name
                }
            };
            names.push(name);
        }
        let make_shape = |channels| [Err("batch"), Ok(channels), Err("height"), Err("width")];
        Ok(GraphProto {
            node: self.nodes,
            name: "segmentation".to_owned(),
            initializer: self.tensors,
            input: vec![ValueInfoProto::float_tensor("input", &make_shape(3))],
            output: vec![ValueInfoProto::float_tensor("out", &make_shape(classes))],
        })
    }

    fn add_operation(&mut self, op: &Op, inputs: &[&str], name: &str) -> Result<()> {
        let x = inputs.first().copied().unwrap_or_default();
        match op {
            Op::Conv(conv) => self.add_convolution(conv, x, name)?,
            Op::BatchNorm { name: module, .. } => {
                let mut inputs = vec![x.to_owned()];
                for leaf in ["weight", "bias", "running_mean", "running_var"] {
                    inputs.push(self.add_weight(module, leaf)?);
                }
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                self.add_node(
                    "BatchNormalization",
                    &inputs,
                    name,
                    &[AttributeProto::float("epsilon", 1e-5)],
                );
            }
            Op::Relu => self.add_node("Relu", &[x], name, &[]),
            &Op::MaxPool { kernel, stride, padding } => {
                let attributes = [
                    AttributeProto::ints("kernel_shape", &[kernel; 2]),
                    AttributeProto::ints("strides", &[stride; 2]),
                    AttributeProto::ints("pads", &[padding; 4]),
                ];
                self.add_node("MaxPool", &[x], name, &attributes);
            }
            Op::Add => self.add_node("Add", inputs, name, &[]),
            Op::AdaptiveAvgPool { side: 1 } => self.add_node("GlobalAveragePool", &[x], name, &[]),
            &Op::AdaptiveAvgPool { side } => self.add_adaptive_average_pool(side, x, name),
            Op::Concat => self.add_node("Concat", inputs, name, &[AttributeProto::int("axis", 1)]),
            Op::ResizeLike => self.add_resize(x, inputs.get(1).copied().unwrap_or_default(), name),
            Op::Input | Op::Dropout { .. } => {}
        }
        Ok(())
    }

    fn add_convolution(&mut self, conv: &Conv, x: &str, name: &str) -> Result<()> {
        let mut inputs = vec![x.to_owned(), self.add_weight(&conv.name, "weight")?];
        if conv.bias {
            inputs.push(self.add_weight(&conv.name, "bias")?);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let attributes = [
            AttributeProto::ints("kernel_shape", &[conv.kernel; 2]),
            AttributeProto::ints("strides", &[conv.stride; 2]),
            AttributeProto::ints("pads", &[conv.padding(); 4]),
            AttributeProto::ints("dilations", &[conv.dilation; 2]),
        ];
        self.add_node("Conv", &inputs, name, &attributes);
        Ok(())
    }

    /// Bilinear to the height and width of another value; batch and channels stay.
    fn add_resize(&mut self, x: &str, like: &str, name: &str) {
        let [batch_and_channels, height_and_width, sizes] =
            ["own", "wanted", "sizes"].map(|part| format!("{name}.{part}"));
        self.add_node("Shape", &[x], &batch_and_channels, &[AttributeProto::int("end", 2)]);
        self.add_node("Shape", &[like], &height_and_width, &[AttributeProto::int("start", 2)]);
        self.add_node(
            "Concat",
            &[&batch_and_channels, &height_and_width],
            &sizes,
            &[AttributeProto::int("axis", 0)],
        );
        let attributes = [
            AttributeProto::string("mode", "linear"),
            AttributeProto::string("coordinate_transformation_mode", "half_pixel"),
        ];
        // The empty names stand for inputs that are not given: a region, and factors.
        self.add_node("Resize", &[x, "", "", &sizes], name, &attributes);
    }

    fn add_node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: &[AttributeProto]) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: op.to_owned(),
            attribute: attributes.to_vec(),
        });
    }

    /// A tensor of the network, under its own name.
    fn add_weight(&mut self, module: &str, leaf: &str) -> Result<String> {
        let name = format!("{module}.{leaf}");
        let tensor = self.weights.get(module, leaf)?;
        if self.written_names.insert(name.clone()) {
            let (dims, raw_data) = (tensor.size(), Some(tensor_bytes(tensor)?));
            self.tensors.push(TensorProto {
                dims,
                data_type: DATA_TYPE_FLOAT,
                name: name.clone(),
                raw_data,
            });
        }
        Ok(name)
    }

    /// A constant of integers.
    fn add_integers(&mut self, name: &str, dims: &[i64], values: &[i64]) {
        if self.written_names.insert(name.to_owned()) {
            self.tensors.push(TensorProto {
                dims: dims.to_vec(),
                data_type: DATA_TYPE_INT64,
                name: name.to_owned(),
                raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            });
        }
    }
}

/// The name of the value that a node reads at a place.
fn input_name<'n>(names: &'n [String], inputs: &[ValueId], position: usize) -> Result<&'n str> {
    let name = inputs.get(position).and_then(|&input| names.get(input));
    let name = name.filter(|name| !name.is_empty());
    name.map(String::as_str)
        .ok_or_else(|| Error::internal("a node reads a value that is not there"))
}

#[cfg(test)]
mod tests;
