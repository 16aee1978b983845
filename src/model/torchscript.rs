//! The TorchScript exporter of a [`Graph`]: it writes the text of a `forward` that PyTorch runs,
//! and the file that holds this text with the weights.
//!
//! The module takes normalized images `[batch, 3, height, width]` of any size. It returns `{"out":
//! ..., "aux": ...}` and uses torchvision's names of parameters and buffers, as torchvision's
//! segmentation networks do.

use std::fmt::Write;
use std::path::Path;

use super::graph::{Conv, Graph, Op, ValueId};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::files::write_atomically_with;
use crate::torch::{NamedTensor, write_torchscript};

/// Name of the module's class: Python's `module.original_name` is `M_Segmentation`.
const MODULE_CLASS_NAME: &str = "Segmentation";

/// Writes the network as a file for `torch.jit.load`. The file is whole or absent, and its bytes
/// depend on the network alone. The module starts in evaluation mode, and its parameters require no
/// gradient.
pub fn export_torchscript(path: &Path, graph: &Graph, weights: &Weights) -> Result<()> {
    let named = weights.named_tensors()?;
    let specs = graph.parameters();
    if specs.len() != named.len() {
        return Err(Error::internal("the weights are not those of the graph"));
    }
    let mut tensors = Vec::with_capacity(named.len());
    for (spec, (name, tensor)) in specs.iter().zip(named) {
        tensors.push(NamedTensor { is_buffer: !spec.role.is_trainable(), name, tensor });
    }
    let source = forward_source(graph);
    write_atomically_with(path, |file| {
        write_torchscript(file, MODULE_CLASS_NAME, &source, &tensors)
    })
}

/// Returns the source of the method `forward`, one statement per node. Modules follow `train()` and
/// `eval()` as their Python counterparts do: in training mode BatchNorm counts and uses the batch's
/// statistics, and dropout drops.
fn forward_source(graph: &Graph) -> String {
    let mut text = String::from("def forward(self, input: Tensor) -> Dict[str, Tensor]:\n");
    for (index, node) in graph.nodes.iter().enumerate() {
        let x = input_variable(&node.inputs, 0);
        let value = match &node.op {
            Op::Input => continue,
            Op::Conv(conv) => conv_expression(conv, &x),
            Op::BatchNorm { name, .. } => {
                let bn = module_expression(name);
                push_statement(&mut text, &format!("if {bn}.training:"));
                push_statement(&mut text, &format!("    {bn}.num_batches_tracked.add_(1)"));
                format!(
                    "torch.batch_norm({x}, {bn}.weight, {bn}.bias, {bn}.running_mean, \
                     {bn}.running_var, {bn}.training, 0.1, 1e-05, True)"
                )
            }
            Op::Relu => format!("torch.relu({x})"),
            Op::MaxPool { kernel, stride, padding } => format!(
                "torch.max_pool2d({x}, [{kernel}, {kernel}], [{stride}, {stride}], \
                 [{padding}, {padding}], [1, 1], False)"
            ),
            Op::Add => format!("torch.add({x}, {})", input_variable(&node.inputs, 1)),
            Op::AdaptiveAvgPool { side } => {
                format!("torch.adaptive_avg_pool2d({x}, [{side}, {side}])")
            }
            Op::Concat => {
                let mut parts = Vec::new();
                for position in 0..node.inputs.len() {
                    parts.push(input_variable(&node.inputs, position));
                }
                format!("torch.cat([{}], 1)", parts.join(", "))
            }
            Op::Dropout { probability, .. } => {
                format!("torch.dropout({x}, {probability:?}, self.training)")
            }
            Op::ResizeLike => {
                let like = input_variable(&node.inputs, 1);
                format!(
                    "torch.upsample_bilinear2d({x}, [{like}.size(2), {like}.size(3)], False, None)"
                )
            }
        };
        push_statement(&mut text, &format!("v{index} = {value}"));
    }
    push_statement(
        &mut text,
        &format!("return {{\"out\": v{}, \"aux\": v{}}}", graph.out, graph.aux),
    );
    text
}

/// Returns the variable of the value that a node reads at a position.
fn input_variable(inputs: &[ValueId], position: usize) -> String {
    match inputs.get(position) {
        None | Some(0) => "input".to_owned(),
        Some(value) => format!("v{value}"),
    }
}

fn push_statement(text: &mut String, statement: &str) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "    {statement}");
}

fn conv_expression(conv: &Conv, x: &str) -> String {
    let Conv { name, stride, dilation, bias, .. } = conv;
    let (name, padding) = (module_expression(name), conv.padding());
    let bias = if *bias { format!("{name}.bias") } else { "None".to_owned() };
    format!(
        "torch.conv2d({x}, {name}.weight, {bias}, [{stride}, {stride}], [{padding}, {padding}], \
         [{dilation}, {dilation}], 1)"
    )
}

/// Returns a module such as `backbone.layer1.0` as an expression. Numbers are not attribute names
/// in TorchScript's text, but `getattr` takes them.
fn module_expression(path: &str) -> String {
    let mut expression = "self".to_owned();
    for part in path.split('.') {
        expression = if part.as_bytes().first().is_some_and(u8::is_ascii_digit) {
            format!("getattr({expression}, \"{part}\")")
        } else {
            format!("{expression}.{part}")
        };
    }
    expression
}

