//! The ONNX exporter of a [`Graph`], which writes a file for ONNX Runtime and other readers.
//!
//! The one input, `input`, takes normalized images `[batch, 3, height, width]` of any size. The one
//! output, `out`, is the logits `[batch, classes, height, width]`. The operator set is 17.

mod pool;
mod proto;

use std::collections::HashSet;
use std::path::Path;

use prost::Message;

use self::proto::{
    AttributeProto, DATA_TYPE_FLOAT, DATA_TYPE_INT64, Dimension, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, ValueInfoProto,
};
use super::graph::{Conv, Graph, Op, ValueId};
use super::weights::{Weights, tensor_bytes};
use crate::error::{Error, Result};
use crate::files::write_atomically;

/// Version of the file format; the newest that onnxruntime 1.12 and later read.
const IR_VERSION: i64 = 8;
/// Version of the operator set; 17 has `Resize` and `Shape` with a range.
const OPSET_VERSION: i64 = 17;

/// Writes the network in evaluation mode, without its auxiliary head. The file is whole or absent.
/// `metadata` are names and texts that the file carries.
pub fn write_onnx(
    path: &Path,
    graph: &Graph,
    weights: &Weights,
    metadata: &[(&str, String)],
) -> Result<()> {
    let Some(classifier) = graph.classifier() else {
        return Err(Error::internal("the graph has no classifier"));
    };
    let graph = GraphWriter::new(weights).into_graph_proto(graph, classifier.out_channels)?;
    let mut metadata_props = Vec::with_capacity(metadata.len());
    for (key, value) in metadata {
        let (key, value) = ((*key).to_owned(), value.clone());
        metadata_props.push(StringStringEntryProto { key, value });
    }
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "maskmaker".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: OPSET_VERSION,
        }],
        metadata_props,
    };
    write_atomically(path, &model.encode_to_vec())
}

/// The nodes and tensors of an ONNX graph under construction.
#[derive(Debug)]
struct GraphWriter<'a> {
    weights: &'a Weights,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    /// Names of the tensors in `tensors`.
    written_names: HashSet<String>,
}

impl<'a> GraphWriter<'a> {
    fn new(weights: &'a Weights) -> Self {
        Self { weights, nodes: Vec::new(), tensors: Vec::new(), written_names: HashSet::new() }
    }

    fn into_graph_proto(mut self, graph: &Graph, classes: i64) -> Result<GraphProto> {
        let last_uses = graph.last_uses(&[graph.out]);
        // Name of each node's value; empty for nodes that are not computed.
        let mut names: Vec<String> = Vec::with_capacity(graph.nodes.len());
        for (index, node) in graph.nodes.iter().enumerate() {
            let name = match &node.op {
                Op::Input => "input".to_owned(),
                _ if last_uses[index].is_none() => String::new(),
                // Evaluation drops nothing, so the value is the input's.
                Op::Dropout { .. } => input_name(&names, &node.inputs, 0)?.to_owned(),
                op => {
                    let mut inputs = Vec::with_capacity(node.inputs.len());
                    for position in 0..node.inputs.len() {
                        inputs.push(input_name(&names, &node.inputs, position)?);
                    }
                    let name =
                        if index == graph.out { "out".to_owned() } else { format!("v{index}") };
                    self.add_operation(op, &inputs, &name)?;
                    name
                }
            };
            names.push(name);
        }
        Ok(GraphProto {
            node: self.nodes,
            name: "segmentation".to_owned(),
            initializer: self.tensors,
            input: vec![ValueInfoProto::float_tensor("input", &image_shape(3))],
            output: vec![ValueInfoProto::float_tensor("out", &image_shape(classes))],
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

    /// Adds a bilinear resize to the height and width of another value. Batch and channels stay.
    fn add_resize(&mut self, x: &str, like: &str, name: &str) {
        let batch_and_channels = format!("{name}.own");
        let height_and_width = format!("{name}.wanted");
        let sizes = format!("{name}.sizes");
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
        // Empty names stand for omitted inputs: a region, and factors.
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

    /// Adds a tensor of the network under its own name, once, and returns the name.
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

    /// Adds a constant of 64-bit integers, once.
    fn add_integers(&mut self, name: &str, dims: &[i64], values: &[i64]) {
        if self.written_names.insert(name.to_owned()) {
            let mut raw_data = Vec::with_capacity(8 * values.len());
            for value in values {
                raw_data.extend_from_slice(&value.to_le_bytes());
            }
            self.tensors.push(TensorProto {
                dims: dims.to_vec(),
                data_type: DATA_TYPE_INT64,
                name: name.to_owned(),
                raw_data: Some(raw_data),
            });
        }
    }
}

/// Returns the name of the value that a node reads at a position.
fn input_name<'n>(names: &'n [String], inputs: &[ValueId], position: usize) -> Result<&'n str> {
    if let Some(&input) = inputs.get(position)
        && let Some(name) = names.get(input)
        && !name.is_empty()
    {
        return Ok(name);
    }
    Err(Error::internal("a node reads a value that is not there"))
}

/// Returns the dimensions of images or logits, which are numbers or names.
fn image_shape(channels: i64) -> [Dimension; 4] {
    [
        Dimension::Name("batch"),
        Dimension::Number(channels),
        Dimension::Name("height"),
        Dimension::Name("width"),
    ]
}

#[cfg(test)]
mod tests;
