//! `maskmaker predict`: masks and overlays for a person at a laptop.

use std::path::{Path, PathBuf};

use crate::console::say;
use crate::error::{Error, Problems, Result};
use crate::files::{read, write_atomically};
use crate::imaging::{Limits, decode_upright, encode_mask, encode_png};
use crate::inference::{Ask, Engine, Options, Segment};
use crate::render::overlay;

/// Writes `<name>.mask.png` (class ids) and `<name>.overlay.png` (colours and legend) for every
/// image into `output`, or beside the image. An image that fails does not stop the others.
pub fn run(
    model: &Path,
    images: &[PathBuf],
    output: Option<&Path>,
    limits: Limits,
    options: Options,
) -> Result<()> {
    let targets = targets(images, output)?;
    let mut engine = Engine::load(model, options)?;
    let names = engine.about().class_names.clone();
    let mut problems = Problems::new();
    for (image, target) in images.iter().zip(targets) {
        problems.check(predict(&mut engine, &names, image, &target, limits));
    }
    problems.into_result()
}

/// The path of each image's results without their endings.
fn targets(images: &[PathBuf], output: Option<&Path>) -> Result<Vec<PathBuf>> {
    let mut problems = Problems::new();
    let mut targets: Vec<PathBuf> = Vec::new();
    for image in images {
        let stem = image.file_stem().unwrap_or_default();
        let folder = output.or(image.parent()).unwrap_or(Path::new("."));
        let target = folder.join(stem);
        if let Some(other) = targets.iter().position(|earlier| *earlier == target) {
            problems.push(format!(
                "{} and {} would both write {}.mask.png; predict them into different folders",
                images[other].display(),
                image.display(),
                target.display()
            ));
        }
        targets.push(target);
    }
    problems.into_result()?;
    Ok(targets)
}

fn predict(
    engine: &mut Engine,
    names: &[String],
    path: &Path,
    target: &Path,
    limits: Limits,
) -> Result<()> {
    let image = decode_upright(&read(path)?, limits)
        .map_err(|cause| Error::input(format!("{}: {cause}", path.display())))?;
    let answers = engine.segment(&[&image], &Ask::default());
    let answer = answers.map_err(|error| error.within(path.display()))?.pop();
    let ids = answer.ok_or_else(|| Error::internal("the engine answered nothing"))?.ids;
    let mask = ending(target, "mask.png");
    let picture = ending(target, "overlay.png");
    write_atomically(&mask, &encode_mask(&ids))?;
    write_atomically(&picture, &encode_png(&overlay(&image, &ids, names)))?;
    say(format_args!("{} -> {}, {}", path.display(), mask.display(), picture.display()));
    Ok(())
}

/// Appends, because a name may itself hold a dot.
fn ending(target: &Path, ending: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}
