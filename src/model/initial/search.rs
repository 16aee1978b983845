//! The choice of the file that pretrained weights are read from.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorContext, Result};
use crate::model::Backbone;

/// Ends of the names of files that hold weights, in lower case.
const WEIGHTS_ENDINGS: [&str; 3] = [".pth", ".pt", ".safetensors"];

/// Ends of the names of files that may hold weights or something else: Lightning's, those of hubs,
/// and those of PyTorch's example. They are read if no other file is.
const OTHER_WEIGHTS_ENDINGS: [&str; 6] =
    [".ckpt", ".bin", ".pth.tar", ".pt.tar", ".ckpt.tar", ".pkl"];

/// Names of files, without their ends, that training programs and hubs give to a model.
const MODEL_NAMES: [&str; 2] = ["model", "pytorch_model"];

/// Number of other files that a message names.
const MAX_SHOWN_NAMES: usize = 10;

/// Prefixes before a backbone in the file name of a whole segmentation network.
const HEAD_PREFIXES: [&str; 5] = ["fcn", "deeplabv3", "deeplab", "psp", "pspnet"];

/// Places where pretrained weights may lie, in the order in which they are searched. An explicit
/// path and a channel must hold weights; the image's own folder may lack them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PretrainedLocations {
    /// File or folder that `MASKMAKER_PRETRAINED` names.
    pub explicit: Option<PathBuf>,
    /// URI that the file at `explicit` is a copy of, for messages.
    pub fetched_from: Option<String>,
    /// Folder of the `pretrained` channel.
    pub channel: Option<PathBuf>,
    /// Folder of weights inside the container image.
    pub image_folder: Option<PathBuf>,
}

/// Finds the file with weights for `backbone`.
pub(super) fn find_pretrained_file(
    locations: &PretrainedLocations,
    backbone: Backbone,
) -> Result<PathBuf> {
    if let Some(path) = &locations.explicit {
        return resolve_explicit_path(path, backbone).error_context("MASKMAKER_PRETRAINED");
    }
    if let Some(channel) = &locations.channel {
        let Some(path) = find_in_folder(channel, backbone)? else {
            let names = list_file_names(channel);
            return Err(no_weights_error(&names, channel.display(), backbone)
                .with_context("channel pretrained"));
        };
        return Ok(path);
    }
    let mut image_note = String::new();
    if let Some(folder) = &locations.image_folder {
        if folder.is_dir()
            && let Some(path) = find_in_folder(folder, backbone)?
        {
            return Ok(path);
        }
        let names = join_names(&list_file_names(folder));
        image_note = format!("; {} holds {names}", folder.display());
    }
    let (name, file) = (backbone.name(), torchvision_name(backbone));
    Err(Error::input(format!(
        "use_pretrained_model is True (its default), but there are no weights for {name}: \
         MASKMAKER_PRETRAINED is not set; there is no channel pretrained{image_note}. Give \
         torchvision's {file}-*.pth (or .safetensors) in a channel named pretrained or by \
         MASKMAKER_PRETRAINED, or set use_pretrained_model to False to start from random weights"
    )))
}

fn resolve_explicit_path(path: &Path, backbone: Backbone) -> Result<PathBuf> {
    let text = path.to_string_lossy();
    if text.contains("://") {
        return Err(Error::input(format!(
            "{text} is neither a path nor an S3 URI; allowed: a file, a folder, s3://BUCKET/KEY of \
             a file, s3://BUCKET/PREFIX/ of a folder"
        )));
    }
    if path.is_dir() {
        return find_required_in_folder(path, backbone);
    }
    if path.exists() {
        return Ok(path.to_owned());
    }
    Err(Error::input(format!("there is no file or folder {text}")))
}

/// Finds the file with weights for `backbone` in a folder. The error lists the folder's weights.
fn find_required_in_folder(folder: &Path, backbone: Backbone) -> Result<PathBuf> {
    match find_in_folder(folder, backbone)? {
        Some(path) => Ok(path),
        None => Err(no_weights_error(&list_file_names(folder), folder.display(), backbone)),
    }
}

/// Finds the file with weights for `backbone` in a folder, if there is one.
fn find_in_folder(folder: &Path, backbone: Backbone) -> Result<Option<PathBuf>> {
    let files = list_file_names(folder);
    match choose_weights_file(&files, folder.display(), backbone)? {
        Some(name) => Ok(Some(folder.join(name))),
        None => Ok(None),
    }
}

