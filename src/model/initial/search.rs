//! Which file pretrained weights are read from.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sagemaker::hyperparameters::Backbone;

/// Endings of files that may hold weights.
const EXTENSIONS: [&str; 3] = ["pth", "pt", "safetensors"];

/// What may stand before a backbone in the name of a whole segmentation network's file.
const HEADS: [&str; 5] = ["fcn", "deeplabv3", "deeplab", "psp", "pspnet"];

/// Where pretrained weights may lie, in the order in which they are looked for. A place that was
/// asked for by name must hold them; the image's own folder may lack them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// `MASKMAKER_PRETRAINED`: a file or a folder.
    pub given: Option<PathBuf>,
    /// What the file at `given` is a copy of, for messages.
    pub fetched_from: Option<String>,
    /// The `pretrained` channel.
    pub channel: Option<PathBuf>,
    /// The folder that the image was built with.
    pub image: Option<PathBuf>,
}

/// The file with weights for `backbone`.
pub(super) fn find(places: &Places, backbone: Backbone) -> Result<PathBuf> {
    if let Some(given) = &places.given {
        return at(given, backbone).map_err(|error| error.within("MASKMAKER_PRETRAINED"));
    }
    if let Some(channel) = &places.channel {
        return within(channel, backbone)?.ok_or_else(|| {
            Error::input(format!("channel pretrained: {}", nothing(channel, backbone)))
        });
    }
    if let Some(image) = places.image.as_deref().filter(|image| image.is_dir())
        && let Some(path) = within(image, backbone)?
    {
        return Ok(path);
    }
    let image = places.image.as_deref().map_or_else(String::new, |image| {
        format!("; {} holds {}", image.display(), listed(&weights_files(image)))
    });
    let (name, file) = (backbone.name(), file_name(backbone));
    Err(Error::input(format!(
        "use_pretrained_model is True (its default), but there are no weights for {name}: \
         MASKMAKER_PRETRAINED is not set; there is no channel pretrained{image}. Give torchvision's \
         {file}-*.pth (or .safetensors) in a channel named pretrained or by MASKMAKER_PRETRAINED, \
         or set use_pretrained_model to False to start from random weights"
    )))
}

fn at(given: &Path, backbone: Backbone) -> Result<PathBuf> {
    let text = given.to_string_lossy();
    if text.contains("://") {
        return Err(Error::input(format!(
            "{text} is neither a path nor an S3 URI; allowed: a file, a folder, s3://BUCKET/KEY of a \
             file, s3://BUCKET/PREFIX/ of a folder"
        )));
    }
    if given.is_dir() {
        return within(given, backbone)?.ok_or_else(|| Error::input(nothing(given, backbone)));
    }
    if given.exists() {
        return Ok(given.to_owned());
    }
    Err(Error::input(format!("there is no file or folder {text}")))
}

/// The file with weights for `backbone` in a folder, if there is one.
fn within(folder: &Path, backbone: Backbone) -> Result<Option<PathBuf>> {
    let files = weights_files(folder);
    let chosen = choose(&files, folder.display(), backbone)?;
    Ok(chosen.map(|name| folder.join(name)))
}

/// The file with weights for `backbone` among the `names` of a folder at `place`.
pub fn pick(names: Vec<String>, place: impl fmt::Display, backbone: Backbone) -> Result<String> {
    let names = only_weights(names);
    choose(&names, &place, backbone)?
        .map(str::to_owned)
        .ok_or_else(|| Error::input(nothing_among(&names, place, backbone)))
}

