//! What came of the requests, by kind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::http::Answer;

/// Reasons that are printed of each kind.
const TOLD: usize = 3;

/// What a request's answer was held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sort {
    Good,
    Bad,
    Abandoned,
}

#[derive(Default)]
pub(crate) struct Tally {
    kinds: BTreeMap<(Sort, &'static str), Kind>,
    /// Images that were answered by 200.
    pub(crate) sizes: BTreeSet<usize>,
    /// Answers of 500 and more that are not 503 with `Overloaded` and `Retry-After`.
    pub(crate) server_errors: Vec<String>,
    pub(crate) overloaded: usize,
}

#[derive(Default)]
struct Kind {
    /// By status; 0 is a connection that was closed without an answer.
    statuses: BTreeMap<u16, usize>,
    slowest: Duration,
    all: Duration,
    wrong: Vec<String>,
}

impl Tally {
    /// Counts an answer; `wrong` says why it is not the right one.
    pub(crate) fn count(
        &mut self,
        kind: (Sort, &'static str),
        answer: Option<&Answer>,
        took: Duration,
        wrong: Result<(), String>,
    ) {
        if let Some(answer) = answer {
            if is_overloaded(answer) {
                self.overloaded += 1;
            } else if answer.status >= 500 {
                let body = String::from_utf8_lossy(&answer.body);
                self.server_errors.push(format!("{} to {}: {body}", answer.status, kind.1));
            }
        }
        let counts = self.kinds.entry(kind).or_default();
        *counts.statuses.entry(answer.map_or(0, |answer| answer.status)).or_default() += 1;
        counts.slowest = counts.slowest.max(took);
        counts.all += took;
        counts.wrong.extend(wrong.err());
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (kind, counts) in other.kinds {
            let mine = self.kinds.entry(kind).or_default();
            for (status, count) in counts.statuses {
                *mine.statuses.entry(status).or_default() += count;
            }
            mine.slowest = mine.slowest.max(counts.slowest);
            mine.all += counts.all;
            mine.wrong.extend(counts.wrong);
        }
        self.sizes.extend(other.sizes);
        self.server_errors.extend(other.server_errors);
        self.overloaded += other.overloaded;
    }

    /// How many there were of a sort, and how many of them were answered wrongly.
    pub(crate) fn of(&self, sort: Sort) -> (usize, usize) {
        let kinds = self.kinds.iter().filter(|((s, _), _)| *s == sort).map(|(_, kind)| kind);
        kinds.fold((0, 0), |(all, wrong), kind| {
            (all + kind.statuses.values().sum::<usize>(), wrong + kind.wrong.len())
        })
    }

    pub(crate) fn print(&self, seconds: f64) {
        let total: usize = self.kinds.values().flat_map(|kind| kind.statuses.values()).sum();
        println!("{total} requests in {seconds:.0} s, {:.1} a second", total as f64 / seconds);
        for ((sort, name), kind) in &self.kinds {
            let count: usize = kind.statuses.values().sum();
            let statuses = kind.statuses.iter().map(|(status, count)| match status {
                0 => format!("no answer: {count}"),
                status => format!("{status}: {count}"),
            });
            println!(
                "  {:9} {name:38} {:28} mean {:5.0} ms, slowest {:5.0} ms",
                format!("{sort:?}").to_lowercase(),
                statuses.collect::<Vec<_>>().join(", "),
                kind.all.as_secs_f64() * 1e3 / count as f64,
                kind.slowest.as_secs_f64() * 1e3,
            );
            for wrong in kind.wrong.iter().take(TOLD) {
                println!("            wrong: {wrong}");
            }
        }
    }
}

/// Whether this is the one answer of 500 and more that is allowed.
pub(crate) fn is_overloaded(answer: &Answer) -> bool {
    answer.status == 503
        && answer.error_type().as_deref() == Some("Overloaded")
        && answer.header("retry-after").is_some_and(|value| value.parse::<u32>().is_ok())
}
