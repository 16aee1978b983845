//! Asks a server for masks from so many clients at once and prints what they saw as a JSON line.
//! Each client keeps one connection (HTTP/1.1 keep-alive) and asks again as soon as it is answered
//! (a closed loop). It is small so that it costs the server's processors next to nothing: a thread
//! a client, blocking sockets, no parsing but of the head. `compare.py` calls it for every server
//! alike.
//!
//! `serve_load --address HOST:PORT --path PATH [--type image/jpeg] [--clients 1] [--seconds 0]`
//! `[--requests 0] [--timeout 120] [--first] [--save FOLDER] FILE...`
//!
//! The files are sent in turn. It ends after the seconds or after so many requests; what is under
//! way then is waited for and counted. `--first` only repeats one request, whatever it is answered,
//! until the answer is 200 or the timeout has passed. `--save` keeps the last answer to each file
//! under its name.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Stages that a server is not blamed for.
const STAGES: [&str; 4] = ["decode", "queue", "model", "encode"];
/// Between attempts of `--first`.
const PAUSE: Duration = Duration::from_millis(2);

struct Arguments {
    address: SocketAddr,
    path: String,
    content_type: String,
    clients: usize,
    seconds: f64,
    requests: usize,
    timeout: Duration,
    first: bool,
    save: Option<PathBuf>,
    files: Vec<PathBuf>,
}

fn arguments() -> Result<Arguments, String> {
    let mut values = BTreeMap::new();
    let (mut files, mut first) = (Vec::new(), false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.strip_prefix("--") {
            None => files.push(PathBuf::from(word)),
            Some("first") => first = true,
            Some(
                name @ ("address" | "path" | "type" | "clients" | "seconds" | "requests"
                | "timeout" | "save"),
            ) => {
                let value = words.next().ok_or(format!("--{name} lacks its value"))?;
                values.insert(name.to_owned(), value);
            }
            Some(_) => return Err(format!("unknown flag {word}")),
        }
    }
    let mut text = |name: &str, default: Option<&str>| {
        let value = values.remove(name).or(default.map(str::to_owned));
        value.ok_or(format!("--{name} is needed"))
    };
    let address = text("address", None)?;
    let arguments = Arguments {
        address: address.parse().map_err(|cause| format!("--address {address}: {cause}"))?,
        path: text("path", None)?,
        content_type: text("type", Some("image/jpeg"))?,
        clients: number("clients", &text("clients", Some("1"))?)?,
        seconds: number("seconds", &text("seconds", Some("0"))?)?,
        requests: number("requests", &text("requests", Some("0"))?)?,
        timeout: Duration::from_secs(number("timeout", &text("timeout", Some("120"))?)?),
        first,
        save: text("save", None).ok().map(PathBuf::from),
        files,
    };
    if arguments.files.is_empty() {
        return Err("no file to send".to_owned());
    }
    if !arguments.first && (arguments.seconds > 0.0) == (arguments.requests > 0) {
        return Err("give --seconds or --requests".to_owned());
    }
    Ok(arguments)
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("--{name} {text} is not a number"))
}

