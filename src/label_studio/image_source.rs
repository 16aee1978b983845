//! Where the images of tasks are, by the texts in the tasks' data.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::web_client::Url;

/// Place from which an image of a task can be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// Address of Label Studio itself, for which its token is needed: an upload, a file of a local
    /// storage, or an object of a cloud's storage, which Label Studio signs and redirects to.
    LabelStudio(Url),
    /// Address of another server.
    Web(Url),
    /// Content of the image, which the text itself holds.
    Data(Vec<u8>),
}

/// Schemes of the storages that Label Studio can sign addresses of.
const STORAGE_SCHEMES: [&str; 5] = ["s3", "gs", "azure-blob", "azure_blob", "azure-spi"];

impl ImageSource {
    /// Finds the place of an image. `server` is the address of Label Studio, with a slash at its end, and
    /// `task_id` the task whose data have `text`.
    ///
    /// The error text follows the image's name in a sentence.
    pub fn find(text: &str, server: &Url, task_id: i64) -> Result<Self, String> {
        let text = text.trim();
        if let Some(data) = text.strip_prefix("data:") {
            return decode_data_url(data).map(Self::Data);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            let scheme = scheme.to_ascii_lowercase();
            if STORAGE_SCHEMES.contains(&scheme.as_str()) {
                return resolve_address(text, server, task_id).map(Self::LabelStudio);
            }
            if !matches!(scheme.as_str(), "http" | "https") {
                return Err(format!(
                    "has the scheme {scheme}://; http, https and Label Studio's storages ({}) can be fetched",
                    STORAGE_SCHEMES[..3].join(", ")
                ));
            }
            let url: Url = text.parse().map_err(|cause| format!("is no web address ({cause})"))?;
            if url.origin() == server.origin() && url.path().starts_with(server.path()) {
                return check_own_path(url, server).map(Self::LabelStudio);
            }
            return Ok(Self::Web(url));
        }
        if !text.starts_with('/') {
            return Err(
                "is a mere path, which Label Studio cannot show either; it shows /data/upload/, \
                        /data/local-files/, addresses of its storages and of the web"
                    .to_owned(),
            );
        }
        // A server below a path, such as https://example.com/label-studio/, is sometimes in the text already.
        let path = text.strip_prefix(server.path()).unwrap_or(&text[1..]);
        let url = server
            .join(path)
            .map_err(|cause| format!("is no address of Label Studio ({cause})"))?;
        if url.origin() != server.origin() {
            return Err(format!(
                "leads to {} and not to Label Studio",
                url.origin().ascii_serialization()
            ));
        }
        check_own_path(url, server).map(Self::LabelStudio)
    }
}

/// Refuses addresses of Label Studio that show no images. Who imports tasks must not choose what is asked
/// with the token of another user: `/api/current-user/token` is that user's token.
fn check_own_path(url: Url, server: &Url) -> Result<Url, String> {
    let path = url.path().strip_prefix(server.path()).unwrap_or_default();
    let mut parts = path.split('/');
    let is_allowed = match parts.next() {
        Some("data" | "storage-data" | "static") => true,
        Some("tasks" | "projects") => {
            let is_number = parts.next().is_some_and(|part| part.parse::<u64>().is_ok());
            is_number && matches!(parts.next(), Some("resolve" | "presign"))
        }
        _ => false,
    };
    if is_allowed && has_plain_names(path) {
        return Ok(url);
    }
    Err(format!(
        "is an address of Label Studio that shows no image ({path}); allowed are /data/..., /storage-data/..., \
         /tasks/ID/resolve/ and /projects/ID/resolve/"
    ))
}

/// Returns true if no name of a path leads to another folder once its percent signs are decoded.
fn has_plain_names(path: &str) -> bool {
    path.split('/').all(|name| {
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        !name.contains(['/', '\\']) && name != ".." && name != "."
    })
}

/// Returns the address at which Label Studio signs one of a storage and redirects to it.
fn resolve_address(uri: &str, server: &Url, task_id: i64) -> Result<Url, String> {
    let encoded = URL_SAFE.encode(uri);
    let mut url = server
        .join(&format!("tasks/{task_id}/resolve/"))
        .map_err(|cause| format!("is no address of Label Studio ({cause})"))?;
    url.query_pairs_mut().append_pair("fileuri", &encoded);
    Ok(url)
}

