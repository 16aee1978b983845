//! The server on a real socket, spoken to byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use maskmaker::inference::Segment;
use maskmaker::serve::{ServeSettings, serve_until};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::stub::*;

/// A server on its own thread and a port of its own.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

fn start(engine: Box<dyn Segment>, settings: ServeSettings) -> Server {
    let (stop, stopped) = oneshot::channel();
    let (tell, told) = std::sync::mpsc::channel();
    let ended = spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let server = serving(engine, &settings);
            let app = ready(&server).await;
            let listener = TcpListener::bind((settings.host, settings.port)).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let stop = async { stopped.await.unwrap_or_default() };
            serve_until(listener, app, &settings, stop).await;
        });
        runtime.shutdown_background();
    });
    Server { address: told.recv_timeout(FOR_EVER).unwrap(), stop, ended }
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(FOR_EVER)).unwrap();
        stream
    }

    /// Stops the server and says how long it took to end.
    fn end(self) -> Duration {
        let begun = Instant::now();
        self.stop.send(()).unwrap();
        self.ended.join().unwrap();
        begun.elapsed()
    }
}

/// The head of a POST with these further lines.
fn head(lines: &[&str]) -> Vec<u8> {
    let first = ["POST /invocations HTTP/1.1", "host: x", "content-type: image/png"];
    [&first, lines, &["", ""]].concat().join("\r\n").into()
}

fn whole(body: &[u8]) -> Vec<u8> {
    [head(&[&format!("content-length: {}", body.len())]), body.to_vec()].concat()
}

