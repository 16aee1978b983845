//! Predictions that are computed and not stored yet, in a file with one line per task.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{Error, Result};
use crate::files::{PathContext, create_folder};
use crate::preannotation::Prediction;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ComputedTask {
    task: i64,
    pub(super) score: Option<f64>,
    pub(super) dropped_regions: usize,
    /// JSON list of regions.
    pub(super) result: Box<RawValue>,
}

/// Place of a line in the file, and its score.
#[derive(Debug, Clone, Copy)]
struct LinePlace {
    offset: u64,
    length: usize,
    score: Option<f64>,
}

/// The file, and where in it each task is.
#[derive(Debug)]
pub(super) struct ComputedPredictions {
    path: PathBuf,
    file: File,
    end: u64,
    places: HashMap<i64, LinePlace>,
}

impl ComputedPredictions {
    /// Opens the file of a project and a version of a model, with what an earlier run left in it. A last
    /// line that was cut off is dropped.
    pub(super) fn open(folder: &Path, name: &str) -> Result<Self> {
        create_folder(folder)?;
        let path = folder.join(format!("{}.jsonl", name.replace(['/', '\\'], "_")));
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let file = file.with_path("open", &path)?;
        let mut computed = Self { path, file, end: 0, places: HashMap::new() };
        computed.read_places()?;
        Ok(computed)
    }

    fn read_places(&mut self) -> Result<()> {
        let mut reader = BufReader::new(&self.file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).with_path("read", &self.path)?;
            let Ok(task) = serde_json::from_slice::<ComputedTask>(&line) else { break };
            if line.last() != Some(&b'\n') {
                break;
            }
            self.places
                .insert(task.task, LinePlace { offset: self.end, length, score: task.score });
            self.end += length as u64;
        }
        self.file.set_len(self.end).with_path("write", &self.path)
    }

    /// Returns true if a task is computed.
    pub(super) fn contains(&self, task: i64) -> bool {
        self.places.contains_key(&task)
    }

    /// Returns those of some tasks that are computed, each with its score, which it may lack.
    pub(super) fn scores(&self, tasks: impl Iterator<Item = i64>) -> Vec<(i64, Option<f64>)> {
        let mut scores = Vec::new();
        for task in tasks {
            if let Some(place) = self.places.get(&task) {
                scores.push((task, place.score));
            }
        }
        scores
    }

    /// Adds a task.
    pub(super) fn add(&mut self, task: i64, prediction: &Prediction) -> Result<()> {
        let write_error =
            |cause| Error::internal(format!("a prediction cannot be written: {cause}"));
        let computed = ComputedTask {
            task,
            score: prediction.score,
            dropped_regions: prediction.dropped_regions,
            result: to_raw_value(&prediction.result).map_err(write_error)?,
        };
        let mut line = serde_json::to_vec(&computed).map_err(write_error)?;
        line.push(b'\n');
        self.file.write_all(&line).with_path("write", &self.path)?;
        let place = LinePlace { offset: self.end, length: line.len(), score: prediction.score };
        self.places.insert(task, place);
        self.end += line.len() as u64;
        Ok(())
    }

    /// Reads a task that is computed.
    pub(super) fn read(&self, task: i64) -> Result<ComputedTask> {
        let Some(place) = self.places.get(&task) else {
            return Err(Error::internal(format!("task {task} is not computed")));
        };
        let mut file = &self.file;
        let mut line = vec![0; place.length];
        file.seek(SeekFrom::Start(place.offset))
            .and_then(|_| file.read_exact(&mut line))
            .with_path("read", &self.path)?;
        serde_json::from_slice(&line).map_err(|cause| {
            Error::input(format!(
                "{} was changed meanwhile ({cause}); remove it, and run the same command again",
                self.path.display()
            ))
        })
    }

    /// Forgets all tasks, which are stored.
    pub(super) fn clear(&mut self) -> Result<()> {
        self.places.clear();
        self.end = 0;
        self.file.set_len(0).with_path("write", &self.path)
    }

    /// Removes the file.
    pub(super) fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).with_path("remove", &self.path)
    }
}
