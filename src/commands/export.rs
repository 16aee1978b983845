//! `maskmaker export`: a model in a form for other programs.

use std::path::Path;

use tch::Device;

use crate::console::say;
use crate::error::Result;
use crate::model::{Artifact, artifact};

/// Forms of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// model.pt, for torch.jit.load; train writes it too.
    Torchscript,
    /// model.onnx, for ONNX Runtime and whatever else reads ONNX (operator set 17).
    Onnx,
}

/// Writes the model in `folder` to `output`, or beside its weights.
pub fn run(folder: &Path, format: Format, output: Option<&Path>) -> Result<()> {
    let model = Artifact::read(folder, Device::Cpu)?;
    let beside = |name| folder.join(name);
    let path = match format {
        Format::Torchscript => {
            let path = output.map_or_else(|| beside(artifact::TORCHSCRIPT), Path::to_owned);
            model.network.write_torchscript(&path)?;
            path
        }
        Format::Onnx => {
            let path = output.map_or_else(|| beside(artifact::ONNX), Path::to_owned);
            model.write_onnx(&path)?;
            path
        }
    };
    say(format_args!("{} -> {}", folder.display(), path.display()));
    Ok(())
}
