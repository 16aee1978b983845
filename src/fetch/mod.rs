//! Fetching data that lie elsewhere into the folders that `preprocess` reads.
//!
//! | module | task |
//! |---|---|
//! | `place` | where the image of a reference lies below the output, so that `preprocess` finds it |
//! | `ledger` | what was fetched whole, so that nothing is fetched twice |
//! | `downloads` | many files at a time, each whole or absent |
//! | `label_studio` | the annotations and images of a project |
//! | `objects` | files below a prefix of S3, and those that a manifest of Ground Truth names |
//! | `archive` | archives on the web, which are unpacked |

mod archive;
mod downloads;
mod label_studio;
mod ledger;
mod objects;
mod place;

pub use self::archive::fetch_archive;
pub use self::downloads::{
    Claims, Download, DownloadSource, Downloader, FetchSummary, remove_partials_below,
};
pub use self::label_studio::{ProjectOptions, fetch_project};
pub use self::objects::{fetch_manifest, fetch_prefix};
