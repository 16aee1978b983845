//! Table of the steps of an execution for people: on a terminal a line per step, which changes as the
//! step goes on; elsewhere a plain line for each change.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::print_stderr;

/// Least time between plain lines about a step's metrics.
const PLAIN_LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two drawings of the running times.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// News of a step, for the table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StepNews {
    /// A line for the log that a person should see.
    Note(String),
    /// A metric of the job and its value.
    Metric(String, f64),
    /// A text on how far the step is.
    Progress(String),
}

/// State of a step as the table shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShownState {
    Waiting,
    Running,
    Succeeded,
    /// The result of an earlier run stands for it.
    Cached,
    Failed,
    /// A person stopped it.
    Stopped,
    /// It is in the branch that was not taken, or waits for one that is.
    NotRun,
}

impl ShownState {
    /// Returns the state as a word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Cached => "cached",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::NotRun => "not run",
        }
    }
}

/// Table of the steps. Threads of several steps write to it.
pub(crate) struct Table {
    lines: Mutex<BTreeMap<String, Line>>,
    /// The drawing on a terminal; none elsewhere.
    drawing: Option<MultiProgress>,
    name_width: usize,
}

struct Line {
    state: ShownState,
    started: Option<Instant>,
    /// Time that the step took, once it is over.
    took: Option<Duration>,
    /// Last metric or remark.
    text: String,
    bar: Option<ProgressBar>,
    printed: Option<Instant>,
}

impl Line {
    /// Returns the time since the step began, or the time that it took.
    fn elapsed(&self) -> Option<Duration> {
        self.took.or_else(|| self.started.map(|started| started.elapsed()))
    }
}

impl Table {
    /// Shows steps, by name, which all wait.
    pub(crate) fn new(steps: &[&str]) -> Self {
        let name_width = steps.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        let table = Self::empty(name_width);
        for name in steps {
            table.add(name);
        }
        table
    }

    /// Makes a table without lines. Names are padded to a width, in characters.
    pub(crate) fn empty(name_width: usize) -> Self {
        let drawing = std::io::stderr()
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { lines: Mutex::new(BTreeMap::new()), drawing, name_width }
    }

    /// Shows one more step, which waits, unless it has a line.
    pub(crate) fn add(&self, name: &str) {
        if self.lock().contains_key(name) {
            return;
        }
        let bar = self.drawing.as_ref().map(|drawing| {
            let bar = drawing.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        let line = Line {
            state: ShownState::Waiting,
            started: None,
            took: None,
            text: String::new(),
            bar,
            printed: None,
        };
        self.draw(name, &line);
        self.lock().insert(name.to_owned(), line);
    }

    /// Shows the end of a step, and takes it out of the table: its line stays above. So a table of
    /// thousands of steps draws those alone that run.
    pub(crate) fn conclude(&self, step: &str, state: ShownState, text: &str) {
        self.set_state(step, state, text);
        let line = self.lock().remove(step);
        if let (Some(drawing), Some(line)) = (&self.drawing, line) {
            if let Some(bar) = &line.bar {
                drawing.remove(bar);
            }
            self.print(&describe(step, &line));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows another state of a step, and a remark such as the reason of a failure.
    pub(crate) fn set_state(&self, step: &str, state: ShownState, text: &str) {
        let mut lines = self.lock();
        let Some(line) = lines.get_mut(step) else { return };
        line.state = state;
        if state == ShownState::Running {
            line.started = Some(Instant::now());
        } else {
            line.took = line.started.map(|started| started.elapsed());
        }
        text.clone_into(&mut line.text);
        self.draw(step, line);
        if self.drawing.is_none() {
            self.print(&describe(step, line));
        }
    }

    /// Sets how long a step has run so far, or took, for steps that run elsewhere. The next drawing
    /// shows it.
    pub(crate) fn set_elapsed(&self, step: &str, elapsed: Duration, is_over: bool) {
        let mut lines = self.lock();
        let Some(line) = lines.get_mut(step) else { return };
        line.started = Instant::now().checked_sub(elapsed);
        line.took = is_over.then_some(elapsed);
    }

    /// Shows news of a running step.
    pub(crate) fn show_news(&self, step: &str, news: &StepNews) {
        match news {
            StepNews::Note(note) => self.print(&format!("{step}: {note}")),
            StepNews::Metric(name, value) => self.show_text(step, &format!("{name} {value}")),
            StepNews::Progress(text) => self.show_text(step, text),
        }
    }

    /// Shows another remark or metric of a step.
    pub(crate) fn show_text(&self, step: &str, text: &str) {
        let mut lines = self.lock();
        let Some(line) = lines.get_mut(step) else { return };
        text.clone_into(&mut line.text);
        self.draw(step, line);
        let is_due = line.printed.is_none_or(|time| time.elapsed() >= PLAIN_LINE_INTERVAL);
        if self.drawing.is_none() && is_due {
            line.printed = Some(Instant::now());
            self.print(&describe(step, line));
        }
    }

    /// Prints a line above the table.
    pub(crate) fn print(&self, line: &str) {
        match &self.drawing {
            Some(drawing) => drawing.suspend(|| print_stderr(line)),
            None => print_stderr(line),
        }
    }

    /// Draws the running times anew.
    pub(crate) fn draw_times(&self) {
        if self.drawing.is_none() {
            return;
        }
        for (step, line) in self.lock().iter() {
            if line.state == ShownState::Running {
                self.draw(step, line);
            }
        }
    }

    /// Draws the running times again and again until some work has ended.
    pub(crate) fn draw_while<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.drawing.is_none() {
            return work();
        }
        thread::scope(|scope| {
            // Dropped at the end of the work, also by a panic.
            let (is_working, end) = channel::<()>();
            scope.spawn(move || {
                while end.recv_timeout(DRAW_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    self.draw_times();
                }
            });
            let result = work();
            drop(is_working);
            result
        })
    }

    /// Returns the time between two calls of [`Self::draw_times`].
    pub(crate) fn draw_interval() -> Duration {
        DRAW_INTERVAL
    }

    fn draw(&self, step: &str, line: &Line) {
        let Some(bar) = &line.bar else { return };
        let time = line.elapsed().map_or(String::new(), |time| format!("{} s", time.as_secs()));
        let (state, text) = (line.state.name(), first_line(&line.text));
        let message =
            format!("{step:<width$}  {state:<9}  {time:>6}  {text}", width = self.name_width);
        let is_over = !matches!(line.state, ShownState::Waiting | ShownState::Running);
        if is_over && !bar.is_finished() {
            bar.finish_with_message(message);
        } else if !is_over {
            bar.set_message(message);
        }
    }
}

/// Returns the plain line of a step.
fn describe(step: &str, line: &Line) -> String {
    let mut text = format!("{step}: {}", line.state.name());
    if line.state != ShownState::Cached
        && let Some(elapsed) = line.elapsed()
        && elapsed >= Duration::from_secs(1)
    {
        let verb = if line.state == ShownState::Running { "for" } else { "after" };
        let _ = write!(text, " {verb} {} s", elapsed.as_secs());
    }
    if !line.text.is_empty() {
        text.push_str(", ");
        text.push_str(first_line(&line.text));
    }
    text
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
