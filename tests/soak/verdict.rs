//! The limits, each with the figure beside it.

use std::process::ExitCode;
use std::time::Duration;

use crate::clients::Last;
use crate::ping::Pings;
use crate::server::Ended;
use crate::tally::{Sort, Tally};

/// The last quarter's largest memory beside the second quarter's.
const MEMORY: f64 = 1.05;
/// Of 1000 pings 999 are faster.
const PING: Duration = Duration::from_millis(100);
const SLOWEST_PING: Duration = Duration::from_secs(2);
/// From SIGTERM to the end of the process; SageMaker then kills it.
const END: Duration = Duration::from_secs(30);
/// Sizes of images that must have been answered.
const SIZES: usize = 200;
/// Last requests that must still have been in flight, or the end would show nothing.
const IN_FLIGHT: usize = 8;
/// Reasons that are printed.
const TOLD: usize = 5;

#[derive(Default)]
pub(crate) struct Verdict {
    failed: usize,
}

impl Verdict {
    fn line(&mut self, is_kept: bool, what: &str, figure: impl std::fmt::Display, limit: &str) {
        self.failed += usize::from(!is_kept);
        println!("{} {what}: {figure} (limit: {limit})", if is_kept { "ok  " } else { "FAIL" });
    }

    pub(crate) fn requests(&mut self, tally: &Tally) {
        let (good, wrong) = tally.of(Sort::Good);
        let figure = format!("{wrong} of {good}");
        self.line(wrong == 0 && good > 0, "good requests without 200 or 503", figure, "0");
        let (bad, wrong) = tally.of(Sort::Bad);
        let figure = format!("{wrong} of {bad}");
        self.line(wrong == 0 && bad > 0, "bad requests without their 4xx", figure, "0");
        let (abandoned, wrong) = tally.of(Sort::Abandoned);
        let figure = format!("{wrong} of {abandoned}");
        self.line(wrong == 0 && abandoned > 0, "abandoned ones that met no server", figure, "0");
        let errors = &tally.server_errors;
        let what = "5xx other than 503 Overloaded with Retry-After";
        self.line(errors.is_empty(), what, errors.len(), "0");
        reasons(errors);
        println!("     503 Overloaded: {}", tally.overloaded);
        let sizes = tally.sizes.len();
        self.line(sizes >= SIZES, "image sizes answered", sizes, &format!("at least {SIZES}"));
    }

    /// Memory by second.
    pub(crate) fn memory(&mut self, bytes: &[u64]) {
        let quarters: Vec<f64> = bytes
            .chunks(bytes.len().div_ceil(4).max(1))
            .map(|quarter| quarter.iter().max().map_or(0.0, |&most| most as f64 / 1e6))
            .collect();
        let [_, second, _, last] = quarters[..] else {
            return self.line(false, "memory", "too short to tell", "four quarters");
        };
        let all: Vec<_> = quarters.iter().map(|most| format!("{most:.0}")).collect();
        let figure = format!("{:.3} ({} MB by quarter)", last / second, all.join(", "));
        let limit = format!("{MEMORY:.2}");
        let what = "memory, last quarter's maximum / second quarter's";
        self.line(last <= second * MEMORY, what, figure, &limit);
    }

    pub(crate) fn pings(&mut self, pings: &Pings) {
        let mut took = pings.took.clone();
        took.sort_unstable();
        let at = |share: f64| {
            took.get(((took.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied()
        };
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let (middle, high) = (at(0.5).unwrap_or(Duration::MAX), at(0.999).unwrap_or(Duration::MAX));
        let slowest = took.last().copied().unwrap_or(Duration::MAX);
        let failed = pings.failed.len();
        self.line(
            failed == 0,
            "/ping not answered by 200",
            format!("{failed} of {}", took.len() + failed),
            "0",
        );
        reasons(&pings.failed);
        if took.is_empty() {
            return self.line(false, "/ping", "never answered", "200");
        }
        let figure = format!("{} (median {})", ms(high), ms(middle));
        self.line(high < PING, "/ping p99.9", figure, &ms(PING));
        self.line(slowest < SLOWEST_PING, "/ping slowest", ms(slowest), &ms(SLOWEST_PING));
    }

    pub(crate) fn end(&mut self, last: &Last, ended: &Ended) {
        let all = last.answered + last.lost.len();
        let figure = format!("{} of {all}", last.lost.len());
        self.line(last.lost.is_empty() && all > 0, "requests lost at SIGTERM", figure, "0");
        reasons(&last.lost);
        let least = IN_FLIGHT.min(all);
        let what = "of these answered after the signal";
        self.line(last.in_flight >= least, what, last.in_flight, &format!("at least {least}"));
        let status = ended.status.map_or("killed by us".into(), |status| status.to_string());
        let is_clean = ended.status.is_some_and(|status| status.success());
        self.line(is_clean, "the server's end", status, "exit status: 0");
        let took = format!("{:.1} s", ended.took.as_secs_f64());
        self.line(
            ended.took < END,
            "from SIGTERM to the end",
            took,
            &format!("{} s", END.as_secs()),
        );
        let panics = &ended.log.panics;
        let figure = format!("{} in {} lines", panics.len(), ended.log.lines);
        self.line(panics.is_empty(), "panics in the log", figure, "0");
        reasons(panics);
    }

    pub(crate) fn conclude(self) -> ExitCode {
        if self.failed == 0 {
            println!("soak: every limit is kept");
            return ExitCode::SUCCESS;
        }
        println!("soak: {} limits are not kept", self.failed);
        ExitCode::FAILURE
    }
}

fn reasons(reasons: &[String]) {
    for reason in reasons.iter().take(TOLD) {
        println!("       {reason}");
    }
}
