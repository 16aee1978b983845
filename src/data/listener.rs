//! The border between this room, which makes the lines that users see while data are read, and
//! the commands, which print them.

use std::fmt::{Debug, Display};

/// Receives lines and progress while data are read, in their order and from any thread.
pub trait Listener: Debug + Sync {
    /// Takes a result, which belongs on standard output.
    fn on_result(&self, line: &dyn Display);

    /// Takes a warning or a state, which belongs on standard error.
    fn on_note(&self, line: &dyn Display);

    /// Takes the start of a task over `image_count` images. One task runs at a time.
    fn on_task(&self, task: &str, image_count: usize);

    /// Counts one more image of the current task.
    fn on_image(&self);

    /// Takes the end of the current task, of which some images may be left.
    fn on_task_end(&self);
}

/// A listener of tests, which drops everything.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct SilentListener;

#[cfg(test)]
impl Listener for SilentListener {
    fn on_result(&self, _: &dyn Display) {}

    fn on_note(&self, _: &dyn Display) {}

    fn on_task(&self, _: &str, _: usize) {}

    fn on_image(&self) {}

    fn on_task_end(&self) {}
}