/// Chooses the file with weights for `backbone` among `names`. `location` is their folder, for
/// messages.
pub fn pick_weights_file(
    mut names: Vec<String>,
    location: impl fmt::Display,
    backbone: Backbone,
) -> Result<String> {
    names.sort();
    match choose_weights_file(&names, &location, backbone)? {
        Some(name) => Ok(name.to_owned()),
        None => Err(no_weights_error(&names, location, backbone)),
    }
}

/// Chooses the file that is named after the backbone (`resnet50-0676ba61.pth`,
/// `fcn_resnet50_coco-1167a1af.pth`), else the one named `model`, else the only one that is not
/// named after another backbone. Several files of the same rank are an error, because a guess would
/// be silent. Files whose ends other programs use too are chosen from only if there are no others.
fn choose_weights_file(
    files: &[String],
    location: impl fmt::Display,
    backbone: Backbone,
) -> Result<Option<&str>> {
    for endings in [&WEIGHTS_ENDINGS[..], &OTHER_WEIGHTS_ENDINGS] {
        let found = choose_file_with_ending(files, endings, &location, backbone)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn choose_file_with_ending<'a>(
    files: &'a [String],
    endings: &[&str],
    location: &impl fmt::Display,
    backbone: Backbone,
) -> Result<Option<&'a str>> {
    let (mut named_after_backbone, mut named_model, mut others) =
        (Vec::new(), Vec::new(), Vec::new());
    for name in files {
        let Some(stem) = strip_ending(name, endings) else { continue };
        match parse_backbone(name) {
            Some(parsed) if parsed == backbone => named_after_backbone.push(name.as_str()),
            Some(_) => {}
            None => {
                others.push(name.as_str());
                if MODEL_NAMES.contains(&stem) {
                    named_model.push(name.as_str());
                }
            }
        }
    }
    for candidates in [named_after_backbone, named_model, others] {
        match candidates.as_slice() {
            [] => {}
            [only] => return Ok(Some(only)),
            several => {
                return Err(Error::input(format!(
                    "{location} holds several files with weights that could be for {}: {}; keep \
                     one, or name it by MASKMAKER_PRETRAINED",
                    backbone.name(),
                    several.join(", ")
                )));
            }
        }
    }
    Ok(None)
}

/// Lists the names of the files in a folder, sorted. Folders, which are not looked into, are listed
/// with a slash.
fn list_file_names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.path().is_file() {
            names.push(name);
        } else if entry.path().is_dir() {
            names.push(format!("{name}/"));
        }
    }
    names.sort();
    names
}

/// Returns a name without its end, if it has one of these. Hidden files have none.
fn strip_ending<'a>(name: &'a str, endings: &[&str]) -> Option<&'a str> {
    if name.starts_with('.') {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let ending = endings.iter().find(|ending| lower.ends_with(*ending))?;
    name.get(..name.len() - ending.len())
}

/// Returns the backbone that a file is named after.
fn parse_backbone(name: &str) -> Option<Backbone> {
    let name = name.to_lowercase().replace('-', "_");
    let (head, rest) = name.split_once("resnet")?;
    let head = head.trim_end_matches('_');
    if !head.is_empty() && !HEAD_PREFIXES.contains(&head) {
        return None;
    }
    let rest = rest.trim_start_matches('_');
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let name = format!("resnet{digits}");
    Backbone::ALL.into_iter().find(|backbone| torchvision_name(*backbone) == name)
}

/// Returns a backbone's name in torchvision's file names, such as `resnet50`.
fn torchvision_name(backbone: Backbone) -> String {
    backbone.name().replace('-', "")
}

fn no_weights_error(names: &[String], location: impl fmt::Display, backbone: Backbone) -> Error {
    let file = torchvision_name(backbone);
    Error::input(format!(
        "{location} holds no weights for {}: expected {file}*.pth or {file}*.safetensors (or the \
         only .pt, .ckpt, .bin or .pth.tar there), found {}",
        backbone.name(),
        join_names(names)
    ))
}

