//! The annotations and images of a project of Label Studio.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::downloads::{Download, DownloadSource, Downloader, FetchSummary};
use super::place::place_image;
use crate::annotations::label_config::{ImageTag, parse_label_config};
use crate::annotations::label_studio::read_task_summary;
use crate::error::{Error, ErrorContext, Result};
use crate::files::{PathContext, write_atomically, write_atomically_with};
use crate::label_studio::{ImageSource, LabelStudio};
use crate::web_client::name_reference;

/// Tasks per request for their annotations: few enough that a server answers within the minute after which
/// those that stand before it give up.
const EXPORT_PAGE: usize = 100;

/// Project, and which of its tasks are wanted.
#[derive(Debug, Clone, Copy)]
pub struct ProjectOptions {
    pub project_id: i64,
    /// True if the images of tasks without annotations are wanted too.
    pub all_tasks: bool,
}

/// Fetches the labeling configuration, the annotations and the images of a project into
/// `label_config/label_config.xml`, `annotations/project-ID.json` and `images/` below the output.
///
/// The annotations are read anew each time, because they change; images are fetched once. Returns the
/// number of tasks and what was fetched.
pub fn fetch_project(
    label_studio: &LabelStudio,
    options: ProjectOptions,
    downloader: &Downloader<'_>,
) -> Result<(usize, FetchSummary)> {
    let project = downloader.wait_for(label_studio.read_project(options.project_id))??;
    let xml = project.label_config.clone().unwrap_or_default();
    let config = parse_label_config(xml.as_bytes()).map_err(|cause| {
        Error::input(format!("the labeling configuration of {} {cause}", project.describe()))
    })?;
    write_atomically(&downloader.output.join("label_config/label_config.xml"), xml.as_bytes())?;
    let task_ids = list_task_ids(label_studio, options, downloader)?;
    if task_ids.is_empty() {
        let fix = if options.all_tasks {
            "import some"
        } else {
            "annotate some, or give --all-tasks for the images"
        };
        let what = if options.all_tasks { "no tasks" } else { "no task with an annotation" };
        return Err(Error::input(format!("{} has {what}; {fix}", project.describe())));
    }
    let mut images = ProjectImages::new(label_studio, &config.image_tags);
    let file = downloader.output.join(format!("annotations/project-{}.json", project.id));
    write_atomically_with(&file, |partial| {
        export_tasks(label_studio, options.project_id, &task_ids, downloader, partial, &mut images)
    })?;
    let downloads: Vec<Download> = images.downloads.into_values().collect();
    let mut summary = downloader.fetch(&downloads)?;
    summary.missing.extend(images.unusable);
    Ok((task_ids.len(), summary))
}

/// Lists the tasks whose annotations are wanted.
fn list_task_ids(
    label_studio: &LabelStudio,
    options: ProjectOptions,
    downloader: &Downloader<'_>,
) -> Result<Vec<i64>> {
    let mut ids = BTreeSet::new();
    let listing = label_studio.for_each_task(options.project_id, None, |task| {
        if options.all_tasks || task.is_annotated() {
            ids.insert(task.id);
        }
    });
    downloader.wait_for(listing)??;
    Ok(ids.into_iter().collect())
}

/// Writes the tasks with their annotations as one JSON list, a line per task, and notes their images.
fn export_tasks(
    label_studio: &LabelStudio,
    project_id: i64,
    task_ids: &[i64],
    downloader: &Downloader<'_>,
    path: &Path,
    images: &mut ProjectImages<'_>,
) -> Result<()> {
    let mut file = BufWriter::new(File::create(path).with_path("write", path)?);
    let mut separator = "[\n";
    for page in task_ids.chunks(EXPORT_PAGE) {
        downloader.check_stop()?;
        let exported = downloader.wait_for(label_studio.export_tasks(project_id, page))??;
        let tasks: Vec<&RawValue> = serde_json::from_slice(&exported).map_err(|cause| {
            Error::input(format!(
                "the export of project {project_id} is no JSON list of tasks ({cause})"
            ))
        })?;
        let mut wanted: BTreeSet<i64> = page.iter().copied().collect();
        for task in tasks {
            let id = read_task_id(task.get());
            if !id.is_some_and(|id| wanted.remove(&id)) {
                return Err(Error::input(format!(
                    "the export of project {project_id} has a task that was not asked for, or twice ({}); does \
                     something between here and Label Studio drop ids[] from its addresses?",
                    id.map_or("without an id".to_owned(), |id| format!("task {id}"))
                )));
            }
            images
                .add_task(task.get().as_bytes())
                .error_context(format_args!("the export of project {project_id}"))?;
            write!(file, "{separator}{}", task.get()).with_path("write", path)?;
            separator = ",\n";
        }
        for id in wanted {
            images.unusable.insert(format!("task {id}: is no longer there"));
        }
    }
    if separator == "[\n" {
        file.write_all(b"[").with_path("write", path)?;
    }
    file.write_all(b"\n]\n").and_then(|()| file.flush()).with_path("write", path)
}

/// Returns the id of a task.
fn read_task_id(task: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Id {
        id: i64,
    }
    serde_json::from_str::<Id>(task).ok().map(|task| task.id)
}

/// Images of tasks, each once.
struct ProjectImages<'a> {
    label_studio: &'a LabelStudio,
    tags: &'a [ImageTag],
    /// Files to fetch, by reference.
    downloads: BTreeMap<String, Download>,
    /// Images that cannot be fetched, with the reasons.
    unusable: BTreeSet<String>,
}

impl<'a> ProjectImages<'a> {
    fn new(label_studio: &'a LabelStudio, tags: &'a [ImageTag]) -> Self {
        Self { label_studio, tags, downloads: BTreeMap::new(), unusable: BTreeSet::new() }
    }

    /// Adds the images of a task, of which `task` is the JSON.
    fn add_task(&mut self, task: &[u8]) -> Result<()> {
        let summary = read_task_summary(task).map_err(|cause| Error::input(cause.to_string()))?;
        let task_id = summary.task_id.unwrap_or_default();
        for tag in self.tags {
            for image in tag.find_images(&summary.data, &summary.nested_data) {
                if self.downloads.contains_key(&image.reference) {
                    continue;
                }
                match find_download(&image.reference, self.label_studio, task_id) {
                    Ok(download) => {
                        self.downloads.insert(image.reference, download);
                    }
                    Err(reason) => {
                        let name = name_reference(&image.reference);
                        self.unusable.insert(format!("{name}: {reason}"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Finds how the image of a reference is fetched.
fn find_download(
    reference: &str,
    label_studio: &LabelStudio,
    task_id: i64,
) -> Result<Download, String> {
    let source = match ImageSource::find(reference, label_studio.server(), task_id)? {
        ImageSource::LabelStudio(url) => DownloadSource::LabelStudio(url),
        ImageSource::Web(url) => DownloadSource::Web(url),
        ImageSource::Data(_) => {
            return Err(
                "holds the image itself (a data URL), which preprocess does not read".to_owned()
            );
        }
    };
    let host = match &source {
        DownloadSource::Web(url) => url.host_str().map(|host| match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }),
        _ => None,
    };
    let place: PathBuf = place_image(reference, host.as_deref())?;
    Ok(Download { reference: reference.to_owned(), place, source, version: None })
}