/// Returns the bytes of a data URL, of which `data` is what follows `data:`.
fn decode_data_url(data: &str) -> Result<Vec<u8>, String> {
    let Some((kind, content)) = data.split_once(',') else {
        return Err(
            "is a data URL without a comma; its form is data:image/png;base64,CONTENT".to_owned()
        );
    };
    if !kind.ends_with(";base64") {
        return Ok(percent_encoding::percent_decode_str(content).collect());
    }
    let content: String = content.chars().filter(|sign| !sign.is_ascii_whitespace()).collect();
    STANDARD
        .decode(&content)
        .map_err(|cause| format!("is a data URL whose base64 cannot be read ({cause})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, server: &str) -> Result<ImageSource, String> {
        ImageSource::find(text, &server.parse().unwrap(), 7)
    }

    #[track_caller]
    fn assert_own(text: &str, server: &str, expected: &str) {
        let found = find(text, server);
        assert_eq!(found, Ok(ImageSource::LabelStudio(expected.parse().unwrap())));
    }

    #[test]
    fn paths_are_label_studios_own() {
        let server = "http://ls.local:8080/";
        assert_own(
            "/data/upload/1/ab12-a%20b.jpg",
            server,
            "http://ls.local:8080/data/upload/1/ab12-a%20b.jpg",
        );
        let local = "/data/local-files/?d=set1/é.jpg";
        assert_own(local, server, "http://ls.local:8080/data/local-files/?d=set1/%C3%A9.jpg");
        let below = "https://example.com/tools/ls/";
        assert_own(
            "/data/upload/1/a.jpg",
            below,
            "https://example.com/tools/ls/data/upload/1/a.jpg",
        );
        assert_own(
            "/tools/ls/data/upload/1/a.jpg",
            below,
            "https://example.com/tools/ls/data/upload/1/a.jpg",
        );
    }

    #[test]
    fn storages_are_resolved_for_their_task() {
        let resolved = "http://ls/tasks/7/resolve/?fileuri=czM6Ly9iL2VzcGHDp28ucG5n";
        assert_own("s3://b/espaço.png", "http://ls/", resolved);
        for text in ["gs://b/a.png", "azure-blob://c/a.png", "S3://b/a.png"] {
            assert!(matches!(find(text, "http://ls/"), Ok(ImageSource::LabelStudio(_))), "{text}");
        }
        // As the list of tasks has it.
        let listed = "/tasks/12/resolve/?fileuri=czM6Ly9iL2E=";
        assert_own(listed, "http://ls/", "http://ls/tasks/12/resolve/?fileuri=czM6Ly9iL2E=");
    }

    #[test]
    fn only_label_studios_own_addresses_get_its_token() {
        let server = "http://ls.local:8080/tools/";
        assert_own(
            "http://ls.local:8080/tools/data/a.jpg",
            server,
            "http://ls.local:8080/tools/data/a.jpg",
        );
        for text in [
            "http://ls.local/tools/data/a.jpg",
            "https://ls.local:8080/tools/data/a.jpg",
            "http://ls.local:8080@evil.example/tools/data/a.jpg",
            "http://ls.local:8080.evil.example/tools/a.jpg",
            "http://evil.example/?http://ls.local:8080/tools/",
            "http://ls.local:8080/other/a.jpg",
            "http://ls.local:8080/tools/api/token/",
        ] {
            assert!(!matches!(find(text, server), Ok(ImageSource::LabelStudio(_))), "{text}");
        }
        // Two slashes at the start name another host, after a join of addresses.
        for text in ["//evil.example/a.jpg", "/\\evil.example/a.jpg", "///evil.example/a.jpg"] {
            let leads_away = matches!(find(text, "http://ls/"), Ok(ImageSource::LabelStudio(url)) if url.host_str() != Some("ls"));
            assert!(!leads_away, "{text}");
        }
    }

    #[test]
    fn addresses_of_label_studio_that_show_no_image_are_refused() {
        for text in [
            "/api/current-user/token",
            "http://ls/api/token/",
            "/data/../api/projects/2/export",
            "/data/%2e%2e/api/token/",
            "/data/..%2fapi/token/",
            "/tasks/7/annotations/",
            "/tasks/x/resolve/",
            "/",
            "/logout",
        ] {
            let refused = find(text, "http://ls/").unwrap_err();
            assert!(refused.contains("shows no image"), "{text}: {refused}");
        }
        for text in [
            "/projects/3/presign/?fileuri=x",
            "/static/samples/a.jpg",
            "/storage-data/uploaded/?filepath=a",
        ] {
            assert!(matches!(find(text, "http://ls/"), Ok(ImageSource::LabelStudio(_))), "{text}");
        }
    }

    #[test]
    fn data_urls_hold_the_image() {
        assert_eq!(
            find("data:image/png;base64,AQI\nD", "http://ls/"),
            Ok(ImageSource::Data(vec![1, 2, 3]))
        );
        assert_eq!(
            find("data:text/plain,a%20b", "http://ls/"),
            Ok(ImageSource::Data(b"a b".to_vec()))
        );
        assert!(
            find("data:image/png;base64", "http://ls/").unwrap_err().contains("without a comma")
        );
        assert!(
            find("data:image/png;base64,*", "http://ls/")
                .unwrap_err()
                .contains("base64 cannot be read")
        );
    }

    #[test]
    fn other_texts_are_refused() {
        assert!(find("a.jpg", "http://ls/").unwrap_err().contains("mere path"));
        assert!(find("ftp://host/a.jpg", "http://ls/").unwrap_err().contains("scheme ftp://"));
        assert!(find("file:///etc/passwd", "http://ls/").unwrap_err().contains("scheme file://"));
    }

    proptest::proptest! {
        #[test]
        fn a_label_studio_source_is_on_its_own_host(text in "(/|//|\\\\|http://|https://|s3://|data:|)\\PC{0,40}") {
            let server: Url = "https://ls.example:8443/sub/".parse().unwrap();
            if let Ok(ImageSource::LabelStudio(url)) = ImageSource::find(&text, &server, 1) {
                proptest::prop_assert_eq!(url.origin(), server.origin());
            }
        }
    }
}