fn join_names(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown = names[..names.len().min(MAX_SHOWN_NAMES)].join(", ");
    match names.len() - names.len().min(MAX_SHOWN_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    fn chosen(names: &[&str]) -> Result<Option<String>> {
        let folder = folder(names);
        let path = find_in_folder(folder.path(), Backbone::Resnet50)?;
        Ok(path.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()))
    }

    #[test]
    fn a_file_is_found_by_the_backbones_name_then_by_model_then_if_it_is_the_only_one() {
        for (names, expected) in [
            (&["resnet50-0676ba61.pth", "resnet101-63fe2227.pth"][..], "resnet50-0676ba61.pth"),
            (&["ResNet-50.SafeTensors", "model.safetensors"], "ResNet-50.SafeTensors"),
            (&["fcn_resnet50_coco-1167a1af.pth", "other.pth"], "fcn_resnet50_coco-1167a1af.pth"),
            (&["wide_resnet50_2.pth", "model.pth", "x.pt"], "model.pth"),
            (&["mine.pth", "resnet18.pth", "notes.txt", ".resnet50.pth"], "mine.pth"),
            (&["best.ckpt"], "best.ckpt"),
            (&["pytorch_model.bin", "training_args.bin"], "pytorch_model.bin"),
            (&["checkpoint.pth.tar", "resnet18.pth"], "checkpoint.pth.tar"),
            (&["Best.CKPT", "resnet18.ckpt"], "Best.CKPT"),
            (&["resnet50.ckpt", "last.ckpt"], "resnet50.ckpt"),
            // A `.pth` file is chosen before the file names that are read since.
            (&["mine.pth", "training_args.bin", "last.ckpt"], "mine.pth"),
        ] {
            assert_eq!(chosen(names).unwrap().as_deref(), Some(expected));
        }
        for names in [&["resnet18-f37072fd.pth"][..], &["resnet101.pth"], &["resnet50.txt"], &[]] {
            assert_eq!(chosen(names).unwrap(), None);
        }
    }

    #[test]
    fn several_candidates_are_listed() {
        for names in [
            &["resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"][..],
            &["model.pth", "model.safetensors"],
            &["a.pth", "b.pth"],
            &["best.ckpt", "last.ckpt"],
        ] {
            let said = chosen(names).unwrap_err().to_string();
            assert!(said.contains(&names.join(", ")) && said.contains("keep one"), "{said}");
        }
    }

    #[test]
    fn what_was_asked_for_wins_over_the_channel_and_that_over_the_image() {
        let folders = [(); 3].map(|()| folder(&["resnet50.pth"]));
        let path = |index: usize| Some(folders[index].path().to_owned());
        let found = |places: &PretrainedLocations| {
            find_pretrained_file(places, Backbone::Resnet50).unwrap()
        };
        let (given, channel, image) = (path(0), path(1), path(2));
        let mut places = PretrainedLocations {
            explicit: given,
            channel,
            image_folder: image,
            fetched_from: None,
        };
        let file = |index: usize| folders[index].path().join("resnet50.pth");
        assert_eq!(found(&places), file(0));
        places.explicit = Some(file(2));
        assert_eq!(found(&places), file(2));
        places.explicit = None;
        assert_eq!(found(&places), file(1));
        places.channel = None;
        assert_eq!(found(&places), file(2));
    }

    #[test]
    fn places_without_weights_are_told_with_what_they_hold() {
        let other = folder(&["resnet101-63fe2227.pth"]);
        let said = |places: PretrainedLocations| {
            find_pretrained_file(&places, Backbone::Resnet50).unwrap_err().to_string()
        };
        let place = Some(other.path().to_owned());
        let none = said(PretrainedLocations {
            image_folder: place.clone(),
            ..PretrainedLocations::default()
        });
        for part in [
            "MASKMAKER_PRETRAINED is not set",
            "holds resnet101-63fe2227.pth",
            "torchvision's resnet50-*.pth",
            "set use_pretrained_model to False",
        ] {
            assert!(none.contains(part), "{none}");
        }
        let unknown = folder(&["model.h5", "resnet50.onnx"]);
        let passed_over = said(PretrainedLocations {
            channel: Some(unknown.path().to_owned()),
            ..PretrainedLocations::default()
        });
        assert!(passed_over.contains("found model.h5, resnet50.onnx"), "{passed_over}");
        std::fs::create_dir(unknown.path().join("resnet50.pth")).unwrap();
        assert_eq!(find_in_folder(unknown.path(), Backbone::Resnet50).unwrap(), None);
        let channel =
            said(PretrainedLocations { channel: place.clone(), ..PretrainedLocations::default() });
        assert!(channel.starts_with("channel pretrained: "), "{channel}");
        assert!(channel.contains("found resnet101-63fe2227.pth"), "{channel}");
        let given = said(PretrainedLocations { explicit: place, ..PretrainedLocations::default() });
        assert!(given.starts_with("MASKMAKER_PRETRAINED: "), "{given}");
        let absent = said(PretrainedLocations {
            explicit: Some("/no/such/file".into()),
            ..PretrainedLocations::default()
        });
        assert!(absent.contains("there is no file or folder /no/such/file"), "{absent}");
        let uri = said(PretrainedLocations {
            explicit: Some("https://host/x.pth".into()),
            ..PretrainedLocations::default()
        });
        assert!(uri.contains("allowed: a file, a folder, s3://"), "{uri}");
    }
}
