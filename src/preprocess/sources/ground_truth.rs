//! Output manifests of Ground Truth: one JSON object per line, which names an image and a mask.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Found, ImageName, Skipped, Sources};
use crate::data::color_map::ColorMaps;
use crate::error::{Error, Problems};
use crate::preprocess::classes::is_background;
use crate::preprocess::drawing::Drawing;
use crate::preprocess::folder::{Folder, NotFound};
use crate::preprocess::reference::Reference;
use crate::preprocess::select::Annotation;

/// The attribute of the image.
const IMAGE: &str = "source-ref";

/// Bytes that a line may have: Ground Truth's metadata are a few thousand.
const MOST_BYTES: u64 = 1 << 20;

pub(super) fn read(
    paths: &[PathBuf],
    masks: &Folder,
    attribute: Option<&str>,
    sources: &mut Sources,
    problems: &mut Problems,
) {
    let mut maps = ColorMaps::default();
    for path in paths {
        let lines = lines(path, |number, line| {
            let place = format!("line {number} of {}", path.display());
            match annotation(line, (masks, attribute), &mut maps, sources) {
                Ok(Some((image, drawing))) => sources.found.push(Found {
                    image: ImageName::Reference(image),
                    annotation: Annotation {
                        id: None,
                        task: None,
                        created_at: String::new(),
                        updated_at: String::new(),
                        was_cancelled: false,
                        ground_truth: false,
                        regions: 1,
                        counted: None,
                        is_listed: false,
                        file: Arc::from(path.as_path()),
                        place,
                        drawing,
                    },
                }),
                Ok(None) => sources.unlabelled += 1,
                Err(what) => sources.skipped.push(Skipped::fault(place, what)),
            }
        });
        problems.check(lines);
    }
}

fn lines(path: &Path, mut visit: impl FnMut(usize, &[u8])) -> Result<(), Error> {
    let failed = |cause: std::io::Error| Error::io("read", path, &cause);
    let mut input = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.by_ref().take(MOST_BYTES).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        if line.len() as u64 == MOST_BYTES {
            // What follows is the middle of a line.
            return Err(Error::input(format!(
                "{}: line {number} has {MOST_BYTES} bytes or more",
                path.display()
            )));
        }
        let text = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line).trim_ascii();
        if !text.is_empty() {
            visit(number, text);
        }
    }
    Ok(())
}

/// The image of a line and its mask; none if nobody labelled it yet.
fn annotation(
    line: &[u8],
    (masks, wanted): (&Folder, Option<&str>),
    maps: &mut ColorMaps,
    sources: &mut Sources,
) -> Result<Option<(String, Drawing)>, String> {
    let object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|cause| format!("is no JSON object: {cause}"))?;
    let text = |key: &str| match object.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(other) => Err(format!("has {key} {other}; expected is a path or an S3 URI")),
        None => Err(format!("has no {key}")),
    };
    let image = text(IMAGE)?;
    let others: Vec<&String> =
        object.keys().filter(|key| key.ends_with("-ref") && *key != IMAGE).collect();
    let attribute = match (wanted, &others[..]) {
        (Some(wanted), _) if object.contains_key(wanted) => wanted,
        (Some(_), _) | (None, []) => return Ok(None),
        (None, [one]) => one.as_str(),
        (None, several) => {
            return Err(format!(
                "has several annotations, {}; say which is meant with --attribute",
                several.iter().map(|key| key.as_str()).collect::<Vec<_>>().join(" and ")
            ));
        }
    };
    let reference = text(attribute)?;
    let found =
        Reference::parse(&reference).ok_or(NotFound::Missing).and_then(|r| masks.find(&r, false));
    let mask = match found {
        Ok(mask) => masks.path(mask.file),
        Err(NotFound::Missing | NotFound::Elsewhere(_)) => {
            return Err(format!(
                "has the mask {reference}, which is not in the folder of annotations"
            ));
        }
        Err(NotFound::Ambiguous(paths)) => {
            return Err(format!("has the mask {reference}, which may be {}", paths.join(" or ")));
        }
    };
    let drawing = match maps.of_line(&object, attribute)? {
        Some(map) => {
            let names = map.names().filter(|name| !is_background(name)).map(str::to_owned);
            sources.labels.extend(names);
            Drawing::Colours { mask, map }
        }
        None => Drawing::Mask(mask),
    };
    Ok(Some((image, drawing)))
}
