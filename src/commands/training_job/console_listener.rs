//! The console as the listener of a data set.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use crate::console::{print_stderr, print_stdout};
use crate::data::listener::Listener;
use crate::progress::Progress;

/// Prints lines, and shows the progress of the current task.
#[derive(Debug, Default)]
pub(in crate::commands) struct ConsoleListener {
    progress: Mutex<Option<Progress>>,
}

impl ConsoleListener {
    fn set_progress(&self, progress: Option<Progress>) -> Option<Progress> {
        let mut current = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, progress)
    }
}

impl Listener for ConsoleListener {
    fn on_result(&self, line: &dyn Display) {
        print_stdout(line);
    }

    fn on_note(&self, line: &dyn Display) {
        print_stderr(line);
    }

    fn on_task(&self, task: &str, image_count: usize) {
        self.set_progress(Some(Progress::new(task, image_count)));
    }

    fn on_image(&self) {
        let mut current = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = &mut *current {
            progress.advance(1, || None);
        }
    }

    fn on_task_end(&self) {
        if let Some(progress) = self.set_progress(None) {
            progress.finish();
        }
    }
}
