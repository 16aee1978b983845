//! As much of S3 as a reader sees: a server on loopback that holds objects in memory, and fails as
//! told.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What goes wrong with a request, before the object is given to a later one.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// A status with S3's code for it.
    Refuse(u16, &'static str),
    /// The connection ends after so many bytes of the object.
    Cut(usize),
    /// The same, but the connection stays open.
    Stall(usize),
    /// No answer at all.
    Silent,
}

#[derive(Default)]
struct State {
    /// By `/bucket/key`.
    objects: HashMap<String, Vec<u8>>,
    /// What the next requests for an object meet.
    acts: HashMap<String, VecDeque<Act>>,
    /// What every request meets.
    always: Option<Act>,
    requests: Vec<String>,
    /// Requests that are being answered, and the most there were.
    now: usize,
    most: usize,
    /// An answer waits until there were so many at a time.
    together: usize,
    /// Requests after which no further one is answered.
    answered: Option<usize>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    over: AtomicBool,
}

/// The server; it ends with the test.
pub(crate) struct FakeS3 {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl FakeS3 {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            over: AtomicBool::new(false),
        });
        let server = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if server.over.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, server) = (stream.unwrap(), server.clone());
                // A client that has enough closes the connection: no failure of the server.
                thread::spawn(move || answer(stream, &server));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts an object at `bucket/key`.
    pub(crate) fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.shared.state.lock().unwrap().objects.insert(format!("/{path}"), bytes.into());
    }

    /// What the next requests for `bucket/key` meet.
    pub(crate) fn acts(&self, path: &str, acts: impl IntoIterator<Item = Act>) {
        let acts = acts.into_iter().collect();
        self.shared.state.lock().unwrap().acts.insert(format!("/{path}"), acts);
    }

    /// What every request meets from now on.
    pub(crate) fn always(&self, act: Act) {
        self.shared.state.lock().unwrap().always = Some(act);
    }

    /// No request is answered before there are so many at a time.
    pub(crate) fn together(&self, requests: usize) {
        self.shared.state.lock().unwrap().together = requests;
    }

    /// The most requests that were answered at a time.
    pub(crate) fn most_at_a_time(&self) -> usize {
        self.shared.state.lock().unwrap().most
    }

    /// The objects that were asked for, in that order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// The objects that there are, as `bucket/key`.
    pub(crate) fn names(&self) -> Vec<String> {
        let state = self.shared.state.lock().unwrap();
        state.objects.keys().map(|path| path[1..].to_owned()).collect()
    }

    /// Answers so many further requests.
    pub(crate) fn silent_after(&self, requests: usize) {
        let mut state = self.shared.state.lock().unwrap();
        state.answered = Some(state.requests.len().saturating_add(requests));
    }

    /// Waits for the first request.
    pub(crate) fn wait_for_a_request(&self) {
        self.wait_until(|state| !state.requests.is_empty());
    }

    /// Waits for the first request that is not answered.
    pub(crate) fn wait_for_silence(&self) {
        self.wait_until(|state| state.answered.is_some_and(|n| state.requests.len() > n));
    }

    fn wait_until(&self, happened: impl Fn(&State) -> bool) {
        let state = self.shared.state.lock().unwrap();
        let came = |state: &mut State| !happened(state);
        let limit = Duration::from_mins(1);
        let (state, waited) = self.shared.changed.wait_timeout_while(state, limit, came).unwrap();
        assert!(!waited.timed_out(), "no request came: {:?}", state.requests);
    }
}