/// An answer whose body lies in the connection's buffer.
struct Answer {
    status: u16,
    /// Milliseconds by stage, of the header `Server-Timing`.
    stages: BTreeMap<String, f64>,
    body: std::ops::Range<usize>,
    /// The server closes the connection.
    last: bool,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    fn open(address: SocketAddr, timeout: Duration) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream, buffer: vec![0; 1 << 18], filled: 0 })
    }

    fn ask(&mut self, request: &[u8]) -> std::io::Result<Answer> {
        self.stream.write_all(request)?;
        self.filled = 0;
        let head = self.find(0, b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&self.buffer[..head]).into_owned();
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| wrong("the answer has no status line"))?;
        let (mut length, mut chunked, mut last) = (None, false, false);
        let mut stages = BTreeMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok(),
                "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
                "connection" => last = value.eq_ignore_ascii_case("close"),
                "server-timing" => stages.extend(timings(value)),
                _ => {}
            }
        }
        let start = head + 4;
        let body = if chunked {
            start..self.chunks(start)?
        } else {
            let length: usize = length.ok_or_else(|| wrong("the answer has no length"))?;
            self.fill(start + length)?;
            start..start + length
        };
        Ok(Answer { status, stages, body, last })
    }

    /// Joins the chunks in place; the body's end.
    fn chunks(&mut self, start: usize) -> std::io::Result<usize> {
        let (mut from, mut end) = (start, start);
        loop {
            let line = self.find(from, b"\r\n")?;
            let size = String::from_utf8_lossy(&self.buffer[from..line]);
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| wrong("a chunk has no size"))?;
            let data = line + 2;
            self.fill(data + size + 2)?;
            self.buffer.copy_within(data..data + size, end);
            (from, end) = (data + size + 2, end + size);
            if size == 0 {
                return Ok(end);
            }
        }
    }

    fn find(&mut self, from: usize, what: &[u8]) -> std::io::Result<usize> {
        let mut seen = from;
        loop {
            let window = &self.buffer[seen.min(self.filled)..self.filled];
            if let Some(place) = window.windows(what.len()).position(|bytes| bytes == what) {
                return Ok(seen + place);
            }
            seen = from.max((self.filled + 1).saturating_sub(what.len()));
            self.fill(self.filled + 1)?;
        }
    }

    /// Reads until the buffer holds so many bytes.
    fn fill(&mut self, least: usize) -> std::io::Result<()> {
        if self.buffer.len() < least {
            self.buffer.resize(least.next_power_of_two(), 0);
        }
        while self.filled < least {
            match self.stream.read(&mut self.buffer[self.filled..])? {
                0 => return Err(wrong("the server closed the connection within an answer")),
                read => self.filled += read,
            }
        }
        Ok(())
    }
}

fn wrong(what: &str) -> std::io::Error {
    std::io::Error::other(what)
}

/// `decode;dur=1.5, model;dur=20` by name.
fn timings(value: &str) -> impl Iterator<Item = (String, f64)> {
    value.split(',').filter_map(|part| {
        let mut parts = part.split(';').map(str::trim);
        let name = parts.next()?;
        let duration = parts.find_map(|part| part.strip_prefix("dur="))?.parse().ok()?;
        Some((name.to_owned(), duration))
    })
}

/// What a client saw.
#[derive(Default)]
struct Seen {
    statuses: BTreeMap<u16, usize>,
    errors: Vec<String>,
    /// Of answers with 200, from the request's first byte to the answer's last.
    milliseconds: Vec<f64>,
    /// Of these, what the server names.
    stages: BTreeMap<String, Vec<f64>>,
    /// Of these, what is left of the client's milliseconds without [`STAGES`].
    outside: Vec<f64>,
}

impl Seen {
    fn add(&mut self, answer: Answer, milliseconds: f64) {
        *self.statuses.entry(answer.status).or_default() += 1;
        if answer.status != 200 {
            return;
        }
        self.milliseconds.push(milliseconds);
        if answer.stages.contains_key("model") {
            let inside = STAGES.iter().filter_map(|stage| answer.stages.get(*stage)).sum::<f64>();
            self.outside.push(milliseconds - inside);
        }
        for (stage, duration) in answer.stages {
            self.stages.entry(stage).or_default().push(duration);
        }
    }

    fn join(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.errors.extend(other.errors);
        self.milliseconds.extend(other.milliseconds);
        self.outside.extend(other.outside);
        for (stage, durations) in other.stages {
            self.stages.entry(stage).or_default().extend(durations);
        }
    }

