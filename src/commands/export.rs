//! `maskmaker export` writes a model as TorchScript or ONNX, for other programs.

use std::path::Path;

use tch::Device;

use crate::console::print_stdout;
use crate::error::Result;
use crate::model::{Artifact, artifact};

/// File format of an exported model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// model.pt, for torch.jit.load; train writes it too.
    Torchscript,
    /// model.onnx, for ONNX Runtime and whatever else reads ONNX (operator set 17).
    Onnx,
}

/// Writes the model in `folder` to `output`, by default to the format's usual name in `folder`.
pub fn run_export(folder: &Path, format: ExportFormat, output: Option<&Path>) -> Result<()> {
    let model = Artifact::read(folder, Device::Cpu)?;
    let default_name = match format {
        ExportFormat::Torchscript => artifact::TORCHSCRIPT_FILE,
        ExportFormat::Onnx => artifact::ONNX_FILE,
    };
    let path = match output {
        Some(path) => path.to_owned(),
        None => folder.join(default_name),
    };
    match format {
        ExportFormat::Torchscript => model.network.write_torchscript(&path)?,
        ExportFormat::Onnx => model.write_onnx(&path)?,
    }
    print_stdout(format_args!("{} -> {}", folder.display(), path.display()));
    Ok(())
}
