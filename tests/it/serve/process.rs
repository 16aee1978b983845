//! The server as a process of its own, with real signals: this test binary started again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use maskmaker::error::Error;
use maskmaker::serve::{ServeSettings, run_server};

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
        let settings = ServeSettings { log_requests: true, ..settings() };
        run_server(&settings, only(boxed(slow)), None).unwrap();
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
        let mut message = || {
            let json: serde_json::Value = serde_json::from_str(&line()).unwrap();
            assert!(json["time"].as_str().unwrap().ends_with('Z') && json["level"] == "info");
            json["message"].as_str().unwrap().to_owned()
        };
        let listening = message();
        let address = listening.strip_prefix("listening on http://").unwrap();
        assert!(message().starts_with("ready after "));

        let mut stream = TcpStream::connect(address).unwrap();
        // The second ping tells nothing new, and so the log does not either.
        stream.write_all(&b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2)).unwrap();
        let ping: serde_json::Value = serde_json::from_str(&line()).unwrap();
        assert_eq!((&ping["method"], &ping["path"]), (&"GET".into(), &"/ping".into()));
        assert_eq!((ping["status"].as_u64(), ping.get("error_type")), (Some(200), None));

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
        let rest: Vec<serde_json::Value> =
            log.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        let tells = |line: &serde_json::Value| {
            line["message"].as_str().is_some_and(|text| text.starts_with(&format!("SIG{signal}")))
        };
        assert!(rest.iter().any(tells), "{rest:?}");
        let of_request = rest.iter().find(|line| line["path"] == "/invocations").unwrap();
        for (key, value) in
            [("status", 200), ("width", 9), ("height", 9), ("batch", 1), ("images", 1)]
        {
            assert_eq!(of_request[key], value, "{key}");
        }
        assert_eq!(of_request["bytes_in"], body.len());
        assert!(of_request["model_ms"].as_f64().unwrap() >= 400.0, "{of_request}");
        for key in ["time", "id"] {
            assert!(!of_request[key].as_str().unwrap().is_empty(), "{key}");
        }
        for key in ["ms", "bytes_out", "decode_ms", "queue_ms", "encode_ms"] {
            assert!(of_request[key].is_number(), "{key}");
        }
        assert!(server.0.wait().unwrap().success());
    }
}

#[test]
fn a_model_that_cannot_be_loaded_ends_the_server_with_its_error() {
    let loader = Loader(|_: &Path| Err(Error::input("config.json is missing")));
    let error = run_server(&settings(), Arc::new(loader), None).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.exit_code()), ("config.json is missing", 3));
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_the_fix() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let engine = only(boxed(red_modulo_4));
    let error = run_server(&ServeSettings { port, ..settings() }, engine, None).unwrap_err();
    assert!(error.to_string().contains("--port"), "{error}");
}
