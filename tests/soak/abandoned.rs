//! Requests whose client leaves: nothing is expected of the server but to go on.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use crate::bodies::{Bodies, Sample};
use crate::dice::Dice;
use crate::http::{Connection, head};

/// What is sent of a request before the connection is closed.
pub(crate) struct Abandoned {
    pub(crate) name: &'static str,
    run: fn(&mut Dice, &mut Connection, &Sample) -> Result<(), String>,
}

pub(crate) const TABLE: &[Abandoned] = &[
    Abandoned { name: "nothing", run: |_, _, _| Ok(()) },
    Abandoned {
        name: "half of a head",
        run: |_, connection, sample| {
            let request = whole(sample);
            connection.send(&request[..30])
        },
    },
    Abandoned {
        name: "half of the body",
        run: |_, connection, sample| {
            let request = whole(sample);
            connection.send(&request[..request.len() - sample.jpeg.len() / 2])
        },
    },
    Abandoned {
        name: "half of the body, slowly",
        run: |dice, connection, sample| {
            let request = whole(sample);
            for piece in request[..request.len() - sample.jpeg.len() / 2].chunks(request.len() / 8)
            {
                connection.send(piece)?;
                sleep(Duration::from_millis(dice.below(100) as u64));
            }
            Ok(())
        },
    },
    Abandoned { name: "all", run: |_, connection, sample| connection.send(&whole(sample)) },
    Abandoned {
        name: "all, then a short while",
        run: |dice, connection, sample| {
            connection.send(&whole(sample))?;
            sleep(Duration::from_millis(dice.below(200) as u64));
            Ok(())
        },
    },
    Abandoned {
        name: "all, then the answer's first bytes",
        run: |_, connection, sample| {
            connection.send(&whole(sample))?;
            connection.more().map(drop)
        },
    },
];

/// Runs one of them; says which, and whether the connection was there.
pub(crate) fn run(
    dice: &mut Dice,
    address: SocketAddr,
    bodies: &Bodies,
) -> (&'static str, Result<(), String>) {
    let which = dice.below(TABLE.len());
    let number = dice.below(bodies.samples.len());
    let Abandoned { name, run } = &TABLE[which];
    let outcome = Connection::open(address)
        .and_then(|mut connection| run(dice, &mut connection, &bodies.samples[number]));
    (name, outcome)
}

fn whole(sample: &Sample) -> Vec<u8> {
    let length = format!("content-length: {}", sample.jpeg.len());
    [head("/invocations", &["content-type: image/jpeg", &length]), sample.jpeg.clone()].concat()
}
