//! The clients: each makes one request after another until the end, and then a last one that the signal must not lose.

use std::net::{Shutdown, SocketAddr};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::abandoned;
use crate::bad::Bad;
use crate::bodies::{Bodies, Sample};
use crate::dice::Dice;
use crate::good::Good;
use crate::http::{Answer, Connection, chunked, head};
use crate::tally::{Sort, Tally, is_overloaded};

/// Further clients that send half a body and then wait for what the server does about it.
pub(crate) const STALLS: usize = 4;
/// Of so many clients one has sent only half a body when the signal comes.
const HALVES: usize = 8;
/// The most that a client waits after a 503. It is asked to wait longer, but the queue shall stay full.
const MOST_WAIT: Duration = Duration::from_millis(500);

/// How far the soak is.
pub(crate) struct Stage {
    has_ended: AtomicBool,
    all_ready: Barrier,
    all_sent: Barrier,
}

impl Stage {
    pub(crate) fn new(clients: usize) -> Self {
        Self {
            has_ended: AtomicBool::new(false),
            all_ready: Barrier::new(clients),
            all_sent: Barrier::new(clients + 1),
        }
    }

    pub(crate) fn goes_on(&self) -> bool {
        !self.has_ended.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Waits until every client has sent its last request.
    pub(crate) fn all_sent(&self) {
        self.all_sent.wait();
    }
}

/// What became of the last requests.
#[derive(Default)]
pub(crate) struct Last {
    /// Answered, and after the signal.
    pub(crate) in_flight: usize,
    pub(crate) answered: usize,
    pub(crate) lost: Vec<String>,
}

/// The answer to a client's last request and when it came; none of those who sent only half of one.
pub(crate) type LastAnswer = Option<Result<Instant, String>>;

impl Last {
    pub(crate) fn add(&mut self, answer: LastAnswer, signaled: Instant) {
        match answer {
            Some(Ok(at)) => {
                self.answered += 1;
                self.in_flight += usize::from(at > signaled);
            }
            Some(Err(why)) => self.lost.push(why),
            None => {}
        }
    }
}

struct Client<'a> {
    dice: Dice,
    address: SocketAddr,
    bodies: &'a Bodies,
    tally: Tally,
    /// The connection that is used again.
    kept: Option<Connection>,
}

/// One client, from the first request to the last.
pub(crate) fn run(
    number: usize,
    seed: u64,
    address: SocketAddr,
    bodies: &Bodies,
    stage: &Stage,
) -> (Tally, LastAnswer) {
    let tally = Tally::default();
    let mut client = Client { dice: Dice(seed), address, bodies, tally, kept: None };
    while stage.goes_on() {
        match client.dice.below(100) {
            0..70 => client.good(),
            70..88 => client.bad(),
            _ => client.abandoned(),
        }
    }
    let last = client.last(number % HALVES == HALVES - 1, stage);
    (client.tally, last)
}