/// The file that is named after the backbone (`resnet50-0676ba61.pth`,
/// `fcn_resnet50_coco-1167a1af.pth`), else the one named `model`, else the only one that is not
/// named after another backbone. Several of a kind are an error, because a guess would be silent.
fn choose(files: &[String], place: impl fmt::Display, backbone: Backbone) -> Result<Option<&str>> {
    let stem = |name: &String| name.rsplit_once('.').is_some_and(|(stem, _)| stem == "model");
    let kinds: [Vec<&String>; 3] = [
        files.iter().filter(|name| named_after(name) == Some(backbone)).collect(),
        files.iter().filter(|name| stem(name)).collect(),
        files.iter().filter(|name| named_after(name).is_none()).collect(),
    ];
    match kinds.iter().find(|kind| !kind.is_empty()).map(Vec::as_slice) {
        None => Ok(None),
        Some([only]) => Ok(Some(only)),
        Some(several) => Err(Error::input(format!(
            "{place} holds several files with weights that could be for {}: {}; keep one, or name it \
             by MASKMAKER_PRETRAINED",
            backbone.name(),
            several.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// The names of files in a folder that may hold weights, sorted.
fn weights_files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok());
    only_weights(names.collect())
}

fn only_weights(names: Vec<String>) -> Vec<String> {
    let mut names: Vec<String> = names
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .filter(|name| {
            let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_lowercase());
            extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
        })
        .collect();
    names.sort();
    names
}

/// The backbone that a file is named after.
fn named_after(name: &str) -> Option<Backbone> {
    let name = name.to_lowercase().replace('-', "_");
    let (head, rest) = name.split_once("resnet")?;
    let head = head.trim_end_matches('_');
    if !head.is_empty() && !HEADS.contains(&head) {
        return None;
    }
    let rest = rest.trim_start_matches('_');
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Backbone::ALL.into_iter().find(|backbone| file_name(*backbone) == format!("resnet{digits}"))
}

/// A backbone as torchvision's files are named: `resnet50`.
fn file_name(backbone: Backbone) -> String {
    backbone.name().replace('-', "")
}

fn nothing(folder: &Path, backbone: Backbone) -> String {
    nothing_among(&weights_files(folder), folder.display(), backbone)
}

fn nothing_among(names: &[String], place: impl fmt::Display, backbone: Backbone) -> String {
    let file = file_name(backbone);
    format!(
        "{place} holds no weights for {}: expected {file}*.pth or {file}*.safetensors, found {}",
        backbone.name(),
        listed(names)
    )
}

fn listed(names: &[String]) -> String {
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
        let path = within(folder.path(), Backbone::Resnet50)?;
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
        let found = |places: &Places| find(places, Backbone::Resnet50).unwrap();
        let (given, channel, image) = (path(0), path(1), path(2));
        let mut places = Places { given, channel, image, fetched_from: None };
        let file = |index: usize| folders[index].path().join("resnet50.pth");
        assert_eq!(found(&places), file(0));
        places.given = Some(file(2));
        assert_eq!(found(&places), file(2));
        places.given = None;
        assert_eq!(found(&places), file(1));
        places.channel = None;
        assert_eq!(found(&places), file(2));
    }

    #[test]
    fn places_without_weights_are_told_with_what_they_hold() {
        let other = folder(&["resnet101-63fe2227.pth"]);
        let said = |places: Places| find(&places, Backbone::Resnet50).unwrap_err().to_string();
        let place = Some(other.path().to_owned());
        let none = said(Places { image: place.clone(), ..Places::default() });
        for part in [
            "MASKMAKER_PRETRAINED is not set",
            "holds resnet101-63fe2227.pth",
            "torchvision's resnet50-*.pth",
            "set use_pretrained_model to False",
        ] {
            assert!(none.contains(part), "{none}");
        }
        let channel = said(Places { channel: place.clone(), ..Places::default() });
        assert!(channel.starts_with("channel pretrained: "), "{channel}");
        assert!(channel.contains("found resnet101-63fe2227.pth"), "{channel}");
        let given = said(Places { given: place, ..Places::default() });
        assert!(given.starts_with("MASKMAKER_PRETRAINED: "), "{given}");
        let absent = said(Places { given: Some("/no/such/file".into()), ..Places::default() });
        assert!(absent.contains("there is no file or folder /no/such/file"), "{absent}");
        let uri = said(Places { given: Some("https://host/x.pth".into()), ..Places::default() });
        assert!(uri.contains("allowed: a file, a folder, s3://"), "{uri}");
    }
}
