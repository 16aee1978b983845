//! Which file pretrained weights are read from.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sagemaker::hyperparameters::Backbone;

/// Endings of files that may hold weights.
const WEIGHTS_EXTENSIONS: [&str; 3] = ["pth", "pt", "safetensors"];

/// What may stand before a backbone in the name of a whole segmentation network's file.
const HEAD_PREFIXES: [&str; 5] = ["fcn", "deeplabv3", "deeplab", "psp", "pspnet"];

/// Where pretrained weights may lie, in the order in which they are looked for. A place that was
/// asked for by name must hold them; the image's own folder may lack them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PretrainedLocations {
    /// `MASKMAKER_PRETRAINED`: a file or a folder.
    pub explicit: Option<PathBuf>,
    /// What the file at `given` is a copy of, for messages.
    pub fetched_from: Option<String>,
    /// The `pretrained` channel.
    pub channel: Option<PathBuf>,
    /// The folder that the image was built with.
    pub image_folder: Option<PathBuf>,
}

/// The file with weights for `backbone`.
pub(super) fn find_pretrained_file(
    locations: &PretrainedLocations,
    backbone: Backbone,
) -> Result<PathBuf> {
    if let Some(given) = &locations.explicit {
        return resolve_explicit_path(given, backbone)
            .map_err(|error| error.with_context("MASKMAKER_PRETRAINED"));
    }
    if let Some(channel) = &locations.channel {
        return find_in_folder(channel, backbone)?.ok_or_else(|| {
            Error::input(format!("channel pretrained: {}", no_weights_in_folder(channel, backbone)))
        });
    }
    if let Some(image) = locations.image_folder.as_deref().filter(|image| image.is_dir())
        && let Some(path) = find_in_folder(image, backbone)?
    {
        return Ok(path);
    }
    let image_note = locations.image_folder.as_deref().map_or_else(String::new, |image| {
        format!("; {} holds {}", image.display(), join_names(&list_weights_files(image)))
    });
    let (name, file) = (backbone.name(), torchvision_name(backbone));
    Err(Error::input(format!(
        "use_pretrained_model is True (its default), but there are no weights for {name}: \
         MASKMAKER_PRETRAINED is not set; there is no channel pretrained{image_note}. Give torchvision's \
         {file}-*.pth (or .safetensors) in a channel named pretrained or by MASKMAKER_PRETRAINED, \
         or set use_pretrained_model to False to start from random weights"
    )))
}

fn resolve_explicit_path(path: &Path, backbone: Backbone) -> Result<PathBuf> {
    let text = path.to_string_lossy();
    if text.contains("://") {
        return Err(Error::input(format!(
            "{text} is neither a path nor an S3 URI; allowed: a file, a folder, s3://BUCKET/KEY of a \
             file, s3://BUCKET/PREFIX/ of a folder"
        )));
    }
    if path.is_dir() {
        return find_in_folder(path, backbone)?
            .ok_or_else(|| Error::input(no_weights_in_folder(path, backbone)));
    }
    if path.exists() {
        return Ok(path.to_owned());
    }
    Err(Error::input(format!("there is no file or folder {text}")))
}

/// The file with weights for `backbone` in a folder, if there is one.
fn find_in_folder(folder: &Path, backbone: Backbone) -> Result<Option<PathBuf>> {
    let files = list_weights_files(folder);
    let chosen_name = choose_weights_file(&files, folder.display(), backbone)?;
    Ok(chosen_name.map(|name| folder.join(name)))
}

/// The file with weights for `backbone` among the `names` of a folder at `place`.
pub fn pick_weights_file(
    names: Vec<String>,
    location: impl fmt::Display,
    backbone: Backbone,
) -> Result<String> {
    let names = keep_weights_files(names);
    choose_weights_file(&names, &location, backbone)?
        .map(str::to_owned)
        .ok_or_else(|| Error::input(no_weights_message(&names, location, backbone)))
}

/// The file that is named after the backbone (`resnet50-0676ba61.pth`,
/// `fcn_resnet50_coco-1167a1af.pth`), else the one named `model`, else the only one that is not
/// named after another backbone. Several of a kind are an error, because a guess would be silent.
fn choose_weights_file(
    files: &[String],
    location: impl fmt::Display,
    backbone: Backbone,
) -> Result<Option<&str>> {
    let is_named_model =
        |name: &String| name.rsplit_once('.').is_some_and(|(stem, _)| stem == "model");
    let candidate_lists: [Vec<&String>; 3] = [
        files.iter().filter(|name| parse_backbone(name) == Some(backbone)).collect(),
        files.iter().filter(|name| is_named_model(name)).collect(),
        files.iter().filter(|name| parse_backbone(name).is_none()).collect(),
    ];
    match candidate_lists.iter().find(|kind| !kind.is_empty()).map(Vec::as_slice) {
        None => Ok(None),
        Some([only]) => Ok(Some(only)),
        Some(several) => Err(Error::input(format!(
            "{location} holds several files with weights that could be for {}: {}; keep one, or name it \
             by MASKMAKER_PRETRAINED",
            backbone.name(),
            several.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// The names of files in a folder that may hold weights, sorted.
fn list_weights_files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok());
    keep_weights_files(names.collect())
}

fn keep_weights_files(names: Vec<String>) -> Vec<String> {
    let mut names: Vec<String> = names
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .filter(|name| {
            let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_lowercase());
            extension.is_some_and(|extension| WEIGHTS_EXTENSIONS.contains(&extension.as_str()))
        })
        .collect();
    names.sort();
    names
}

/// The backbone that a file is named after.
fn parse_backbone(name: &str) -> Option<Backbone> {
    let name = name.to_lowercase().replace('-', "_");
    let (head, rest) = name.split_once("resnet")?;
    let head = head.trim_end_matches('_');
    if !head.is_empty() && !HEAD_PREFIXES.contains(&head) {
        return None;
    }
    let rest = rest.trim_start_matches('_');
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Backbone::ALL
        .into_iter()
        .find(|backbone| torchvision_name(*backbone) == format!("resnet{digits}"))
}

/// A backbone as torchvision's files are named: `resnet50`.
fn torchvision_name(backbone: Backbone) -> String {
    backbone.name().replace('-', "")
}

fn no_weights_in_folder(folder: &Path, backbone: Backbone) -> String {
    no_weights_message(&list_weights_files(folder), folder.display(), backbone)
}

fn no_weights_message(names: &[String], location: impl fmt::Display, backbone: Backbone) -> String {
    let file = torchvision_name(backbone);
    format!(
        "{location} holds no weights for {}: expected {file}*.pth or {file}*.safetensors, found {}",
        backbone.name(),
        join_names(names)
    )
}

fn join_names(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
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
