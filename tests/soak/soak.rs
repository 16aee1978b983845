//! Drives the real `maskmaker serve` for minutes with good, bad and abandoned requests, ends it by SIGTERM, and holds
//! what it did to limits: one line each, exit code 1 if one is not kept. `run.sh` makes the model and calls this.
//!
//! Memory is the server's resident set, `VmRSS` in `/proc/PID/status`, every second.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs)]

mod abandoned;
mod bad;
mod bodies;
mod clients;
mod dice;
mod good;
mod http;
mod ping;
mod server;
mod tally;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use clap::Parser;

use crate::bodies::Bodies;
use crate::clients::Stage;
use crate::server::Server;
use crate::tally::Tally;
use crate::verdict::Verdict;

/// How often memory is looked at.
const TICK: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Arguments {
    /// The program.
    #[arg(long)]
    maskmaker: PathBuf,
    /// The folder that has `model/`, a model of `sample-data`'s classes.
    #[arg(long)]
    ml_root: PathBuf,
    /// How long the clients come.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// How many there are at a time.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// What is drawn by chance follows from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leaves out the kinds of requests whose name has one of these in it; for finding out which one is to blame.
    #[arg(long, value_delimiter = ',')]
    leave_out: Vec<String>,
    /// Further arguments of `serve`.
    #[arg(last = true)]
    serve: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let bodies = Arc::new(Bodies::new(&arguments.leave_out));
    println!("{}", bodies.about());
    let started = Server::start(&arguments.maskmaker, &arguments.ml_root, &arguments.serve);
    let server = match started {
        Ok(server) => server,
        Err(why) => {
            eprintln!("soak: {why}");
            return ExitCode::from(2);
        }
    };
    println!(
        "{} clients for {} minutes at {}",
        arguments.clients, arguments.minutes, server.address
    );

    let stage = Arc::new(Stage::new(arguments.clients));
    let everyone: Vec<_> = (0..arguments.clients)
        .map(|number| {
            let (bodies, stage, address) =
                (Arc::clone(&bodies), Arc::clone(&stage), server.address);
            let seed = arguments.seed.wrapping_mul(1_000_003).wrapping_add(number as u64);
            spawn(move || clients::run(number, seed, address, &bodies, &stage))
        })
        .collect();
    let stalls: Vec<_> = (0..clients::STALLS)
        .map(|number| {
            let (bodies, stage, address) =
                (Arc::clone(&bodies), Arc::clone(&stage), server.address);
            spawn(move || clients::stall(number, address, &bodies, &stage))
        })
        .collect();
    let pings = {
        let (stage, address) = (Arc::clone(&stage), server.address);
        spawn(move || ping::run(address, &stage))
    };

    let begun = Instant::now();
    let most = Duration::from_secs_f64(arguments.minutes * 60.0);
    let mut memory = Vec::new();
    let mut tick = begun;
    while begun.elapsed() < most {
        tick += TICK;
        sleep(tick.saturating_duration_since(Instant::now()));
        let Some(bytes) = server.memory() else { break };
        memory.push(bytes);
    }
    let seconds = begun.elapsed().as_secs_f64();

    stage.end();
    let pings = pings.join().unwrap();
    // Everyone has sent a last request as a whole and waits for its answer.
    stage.all_sent();
    let ended = server.terminate();
    let mut tally = Tally::default();
    let mut last = clients::Last::default();
    for client in everyone {
        let (his, his_last) = client.join().unwrap();
        tally.add(his);
        last.add(his_last, ended.signaled);
    }
    for stall in stalls {
        tally.add(stall.join().unwrap());
    }

    tally.print(seconds);
    let mut verdict = Verdict::default();
    verdict.requests(&tally);
    verdict.memory(&memory);
    verdict.pings(&pings);
    verdict.end(&last, &ended);
    verdict.conclude()
}
