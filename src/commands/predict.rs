//! `maskmaker predict` writes masks and overlays of image files.

use std::path::{Path, PathBuf};

use super::device::check_inference_device;
use crate::console::print_stdout;
use crate::error::{Error, Problems, Result};
use crate::files::{read_file, write_atomically};
use crate::imaging::{DecodeLimits, decode_upright, encode_mask, encode_png};
use crate::inference::{Engine, EngineOptions, Segment, SegmentOptions};
use crate::render::draw_overlay;

/// Writes `<name>.mask.png` (class ids) and `<name>.overlay.png` (colors and legend) of every image
/// into `output`, by default beside the image. Goes on after an image that fails, and returns the
/// errors of all images.
pub fn run_predict(
    model_folder: &Path,
    images: &[PathBuf],
    output: Option<&Path>,
    limits: DecodeLimits,
    options: EngineOptions,
) -> Result<()> {
    let stems = target_stems(images, output)?;
    check_inference_device()?;
    let mut engine = Engine::load(model_folder, options)?;
    let class_names = engine.info().class_names.clone();
    let mut problems = Problems::new();
    for (image, target) in images.iter().zip(stems) {
        problems.record_err(predict_image(&mut engine, &class_names, image, &target, limits));
    }
    problems.into_result()
}

/// Returns the path of each image's results without the endings `.mask.png` and `.overlay.png`.
fn target_stems(images: &[PathBuf], output: Option<&Path>) -> Result<Vec<PathBuf>> {
    let mut problems = Problems::new();
    let mut targets: Vec<PathBuf> = Vec::new();
    for image in images {
        let stem = image.file_stem().unwrap_or_default();
        let folder = output.or(image.parent()).unwrap_or(Path::new("."));
        let target = folder.join(stem);
        if let Some(earlier_index) = targets.iter().position(|earlier| *earlier == target) {
            problems.push(format!(
                "{} and {} would both write {}.mask.png; predict them into different folders",
                images[earlier_index].display(),
                image.display(),
                target.display()
            ));
        }
        targets.push(target);
    }
    problems.into_result()?;
    Ok(targets)
}

fn predict_image(
    engine: &mut Engine,
    class_names: &[String],
    path: &Path,
    target_stem: &Path,
    limits: DecodeLimits,
) -> Result<()> {
    let image = match decode_upright(&read_file(path)?, limits) {
        Ok(image) => image,
        Err(cause) => return Err(Error::input(format!("{}: {cause}", path.display()))),
    };
    let mut segmentations = match engine.segment(&[&image], &SegmentOptions::default()) {
        Ok(segmentations) => segmentations,
        Err(error) => return Err(error.with_context(path.display())),
    };
    let Some(segmentation) = segmentations.pop() else {
        return Err(Error::internal("the engine answered nothing"));
    };
    let ids = segmentation.ids;
    let mask_path = append_ending(target_stem, "mask.png");
    let overlay_path = append_ending(target_stem, "overlay.png");
    write_atomically(&mask_path, &encode_mask(&ids))?;
    write_atomically(&overlay_path, &encode_png(&draw_overlay(&image, &ids, class_names)))?;
    print_stdout(format_args!(
        "{} -> {}, {}",
        path.display(),
        mask_path.display(),
        overlay_path.display()
    ));
    Ok(())
}

/// Appends a dot and the ending. `Path::with_extension` would cut a stem that holds a dot.
fn append_ending(stem: &Path, ending: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}
