//! Places of fetched images below the output folder.

use std::path::{Path, PathBuf};

use super::ledger::STATE_FOLDER;
use crate::preprocess::FileReference;

/// Folder of the images below the output.
const IMAGES_FOLDER: &str = "images";

/// Longest name of a file or folder, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// Returns the place of a reference's image below the output folder: the path that `preprocess` looks for,
/// and before it the host of a web address, because two servers may have files of one path.
///
/// The error text follows the reference in a sentence.
pub(super) fn place_image(reference: &str, host: Option<&str>) -> Result<PathBuf, String> {
    let Some(parsed) = FileReference::parse(reference) else {
        return Err("names no file".to_owned());
    };
    let host = host.map(|host| host.replace([':', '[', ']'], "_"));
    let place = place_names(Path::new(IMAGES_FOLDER), host.as_deref().into_iter())?;
    // Keys of S3 are as they are written; in addresses percent signs are those of their encoding.
    let is_encoded = !reference.starts_with("s3://") && reference.contains('%');
    let readings = parsed.readings();
    let decoded = if is_encoded { readings.get(1) } else { None };
    let Some(reading) = decoded.or(readings.first()) else {
        return Err("names no file".to_owned());
    };
    let names = reading.folders().iter().map(String::as_str).chain([reading.file_name()]);
    place_names(&place, names)
}

/// Returns the path of `names` below `folder`. Empty names, as two slashes have between them, are left out.
///
/// The error text follows the file's name in a sentence.
pub(super) fn place_names<'a>(
    folder: &Path,
    names: impl Iterator<Item = &'a str>,
) -> Result<PathBuf, String> {
    let mut place = folder.to_owned();
    for name in names {
        if name.len() > MAX_NAME_BYTES {
            return Err(format!(
                "has a name of {} bytes; a disk has up to {MAX_NAME_BYTES}",
                name.len()
            ));
        }
        if name.contains(['\0', '/']) || matches!(name, "." | ".." | STATE_FOLDER) {
            return Err(format!("has the name {name:?}, which no file has"));
        }
        if !name.is_empty() {
            place.push(name);
        }
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use super::*;

    fn place(reference: &str) -> String {
        place_image(reference, None).unwrap().display().to_string()
    }

    #[test]
    fn an_image_lies_where_its_reference_says() {
        assert_eq!(place("/data/upload/1/ab12cd34-a.jpg"), "images/data/upload/1/ab12cd34-a.jpg");
        assert_eq!(place("/data/local-files/?d=set1/a b.jpg"), "images/set1/a b.jpg");
        assert_eq!(
            place("/data/upload/1/ab12cd34-%C3%BCber_1.jpg"),
            "images/data/upload/1/ab12cd34-über_1.jpg"
        );
        assert_eq!(place("s3://bucket/x/a%20b.png"), "images/bucket/x/a%20b.png");
        assert_eq!(place("s3://bucket/x/é.png"), "images/bucket/x/é.png");
        assert_eq!(place("https://example.com/x/a.png?size=2"), "images/x/a.png");
        let web = place_image("https://example.com/x/a.png", Some("example.com:80")).unwrap();
        assert_eq!(web, Path::new("images/example.com_80/x/a.png"));
    }

    #[test]
    fn names_that_no_file_has_are_refused() {
        assert!(
            place_image("https://host/a.png", Some(".."))
                .unwrap_err()
                .contains("which no file has")
        );
        assert!(place_image("s3://bucket/.maskmaker-fetch/fetched.jsonl", None).is_err());
        let long = format!("s3://bucket/{}.png", "n".repeat(255));
        assert!(place_image(&long, None).unwrap_err().contains("259 bytes"));
        assert!(place_image("data:image/png;base64,AAAA", None).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_reference_leads_out_of_the_folder(reference in "(s3://|https://|/data/|\\.\\./|)(\\.\\./|/|%2e%2e/|\\\\|a|\\PC){0,12}") {
            for host in [None, Some("host"), Some("..")] {
                let Ok(place) = place_image(&reference, host) else { continue };
                let mut components = place.components();
                proptest::prop_assert_eq!(components.next(), Some(Component::Normal("images".as_ref())));
                proptest::prop_assert!(components.all(|part| matches!(part, Component::Normal(_))), "{:?}", place);
            }
        }
    }
}