    fn json(mut self, seconds: f64) -> String {
        let mut text = format!(
            r#"{{"seconds": {seconds:.6}, "answered": {}, "errors": {}, "#,
            self.milliseconds.len(),
            self.errors.len()
        );
        let statuses =
            self.statuses.iter().map(|(status, count)| format!(r#""{status}": {count}"#));
        let _ = write!(text, r#""statuses": {{{}}}, "#, statuses.collect::<Vec<_>>().join(", "));
        let _ = write!(text, r#""ms": {}, "#, percentiles(&mut self.milliseconds));
        let _ = write!(text, r#""outside_ms": {}, "#, percentiles(&mut self.outside));
        let stages = self.stages.iter_mut();
        let stages = stages.map(|(name, values)| format!(r#""{name}": {}"#, percentiles(values)));
        let _ = write!(text, r#""stages_ms": {{{}}}}}"#, stages.collect::<Vec<_>>().join(", "));
        text
    }
}

/// By nearest rank; `null` of nothing.
fn percentiles(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    let Some(most) = values.last() else { return "null".to_owned() };
    let at = |share: f64| values[((share * values.len() as f64).ceil() as usize).max(1) - 1];
    let (p50, p90, p99) = (at(0.5), at(0.9), at(0.99));
    format!(r#"{{"p50": {p50:.4}, "p90": {p90:.4}, "p99": {p99:.4}, "max": {most:.4}}}"#)
}

/// A client: asks until the numbers or the time are used up.
fn client(arguments: &Arguments, requests: &[Vec<u8>], next: &AtomicUsize, start: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut open = None;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let over = arguments.seconds > 0.0 && start.elapsed().as_secs_f64() >= arguments.seconds;
        if over || (arguments.requests > 0 && number >= arguments.requests) {
            return seen;
        }
        let file = number % requests.len();
        let mut ask = || -> std::io::Result<()> {
            let connection = match &mut open {
                Some(connection) => connection,
                None => open.insert(Connection::open(arguments.address, arguments.timeout)?),
            };
            let begun = Instant::now();
            let answer = connection.ask(&requests[file])?;
            let milliseconds = 1000.0 * begun.elapsed().as_secs_f64();
            if let Some(folder) = arguments.save.as_ref().filter(|_| answer.status == 200) {
                let name = arguments.files[file].file_stem().unwrap_or_default();
                std::fs::write(folder.join(name), &connection.buffer[answer.body.clone()])?;
            }
            let last = answer.last;
            seen.add(answer, milliseconds);
            if last {
                open = None;
            }
            Ok(())
        };
        if let Err(error) = ask() {
            seen.errors.push(error.to_string());
            open = None;
            // A server that is gone would be asked thousands of times a second.
            if seen.errors.len() >= 3 {
                return seen;
            }
        }
    }
}

/// Repeats a request until it is answered with 200.
fn first(arguments: &Arguments, request: &[u8]) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let answer = Connection::open(arguments.address, arguments.timeout)
            .and_then(|mut connection| connection.ask(request))
            .map(|answer| answer.status);
        if matches!(answer, Ok(200)) {
            return Ok(());
        }
        if start.elapsed() > arguments.timeout {
            return Err(match answer {
                Ok(status) => format!("still answered with {status}"),
                Err(error) => format!("still no answer: {error}"),
            });
        }
        std::thread::sleep(PAUSE);
    }
}

fn request(arguments: &Arguments, file: &Path) -> Result<Vec<u8>, String> {
    let body = std::fs::read(file).map_err(|cause| format!("{}: {cause}", file.display()))?;
    let Arguments { address, path, content_type, .. } = arguments;
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {content_type}\r\n\
         Accept: image/png\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    Ok(request)
}

fn run() -> Result<(), String> {
    let arguments = arguments()?;
    let requests = arguments.files.iter().map(|file| request(&arguments, file));
    let requests = requests.collect::<Result<Vec<_>, _>>()?;
    if arguments.first {
        return first(&arguments, &requests[0]);
    }
    let (next, start) = (AtomicUsize::new(0), Instant::now());
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        let clients = (0..arguments.clients)
            .map(|_| scope.spawn(|| client(&arguments, &requests, &next, start)))
            .collect::<Vec<_>>();
        for client in clients {
            match client.join() {
                Ok(its) => seen.join(its),
                Err(_) => seen.errors.push("a client panicked".to_owned()),
            }
        }
    });
    for error in seen.errors.iter().take(3) {
        eprintln!("{}{}: {error}", arguments.address, arguments.path);
    }
    println!("{}", seen.json(start.elapsed().as_secs_f64()));
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serve_load: {error}");
            ExitCode::FAILURE
        }
    }
}