#[cfg(test)]
mod tests {
    use tch::{CModule, Device, IValue, Kind, Tensor};

    use crate::model::forward::ForwardMode;
    use crate::model::{Algorithm, Architecture, Backbone, Network};
    use crate::torch::with_seed;

    /// Makes a network in which no BatchNorm is the identity.
    fn network(algorithm: Algorithm, backbone: Backbone) -> Network {
        let architecture = Architecture { algorithm, backbone };
        let mut network = Network::random(architecture, 3, 5, Device::Cpu).unwrap();
        for (name, tensor) in network.weights.named_tensors().unwrap() {
            if name.ends_with("running_mean") || name.ends_with("running_var") {
                let other = (tensor.zeros_like().uniform(-0.2, 0.2) + &tensor).detach();
                network.weights.replace(&name, &other).unwrap();
            }
        }
        network.weights.set_batches_tracked(7);
        network
    }

    fn forward_outputs(module: &CModule, input: &Tensor) -> [Tensor; 2] {
        let output = module.forward_is(&[IValue::Tensor(input.shallow_clone())]).unwrap();
        let IValue::GenericDict(entries) = output else { panic!("{output:?}") };
        ["out", "aux"].map(|key| {
            let named = |(k, _): &&(IValue, IValue)| *k == IValue::String(key.to_owned());
            match entries.iter().find(named) {
                Some((_, IValue::Tensor(tensor))) => tensor.shallow_clone(),
                other => panic!("{key}: {other:?}"),
            }
        })
    }

    fn assert_same_outputs(algorithm: Algorithm, backbone: Backbone, sizes: &[[i64; 2]]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        let network = network(algorithm, backbone);
        network.write_torchscript(&path).unwrap();
        // The optimizer would compile the module for each size, which takes seconds and changes no
        // result.
        tch::jit::f_set_graph_executor_optimize(false).unwrap();
        let module = CModule::load(&path).unwrap();
        for &[height, width] in sizes {
            let options = (Kind::Uint8, Device::Cpu);
            let images =
                with_seed(1, || Ok(Tensor::f_randint(256, [2, height, width, 3], options)?))
                    .unwrap();
            let input = network.normalize(&images).unwrap().contiguous();
            let mode = ForwardMode::Eval { aux: true };
            let expected = tch::no_grad(|| network.logits(&images, mode).unwrap());
            let [out, aux] = tch::no_grad(|| forward_outputs(&module, &input));
            for (got, expected) in [(out, expected.out), (aux, expected.aux.unwrap())] {
                assert_eq!(got.size(), [2, 3, height, width]);
                let scale = expected.abs().max().double_value(&[]);
                let difference = (got - expected).abs().max().double_value(&[]);
                // Other kernels round otherwise; with AVX2 1.01e-5 was seen after 50 layers.
                assert!(difference <= 3e-5 * scale, "{algorithm:?}: {difference} of {scale}");
            }
        }
    }

    #[test]
    fn fcn_computes_the_same_at_any_size() {
        assert_same_outputs(Algorithm::Fcn, Backbone::Resnet18, &[[33, 40], [1, 1], [24, 57]]);
        assert_same_outputs(Algorithm::Fcn, Backbone::Resnet50, &[[33, 41]]);
    }

    #[test]
    fn psp_computes_the_same_at_any_size() {
        assert_same_outputs(Algorithm::Psp, Backbone::Resnet18, &[[33, 40], [1, 1], [24, 57]]);
    }

    #[test]
    fn deeplab_computes_the_same_at_any_size() {
        assert_same_outputs(Algorithm::Deeplab, Backbone::Resnet18, &[[33, 40], [1, 1], [24, 57]]);
    }

    #[test]
    fn in_training_mode_batchnorm_counts_and_learns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        let network = network(Algorithm::Fcn, Backbone::Resnet18);
        network.write_torchscript(&path).unwrap();
        let mut module = CModule::load(&path).unwrap();
        module.set_train();
        let options = (Kind::Float, Device::Cpu);
        let input = with_seed(1, || Ok(Tensor::f_randn([2, 3, 32, 32], options)?)).unwrap();
        // The seed fixes dropout too.
        let before = with_seed(1, || Ok(forward_outputs(&module, &input))).unwrap();
        module.f_set_eval().unwrap();
        let after = forward_outputs(&module, &input);
        assert!(!before[0].allclose(&after[0], 1e-3, 1e-3, false));
        assert!(forward_outputs(&module, &input)[0].equal(&after[0]), "evaluation changes nothing");
    }

    #[test]
    fn the_file_depends_on_the_network_alone() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, network: &Network| {
            let path = folder.path().join(name);
            network.write_torchscript(&path).unwrap();
            std::fs::read(path).unwrap()
        };
        let mut one = network(Algorithm::Fcn, Backbone::Resnet18);
        let first = write("a.pt", &one);
        assert!(write("elsewhere/b.pt", &one) == first);
        one.weights.count_batch();
        assert!(write("c.pt", &one) != first);
    }
}