impl Client<'_> {
    fn good(&mut self) {
        let good = *self.dice.pick(&self.bodies.good, |good| good.weight);
        let sample = &self.bodies.samples[self.dice.below(self.bodies.samples.len())];
        let begun = Instant::now();
        let kept = self.kept.take().filter(|_| self.dice.below(4) > 0);
        let how = self.dice.below(8);
        let outcome = exchange(&mut self.dice, kept, self.address, good, sample, how);
        let kind = (Sort::Good, good.name);
        match outcome {
            Err(why) => self.tally.count(kind, None, begun.elapsed(), Err(why)),
            Ok((connection, answers)) => {
                self.kept = connection;
                for answer in &answers {
                    let wrong = verdict(good, sample, answer);
                    if answer.status == 200 && wrong.is_ok() {
                        self.tally.sizes.insert(sample.number);
                    }
                    self.tally.count(kind, Some(answer), begun.elapsed(), wrong);
                    pause(&mut self.dice, answer);
                }
            }
        }
    }

    fn bad(&mut self) {
        let bad = self.bodies.bad[self.dice.below(self.bodies.bad.len())];
        let sample = &self.bodies.samples[self.dice.below(self.bodies.samples.len())];
        let bytes = (bad.bytes)(&mut self.dice, sample);
        let begun = Instant::now();
        let kept = self.kept.take();
        let outcome = self.refused(bad, &bytes, kept);
        let kind = (Sort::Bad, bad.name);
        match outcome {
            Err(why) => self.tally.count(kind, None, begun.elapsed(), Err(why)),
            Ok((_, None)) => {
                let wrong = if bad.may_be_silent { Ok(()) } else { Err("not answered".into()) };
                self.tally.count(kind, None, begun.elapsed(), wrong);
            }
            Ok((connection, Some(answer))) => {
                let wrong = refusal(bad, &answer);
                self.tally.count(kind, Some(&answer), begun.elapsed(), wrong);
                pause(&mut self.dice, &answer);
                if bad.keeps && !answer.closes() {
                    self.kept = Some(connection);
                }
            }
        }
    }

    fn refused(
        &self,
        bad: &Bad,
        bytes: &[u8],
        kept: Option<Connection>,
    ) -> Result<(Connection, Option<Answer>), String> {
        let mut connection = kept.map_or_else(|| Connection::open(self.address), Ok)?;
        // The server may refuse and close while this is still being sent; then the answer is what counts.
        let sent = connection.send(bytes);
        if bad.may_be_silent {
            let _ = connection.stream.shutdown(Shutdown::Write);
        }
        let answer = connection.answer()?;
        if answer.is_none() { sent.map(|()| (connection, None)) } else { Ok((connection, answer)) }
    }

    fn abandoned(&mut self) {
        let begun = Instant::now();
        let (name, outcome) = abandoned::run(&mut self.dice, self.address, self.bodies);
        self.tally.count((Sort::Abandoned, name), None, begun.elapsed(), outcome);
    }

    /// Sends a last request when all are ready, and waits for its answer while the server is told to end.
    fn last(&mut self, is_half: bool, stage: &Stage) -> LastAnswer {
        // Not before all have come so far: a connection that is idle for long is closed by right.
        stage.all_ready.wait();
        let connection = open_for_sure(self.address);
        // The largest, so that many are still in flight when the signal comes.
        let most = |sample: &&Sample| sample.width * sample.height;
        let sample = self.bodies.samples.iter().max_by_key(most);
        let sent = connection.and_then(|mut connection| {
            let body = &sample.ok_or("no images")?.jpeg;
            let length = format!("content-length: {}", body.len());
            let lines = ["content-type: image/jpeg", length.as_str()];
            connection.send(&head("/invocations", &lines))?;
            connection.send(if is_half { &body[..body.len() / 2] } else { body })?;
            Ok(connection)
        });
        stage.all_sent.wait();
        let answer = sent.and_then(|mut connection| connection.answer());
        if is_half {
            return None;
        }
        Some(match answer {
            Ok(Some(answer)) if answer.status == 200 || is_overloaded(&answer) => {
                Ok(Instant::now())
            }
            Ok(Some(answer)) => Err(format!("status {}", answer.status)),
            Ok(None) => Err("closed without an answer".into()),
            Err(why) => Err(why),
        })
    }
}

/// Waits if the server asks for it.
fn pause(dice: &mut Dice, answer: &Answer) {
    if is_overloaded(answer) {
        let most = MOST_WAIT.as_millis() as usize;
        sleep(Duration::from_millis((most / 2 + dice.below(most / 2)) as u64));
    }
}

/// A connection on which an answer has come: the server has taken note of it.
fn open_for_sure(address: SocketAddr) -> Result<Connection, String> {
    let mut connection = Connection::open(address)?;
    connection.send(b"GET /ping HTTP/1.1\r\nhost: soak\r\n\r\n")?;
    connection.answer()?.ok_or("/ping was not answered")?;
    Ok(connection)
}