impl Drop for FakeS3 {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        // So that the listener sees it.
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    let head = head(&mut stream)?;
    let target = head.split(' ').nth(1)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = decoded(path);
    let (act, object) = {
        let mut state = shared.state.lock().unwrap();
        state.requests.push(path.trim_start_matches('/').to_owned());
        state.now += 1;
        state.most = state.most.max(state.now);
        shared.changed.notify_all();
        let limit = Duration::from_mins(1);
        let early = |state: &mut State| state.most < state.together;
        let (mut state, _) = shared.changed.wait_timeout_while(state, limit, early).unwrap();
        let act = state.acts.get_mut(&path).and_then(VecDeque::pop_front);
        let silent = state.answered.is_some_and(|n| state.requests.len() > n);
        let act = if silent { Some(Act::Silent) } else { act };
        (act.or_else(|| state.always.clone()), state.objects.get(&path).cloned())
    };
    let bucket = path.split('/').nth(1).unwrap_or("");
    let wanted = head.lines().find_map(|line| line.strip_prefix("if-match: "));
    let _ = match (act, object) {
        (Some(Act::Silent), _) => hang(&stream, shared),
        (Some(Act::Refuse(status, code)), _) => refuse(&mut stream, status, code),
        (Some(Act::Cut(bytes)), Some(object)) => give(&mut stream, &object, bytes),
        (Some(Act::Stall(bytes)), Some(object)) => {
            give(&mut stream, &object, bytes).and_then(|()| hang(&stream, shared))
        }
        _ if query.contains("list-type=2") => list(&mut stream, bucket, query, shared),
        (None, Some(object)) if wanted.is_some_and(|etag| etag.trim() != tag(&object)) => {
            refuse(&mut stream, 412, "PreconditionFailed")
        }
        (None, Some(object)) => give(&mut stream, &object, object.len()),
        (_, None) if holds(shared, bucket) => refuse(&mut stream, 404, "NoSuchKey"),
        (_, None) => refuse(&mut stream, 404, "NoSuchBucket"),
    };
    shared.state.lock().unwrap().now -= 1;
    Some(())
}

/// The head of a request, its header names in lower case.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn give(stream: &mut TcpStream, object: &[u8], bytes: usize) -> std::io::Result<()> {
    let (length, tag) = (object.len(), tag(object));
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\netag: {tag}\r\nconnection: close\r\n\r\n"
    )?;
    stream.write_all(&object[..bytes.min(length)])
}

fn tag(object: &[u8]) -> String {
    format!("\"{:08x}\"", crc32fast::hash(object))
}

fn refuse(stream: &mut TcpStream, status: u16, code: &str) -> std::io::Result<()> {
    let body = format!("<Error><Code>{code}</Code><Message>it is {code}</Message></Error>");
    xml(stream, status, &body)
}

fn xml(stream: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\
         x-amz-request-id: request-1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn list(stream: &mut TcpStream, bucket: &str, query: &str, shared: &Shared) -> std::io::Result<()> {
    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or("");
    let below = format!("/{bucket}/{}", decoded(prefix));
    let state = shared.state.lock().unwrap();
    let keys = state
        .objects
        .keys()
        .filter(|path| path.strip_prefix(&below).is_some_and(|name| !name.contains('/')));
    let keys = keys.map(|path| {
        let key = &path[bucket.len() + 2..];
        format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>")
    });
    let keys: String = keys.collect();
    drop(state);
    xml(stream, 200, &format!("<ListBucketResult>{keys}</ListBucketResult>"))
}

fn holds(shared: &Shared, bucket: &str) -> bool {
    let state = shared.state.lock().unwrap();
    state.objects.keys().any(|path| path.starts_with(&format!("/{bucket}/")))
}

/// Until the client gives up, or the test ends.
fn hang(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut stream = stream;
    while !shared.over.load(Ordering::SeqCst) {
        match stream.read(&mut [0]) {
            Ok(0) => break,
            Err(cause) if cause.kind() != std::io::ErrorKind::WouldBlock => break,
            _ => {}
        }
    }
    Ok(())
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let code = (byte == b'%').then(|| [rest.next().unwrap(), rest.next().unwrap()]);
        bytes.push(code.map_or(byte, |code| {
            u8::from_str_radix(std::str::from_utf8(&code).unwrap(), 16).unwrap()
        }));
    }
    String::from_utf8(bytes).unwrap()
}
