//! The tasks of a project.

use reqwest::header::ACCEPT;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::LabelStudio;
use super::api::MAX_PAGE_BYTES;
use crate::error::Result;
use crate::web_client::{WebErrorKind, WebRequest};

/// Tasks per page of the list of a project's tasks.
const LIST_PAGE: u64 = 500;

/// Times that a list of tasks is read if it changes meanwhile.
const MAX_LISTINGS: usize = 3;

/// A task without its annotations and predictions.
#[derive(Debug, Clone, Deserialize)]
pub struct Task {
    pub id: i64,
    /// Values that the labeling configuration shows, with references as the tasks have them.
    #[serde(default)]
    pub data: Map<String, Value>,
    #[serde(default)]
    pub total_annotations: u64,
    #[serde(default)]
    pub cancelled_annotations: u64,
}

impl Task {
    /// Returns true if somebody annotated or skipped the task.
    pub fn is_annotated(&self) -> bool {
        self.total_annotations > 0 || self.cancelled_annotations > 0
    }
}

#[derive(Debug, Deserialize)]
struct TaskPage {
    tasks: Vec<Task>,
    /// Number of tasks in all pages.
    total: u64,
}

impl LabelStudio {
    /// Hands over the tasks of a project, in the order of their ids; with `without_version` those alone that
    /// have no prediction of this version of a model. A task that is added or deleted meanwhile moves the
    /// others between the pages, so that the list is read again if the number of tasks changed, and tasks
    /// are handed over again.
    pub async fn for_each_task(
        &self,
        project_id: i64,
        without_version: Option<&str>,
        mut use_task: impl FnMut(Task),
    ) -> Result<()> {
        for _ in 0..MAX_LISTINGS {
            if self.list_pages(project_id, without_version, &mut use_task).await? {
                break;
            }
        }
        Ok(())
    }

    /// Hands over the tasks of all pages. Returns false if their number changed from one page to another.
    async fn list_pages(
        &self,
        project_id: i64,
        without_version: Option<&str>,
        use_task: &mut impl FnMut(Task),
    ) -> Result<bool> {
        let mut seen = std::collections::HashSet::new();
        let mut first_total = None;
        for page in 1.. {
            let Some(TaskPage { tasks, total }) =
                self.read_page(project_id, page, without_version).await?
            else {
                break;
            };
            let known = seen.len();
            for task in tasks {
                seen.insert(task.id);
                use_task(task);
            }
            if *first_total.get_or_insert(total) != total {
                return Ok(false);
            }
            // A server may allow fewer tasks per page than were asked for.
            if seen.len() as u64 >= total || seen.len() == known {
                break;
            }
        }
        Ok(true)
    }

    /// Returns a page of a project's tasks. `page` counts from 1; behind the last one there is none.
    async fn read_page(
        &self,
        project_id: i64,
        page: u64,
        without_version: Option<&str>,
    ) -> Result<Option<TaskPage>> {
        let mut query = vec![
            ("project", project_id.to_string()),
            ("page", page.to_string()),
            ("page_size", LIST_PAGE.to_string()),
            ("resolve_uri", "false".to_owned()),
        ];
        if let Some(version) = without_version {
            // A filter of the data manager, which its page sends too.
            let filter = json!({
                "filter": "filter:tasks:predictions_model_versions",
                "operator": "not_contains",
                "type": "List",
                "value": [version],
            });
            let filters = json!({ "filters": { "conjunction": "and", "items": [filter] } });
            query.push(("query", filters.to_string()));
        }
        let url = self.address("api/tasks/", &query)?;
        let request = WebRequest::get(&url).header(ACCEPT, "application/json");
        let body = match self.read_authorized(&request, MAX_PAGE_BYTES).await {
            Err(error) if page > 1 && error.kind == WebErrorKind::Status(404) => return Ok(None),
            body => body?,
        };
        Ok(Some(self.parse(&url, &body)?))
    }
}
