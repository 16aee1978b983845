//! The server as a process of its own, with real signals: this test binary started again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use maskmaker::error::Error;
use maskmaker::serve::{Settings, run};

use super::stub::*;

const CHILD: &str = "MASKMAKER_TEST_IS_SERVER";

/// A process that does not outlive a failed test.
struct EndsWithTest(Child);

impl Drop for EndsWithTest {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

#[test]
#[ignore = "is the server that the test below starts"]
fn serves_until_a_signal() {
    if std::env::var_os(CHILD).is_some() {
        let slow = |image: &image::RgbImage| {
            eprintln!("the engine has begun");
            sleep(Duration::from_millis(400));
            red_modulo_4(image)
        };
        run(&settings(), move || Ok(boxed(slow))).unwrap();
    }
}

#[test]
fn a_signal_ends_the_process_well_after_what_is_in_flight() {
    for signal in ["TERM", "INT"] {
        let mut server = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve::process::serves_until_a_signal", "--ignored", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map(EndsWithTest)
            .unwrap();
        let mut log = BufReader::new(server.0.stderr.take().unwrap()).lines();
        let mut line = || log.next().unwrap().unwrap();
        let listening = line();
        let address = listening.strip_prefix("listening on http://").unwrap();
        assert!(line().starts_with("ready after "));

        let mut stream = TcpStream::connect(address).unwrap();
        // The second ping tells nothing new, and so the log does not either.
        stream.write_all(&b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2)).unwrap();
        assert!(line().starts_with("GET /ping 200 "));

        let body = png(9, 9);
        let head = "POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n", body.len()).unwrap();
        stream.write_all(&body).unwrap();
        assert_eq!(line(), "the engine has begun");
        // The shell's own kill: not every image has the program.
        let kill = format!("kill -{signal} {}", server.0.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answers = answer.windows(15).filter(|found| found == b"HTTP/1.1 200 OK").count();
        assert_eq!(answers, 3, "{}", String::from_utf8_lossy(&answer));
        let rest: Vec<String> = log.map(Result::unwrap).collect();
        let tells = |what: &str| rest.iter().any(|line| line.starts_with(what));
        assert!(tells(&format!("SIG{signal}")) && tells("POST /invocations 200 "), "{rest:?}");
        assert!(server.0.wait().unwrap().success());
    }
}

#[test]
fn a_model_that_cannot_be_loaded_ends_the_server_with_its_error() {
    let error = run(&settings(), || Err(Error::input("config.json is missing"))).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.exit_code()), ("config.json is missing", 3));
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_the_fix() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = run(&Settings { port, ..settings() }, || Ok(boxed(red_modulo_4))).unwrap_err();
    assert!(error.to_string().contains("--port"), "{error}");
}