fn chunked(pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = head(&["transfer-encoding: chunked"]);
    for piece in pieces {
        bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
        bytes.extend(*piece);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

/// Reads one answer: its status, its head in lower case, its body.
fn read(stream: &mut TcpStream) -> (u16, String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "the connection ended");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    (head[9..12].parse().unwrap(), head, body)
}

fn status(stream: &mut TcpStream, request: &[u8]) -> u16 {
    stream.write_all(request).unwrap();
    read(stream).0
}

/// Whether the server has closed, waiting for it.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let server = start(boxed(red_modulo_4), settings());
    let mut stream = server.connect();
    assert_eq!(status(&mut stream, b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n"), 200);
    assert_eq!(status(&mut stream, &whole(&png(9, 9))), 200);
    assert_eq!(status(&mut stream, &whole(b"no image")), 422);
    assert_eq!(status(&mut stream, &chunked(&[&png(9, 9)[..20], &png(9, 9)[20..]])), 200);
    assert_eq!(status(&mut stream, b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n"), 404);
}

#[test]
fn chunks_that_are_malformed_are_400() {
    let server = start(boxed(red_modulo_4), settings());
    let mut request = head(&["transfer-encoding: chunked"]);
    request.extend(b"5\r\nabcde\r\nzz\r\n");
    let mut stream = server.connect();
    stream.write_all(&request).unwrap();
    let (status, _, body) = read(&mut stream);
    assert_eq!(status, 400);
    assert!(String::from_utf8_lossy(&body).contains("BrokenBody"));
    assert!(is_closed(&mut stream));
}

#[test]
fn a_length_over_the_limit_is_refused_before_the_body_is_sent() {
    let server = start(boxed(red_modulo_4), settings());
    let huge = head(&["content-length: 99999999999"]);
    assert_eq!(status(&mut server.connect(), &huge), 413);
    // A client that asks first is not told to go on.
    let asks = head(&["content-length: 99999999999", "expect: 100-continue"]);
    assert_eq!(status(&mut server.connect(), &asks), 413);
    let image = png(9, 9);
    let asks = head(&[&format!("content-length: {}", image.len()), "expect: 100-continue"]);
    let mut stream = server.connect();
    assert_eq!(status(&mut stream, &asks), 100);
    assert_eq!(status(&mut stream, &image), 200);
}

#[test]
fn a_refused_body_is_taken_off_the_line_so_that_the_refusal_is_seen() {
    let server = start(boxed(red_modulo_4), settings());
    let mut stream = server.connect();
    // More than the buffers between the two hold.
    assert_eq!(status(&mut stream, &whole(&vec![0; 16 << 20])), 413);
    let piece = vec![0; 60_000];
    let pieces = vec![piece.as_slice(); 200];
    assert_eq!(status(&mut stream, &chunked(&pieces)), 413);
    assert_eq!(status(&mut stream, &whole(&png(9, 9))), 200);
}

#[test]
fn a_request_that_never_ends_does_not_hold_its_connection() {
    let short = Duration::from_millis(50);
    let server = start(boxed(red_modulo_4), ServeSettings { head_timeout: short, ..settings() });
    for beginning in [&b""[..], b"POST /invoc"] {
        let mut stream = server.connect();
        stream.write_all(beginning).unwrap();
        assert!(is_closed(&mut stream));
    }
    let server = start(boxed(red_modulo_4), ServeSettings { body_timeout: short, ..settings() });
    let mut stream = server.connect();
    stream.write_all(&head(&["content-length: 100"])).unwrap();
    stream.write_all(b"ten bytes.").unwrap();
    let (status, head, _) = read(&mut stream);
    assert_eq!(status, 408);
    assert!(head.contains("connection: close"), "{head}");
}

/// A request for an answer of 20 MB, which is more than the buffers between the two hold.
fn large() -> Vec<u8> {
    let image = maskmaker::imaging::encode_png(&image::RgbImage::new(5000, 4000));
    let length = format!("content-length: {}", image.len());
    [head(&["accept: application/x-npy", &length]), image].concat()
}

/// Room for one answer of that size.
fn room_for_one() -> ServeSettings {
    ServeSettings {
        max_pixels: 20_000_000,
        bodies_bytes: 30 << 20,
        max_body_bytes: 1 << 20,
        ..settings()
    }
}

#[test]
fn answers_that_nobody_takes_count_until_their_clients_have_gone() {
    let server = start(boxed(red_modulo_4), room_for_one());
    let request = large();
    let mut never_reads = server.connect();
    never_reads.write_all(&request).unwrap();
    // The first byte tells that the answer is made.
    assert_eq!(never_reads.peek(&mut [0]).unwrap(), 1);
    let mut other = server.connect();
    assert_eq!(status(&mut other, &request), 503);
    drop(never_reads);
    while status(&mut other, &request) != 200 {}
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    let reply_timeout = Duration::from_millis(50);
    let server = start(boxed(red_modulo_4), ServeSettings { reply_timeout, ..room_for_one() });
    let request = large();
    let mut never_reads = server.connect();
    never_reads.write_all(&request).unwrap();
    assert_eq!(never_reads.peek(&mut [0]).unwrap(), 1);
    let mut other = server.connect();
    while status(&mut other, &request) != 200 {}
}

#[test]
fn a_client_that_hangs_up_is_not_computed_for() {
    let (gate, engine) = gate();
    let server = start(engine, settings());
    let mut first = server.connect();
    first.write_all(&whole(&png(11, 5))).unwrap();
    assert_eq!(gate.begun.recv_timeout(FOR_EVER).unwrap(), 11);
    let mut leaves = server.connect();
    leaves.write_all(&whole(&png(12, 5))).unwrap();
    sleep(Duration::from_millis(100));
    drop(leaves);
    // Nothing tells when the server has noticed.
    sleep(Duration::from_millis(500));
    drop(gate.let_on);
    assert_eq!(read(&mut first).0, 200);
    assert_eq!(status(&mut server.connect(), &whole(&png(13, 5))), 200);
    assert_eq!(gate.begun.try_iter().collect::<Vec<_>>(), [13]);
}

#[test]
fn a_stop_answers_what_is_in_flight_and_takes_nothing_new() {
    let (gate, engine) = gate();
    let server = start(engine, settings());
    let (mut idle, mut fresh, mut busy) = (server.connect(), server.connect(), server.connect());
    assert_eq!(status(&mut idle, b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n"), 200);
    busy.write_all(&whole(&png(11, 5))).unwrap();
    gate.begun.recv_timeout(FOR_EVER).unwrap();
    let address = server.address;
    let ending = spawn(move || server.end());
    assert!(is_closed(&mut idle) && is_closed(&mut fresh));
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(!ending.is_finished());
    gate.let_on.send(()).unwrap();
    let (status, head, _) = read(&mut busy);
    assert_eq!(status, 200);
    assert!(head.contains("connection: close"), "{head}");
    assert!(is_closed(&mut busy));
    assert!(ending.join().unwrap() < settings().drain_timeout);
}

#[test]
fn a_stop_waits_for_idle_connections_not_at_all_and_for_stuck_work_not_for_ever() {
    let server = start(boxed(red_modulo_4), settings());
    let mut idle = server.connect();
    assert_eq!(status(&mut idle, &whole(&png(9, 9))), 200);
    assert!(server.end() < Duration::from_secs(5));

    let (gate, engine) = gate();
    let drain_timeout = Duration::from_millis(200);
    let server = start(engine, ServeSettings { drain_timeout, ..settings() });
    let mut busy = server.connect();
    busy.write_all(&whole(&png(11, 5))).unwrap();
    gate.begun.recv_timeout(FOR_EVER).unwrap();
    let took = server.end();
    assert!(took >= drain_timeout && took < Duration::from_secs(5), "{took:?}");
    assert!(is_closed(&mut busy));
}