/// Sends a good request in one of several ways; two in one go have two answers. The connection comes back if it can be
/// used again.
fn exchange(
    dice: &mut Dice,
    kept: Option<Connection>,
    address: SocketAddr,
    good: &Good,
    sample: &Sample,
    how: usize,
) -> Result<(Option<Connection>, Vec<Answer>), String> {
    let mut connection = kept.map_or_else(|| Connection::open(address), Ok)?;
    let body = (good.body)(sample);
    let mut lines = vec![format!("content-type: {}", good.content_type)];
    lines.extend(good.accept.map(|accept| format!("accept: {accept}")));
    let attributes = |value| format!("x-amzn-sagemaker-custom-attributes: {value}");
    lines.extend(good.attributes.map(attributes));
    let length = format!("content-length: {}", body.len());
    match how {
        0 => {
            lines.push("transfer-encoding: chunked".into());
            let size = 1 + dice.below(body.len());
            connection.send(&[head("/invocations", &lines), chunked(body, size)].concat())?;
        }
        1 => {
            lines.push(length);
            connection.send(&head("/invocations", &lines))?;
            for piece in body.chunks(body.len() / 5 + 1) {
                sleep(Duration::from_millis(dice.below(60) as u64));
                connection.send(piece)?;
            }
        }
        2 => {
            lines.extend([length, "expect: 100-continue".into()]);
            connection.send(&head("/invocations", &lines))?;
            let first = connection.answer()?.ok_or("closed without an answer")?;
            if first.status != 100 {
                // Who keeps the body to himself has to close: RFC 9110, 10.1.1.
                return Ok((None, vec![first]));
            }
            connection.send(body)?;
        }
        3 => {
            lines.push(length);
            let request = [&head("/invocations", &lines), body].concat();
            connection.send(&[request.as_slice(), &request].concat())?;
            let first = connection.answer()?.ok_or("closed without an answer")?;
            let second = connection.answer()?.ok_or("closed after the first of two answers")?;
            return Ok((Some(connection).filter(|_| !second.closes()), vec![first, second]));
        }
        4 => {
            lines.extend([length, "connection: close".into()]);
            connection.send(&[&head("/invocations", &lines), body].concat())?;
        }
        _ => {
            lines.push(length);
            connection.send(&[&head("/invocations", &lines), body].concat())?;
        }
    }
    let answer = connection.answer()?.ok_or("closed without an answer")?;
    Ok((Some(connection).filter(|_| !answer.closes()), vec![answer]))
}

fn verdict(good: &Good, sample: &Sample, answer: &Answer) -> Result<(), String> {
    match answer.status {
        200 => (good.check)(answer, sample),
        _ if is_overloaded(answer) => Ok(()),
        status => Err(format!("{status}: {}", String::from_utf8_lossy(&answer.body))),
    }
}

fn refusal(bad: &Bad, answer: &Answer) -> Result<(), String> {
    let found = (answer.status, answer.error_type());
    if is_overloaded(answer) || found == (bad.status, bad.error_type.map(str::to_owned)) {
        return Ok(());
    }
    let (status, error_type) = found;
    Err(format!("{status} {error_type:?}, expected {} {:?}", bad.status, bad.error_type))
}

/// Sends half a body again and again, which the server must not wait for without end: 408.
pub(crate) fn stall(number: usize, address: SocketAddr, bodies: &Bodies, stage: &Stage) -> Tally {
    let mut tally = Tally::default();
    let mut dice = Dice(number as u64);
    let body = &bodies.samples[number].png;
    let length = format!("content-length: {}", body.len());
    let head = head("/invocations", &["content-type: image/png", &length]);
    while stage.goes_on() {
        let begun = Instant::now();
        let outcome = Connection::open(address).and_then(|mut connection| {
            connection.send(&head)?;
            connection.send(&body[..body.len() / 2])?;
            connection.answer()
        });
        // One that was cut off by the server's end has no right to anything.
        if !stage.goes_on() {
            break;
        }
        let wrong = match &outcome {
            Ok(Some(answer)) if answer.status == 408 || is_overloaded(answer) => Ok(()),
            Ok(Some(answer)) => Err(format!("status {}, expected 408", answer.status)),
            Ok(None) => Err("closed without an answer".into()),
            Err(why) => Err(why.clone()),
        };
        let answer = outcome.ok().flatten();
        if let Some(answer) = &answer {
            pause(&mut dice, answer);
        }
        tally.count(
            (Sort::Bad, "half a body and no more"),
            answer.as_ref(),
            begun.elapsed(),
            wrong,
        );
    }
    tally
}
