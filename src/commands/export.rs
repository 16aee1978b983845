//! `maskmaker export`: a model in a form for other programs.

use std::path::Path;

use tch::Device;

use crate::console::print_stdout;
use crate::error::Result;
use crate::model::{Artifact, artifact};

/// Forms of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// model.pt, for torch.jit.load; train writes it too.
    Torchscript,
    /// model.onnx, for ONNX Runtime and whatever else reads ONNX (operator set 17).
    Onnx,
}

/// Writes the model in `folder` to `output`, or beside its weights.
pub fn run_export(folder: &Path, format: ExportFormat, output: Option<&Path>) -> Result<()> {
    let model = Artifact::read(folder, Device::Cpu)?;
    let path_in_folder = |name| folder.join(name);
    let path = match format {
        ExportFormat::Torchscript => {
            let path =
                output.map_or_else(|| path_in_folder(artifact::TORCHSCRIPT_FILE), Path::to_owned);
            model.network.write_torchscript(&path)?;
            path
        }
        ExportFormat::Onnx => {
            let path = output.map_or_else(|| path_in_folder(artifact::ONNX_FILE), Path::to_owned);
            model.write_onnx(&path)?;
            path
        }
    };
    print_stdout(format_args!("{} -> {}", folder.display(), path.display()));
    Ok(())
}
