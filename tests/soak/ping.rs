//! `GET /ping` on a connection of its own, as SageMaker asks while others work.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::clients::Stage;
use crate::http::Connection;

/// Between two of them.
const EVERY: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(crate) struct Pings {
    /// From the question to the whole answer.
    pub(crate) took: Vec<Duration>,
    pub(crate) failed: Vec<String>,
}

/// Asks until the clients end.
pub(crate) fn run(address: SocketAddr, stage: &Stage) -> Pings {
    let mut pings = Pings::default();
    let mut kept = None;
    while stage.goes_on() {
        let begun = Instant::now();
        match ask(address, &mut kept) {
            Ok(()) => pings.took.push(begun.elapsed()),
            Err(why) => {
                pings.failed.push(why);
                kept = None;
            }
        }
        sleep(EVERY.saturating_sub(begun.elapsed()));
    }
    pings
}

fn ask(address: SocketAddr, kept: &mut Option<Connection>) -> Result<(), String> {
    let connection = match kept {
        Some(connection) => connection,
        None => kept.insert(Connection::open(address)?),
    };
    connection.send(b"GET /ping HTTP/1.1\r\nhost: soak\r\n\r\n")?;
    match connection.answer()? {
        Some(answer) if answer.status == 200 => Ok(()),
        Some(answer) => Err(format!("/ping answered {}", answer.status)),
        None => Err("/ping was not answered".into()),
    }
}
