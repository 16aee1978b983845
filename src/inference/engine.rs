//! The engine: a model made ready to segment images.

use std::path::Path;

use image::RgbImage;
use tch::Device;

use super::passes::{Core, Passes};
use super::prepared::Prepared;
use super::readout::read;
use super::scripted::Scripted;
use super::segment::{About, Ask, Detail, Segment, Segmentation};
use super::settings::{Options, compute, set_threads};
use crate::colours::class_colour;
use crate::error::{Error, Result};
use crate::model::Config;
use crate::model::artifact::{CONFIG, LABELS, Stored, TORCHSCRIPT, WEIGHTS, no_model};
use crate::model::labels::read_labels;
use crate::model::size::restore;
use crate::torch::{device, give_back_memory};

/// Memory that a model takes, about, for each byte of its file: its weights as they were read, or in a layout or two.
const LOADING: u64 = 2;

/// A network that segments images.
#[derive(Debug)]
pub struct Engine {
    passes: Passes,
    about: About,
    // Dropped last.
    _memory: Returned,
}

/// Gives memory back to the system when it is dropped: what an engine held shall be there for the next one.
#[derive(Debug)]
struct Returned;

impl Drop for Returned {
    fn drop(&mut self) {
        give_back_memory();
    }
}

impl Engine {
    /// Loads the model in `folder`: an artifact of `train` (`config.json` and `model.safetensors`), or the
    /// TorchScript file `model.pt` alone, with classes named by `labels.json` if that is there.
    pub fn load(folder: &Path, options: Options) -> Result<Self> {
        set_threads(options.threads);
        // What was freed meanwhile is left to the first images.
        tch::no_grad(|| {
            if is_scripted(folder) { scripted(folder, options) } else { artifact(folder, options) }
        })
    }

    /// Bytes of memory that loading the model in `folder` is going to take.
    pub fn memory_to_load(folder: &Path) -> Result<u64> {
        let name = match (is_scripted(folder), folder.join(CONFIG).is_file()) {
            (true, _) => TORCHSCRIPT,
            (false, true) => WEIGHTS,
            (false, false) => return Err(no_model(folder)),
        };
        let path = folder.join(name);
        let file = std::fs::metadata(&path)
            .map_err(|cause| Error::input(format!("cannot read {}: {cause}", path.display())))?;
        Ok(LOADING * file.len())
    }
}

fn is_scripted(folder: &Path) -> bool {
    !folder.join(CONFIG).is_file() && folder.join(TORCHSCRIPT).is_file()
}

fn artifact(folder: &Path, options: Options) -> Result<Engine> {
    let device = device();
    let stored = Stored::open(folder)?;
    let compute = compute(options.precision, device, stored.config.bf16.as_ref());
    let tensor = |module: &str, leaf: &str| Ok(stored.tensor(module, leaf)?.f_to_device(device)?);
    let core = Core::Prepared(Prepared::new(&stored.graph, device, compute, tensor)?);
    let Config { class_names, num_classes, .. } = stored.config;
    let labels = read_labels(&folder.join(LABELS), num_classes);
    let colours = labels.unwrap_or_default().into_iter().map(|label| label.colour).collect();
    Engine::new(core, class_names, colours, compute.name(), options)
}

fn scripted(folder: &Path, options: Options) -> Result<Engine> {
    let device = device();
    let path = folder.join(TORCHSCRIPT);
    let compute = compute(options.precision, device, None);
    let scripted =
        Scripted::load(&path, device, compute).map_err(|error| error.within(path.display()))?;
    let classes = scripted.classes as usize;
    let path = folder.join(LABELS);
    let (names, colours) = if path.is_file() {
        let labels = read_labels(&path, classes).map_err(|error| error.within(path.display()))?;
        labels.into_iter().map(|label| (label.name, label.colour)).unzip()
    } else {
        (Config::nameless(classes), Vec::new())
    };
    Engine::new(Core::Scripted(scripted), names, colours, compute.name(), options)
}

impl Engine {
    fn new(
        core: Core,
        class_names: Vec<String>,
        mut colours: Vec<[u8; 3]>,
        precision: &'static str,
        options: Options,
    ) -> Result<Self> {
        let device = match core.device() {
            Device::Cuda(index) => format!("cuda:{index}"),
            _ => "cpu".to_owned(),
        };
        colours.extend((colours.len()..class_names.len()).map(|id| class_colour(id as u8)));
        let Options { max_side, tile_side, .. } = options;
        let tile_side = tile_side.min(max_side) / 8 * 8;
        let tile_overlap = tile_side / 8 / 8 * 8;
        let about =
            About { class_names, colours, precision, device, max_side, tile_side, tile_overlap };
        Ok(Self { passes: Passes::new(core)?, about, _memory: Returned })
    }

    fn answers(&self, images: &[&RgbImage], ask: &Ask) -> Result<Vec<Segmentation>> {
        let scores = self.passes.scores(images, &ask.view, &self.about)?;
        let one = |(index, image): (usize, &&RgbImage)| {
            let logits = scores.logits.f_get(index as i64)?;
            let answer = read(&logits, scores.grid, scores.size, ask.detail)?;
            enlarged(answer, scores.size, image.dimensions(), ask.detail)
        };
        images.iter().enumerate().map(one).collect()
    }
}

impl Segment for Engine {
    fn segment(&mut self, images: &[&RgbImage], ask: &Ask) -> Result<Vec<Segmentation>> {
        let advice = ": send a smaller image, or lower --max-side (MASKMAKER_MAX_SIDE)";
        tch::no_grad(|| self.answers(images, ask)).map_err(|error| error.when_out_of_memory(advice))
    }

    fn about(&self) -> &About {
        &self.about
    }
}

/// The answer about an image that was scaled down, at the image's own size.
fn enlarged(
    answer: Segmentation,
    from: (u32, u32),
    to: (u32, u32),
    detail: Detail,
) -> Result<Segmentation> {
    if from == to {
        return Ok(answer);
    }
    let Segmentation { ids, confidence, probabilities } = answer;
    let probabilities = if detail >= Detail::Probabilities {
        planes(&probabilities, from, to)?
    } else {
        probabilities
    };
    Ok(Segmentation { ids: restore(ids, to), confidence, probabilities })
}

/// Planes of `from` pixels, resized bilinearly.
fn planes(planes: &[f32], from: (u32, u32), to: (u32, u32)) -> Result<Vec<f32>> {
    let pixels = (from.0 as usize * from.1 as usize).max(1);
    let classes = (planes.len() / pixels) as i64;
    let size = [1, classes, i64::from(from.1), i64::from(from.0)];
    let tensor = tch::Tensor::f_from_slice(planes)?.f_reshape(size)?;
    let size = [i64::from(to.1), i64::from(to.0)];
    let large = tensor.f_upsample_bilinear2d(size, false, None, None)?.f_contiguous()?;
    Ok(crate::torch::floats(&large)?.to_vec())
}

#[cfg(test)]
mod tests;
