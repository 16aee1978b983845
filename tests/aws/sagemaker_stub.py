#!/usr/bin/env python3
"""The program serves a stub of SageMaker's pipelines and model registry and of CloudWatch Logs on loopback, for tests.

    sagemaker_stub.py [--port 0] [--log FILE] [--region us-east-2] [--s3 http://127.0.0.1:5000]

It prints its URL when it is ready, and ends on SIGTERM. Clients sign with the key "testing" and the secret "testing".
Tests steer it over HTTP, without signatures:

    POST /_control   a JSON object; stub/control.py and test_stub.py show what it may hold
    POST /_reset     forgets everything
    GET  /_state     all resources as JSON
    GET  /_log       all requests since the last reset as JSON, with their violations of the service model
"""

import argparse
import json
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stub.account import Account
from stub.control import apply_control
from stub.errors import ServiceError, invalid
from stub.service import Dropped, answer_call


class Handler(BaseHTTPRequestHandler):
    """A handler reads requests of one connection; paths that begin with an underscore are the tests' own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        """The method answers /_state and /_log."""
        account = self.server.account
        with account.lock:
            answers = {"/_state": account.snapshot, "/_log": lambda: account.requests}
            if self.path in answers:
                self.send_json(200, answers[self.path]())
            else:
                self.send_json(404, {"message": f"there is no {self.path}"})

    def do_POST(self):
        """The method answers /_control and /_reset, and hands everything else to the services."""
        if "Content-Length" not in self.headers:
            self.close_connection = True
            self.send_json(411, {"__type": "MissingContentLength", "message": "Content-Length is needed"})
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/_"):
            self.answer_test(body)
            return
        try:
            answer = answer_call(self.server.account, "POST", self.path, self.headers, body, self.server.write_log)
        except Dropped:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_body(answer.status, answer.headers, answer.body)

    def answer_test(self, body):
        """The method applies what a test posted."""
        account = self.server.account
        with account.lock:
            try:
                if self.path == "/_reset":
                    account.reset()
                    self.send_json(200, {})
                elif self.path == "/_control":
                    self.send_json(200, apply_control(account, read_object(body)))
                else:
                    self.send_json(404, {"message": f"there is no {self.path}"})
            except ServiceError as error:
                self.send_json(400, error.body())
            except (KeyError, TypeError, ValueError) as error:
                self.send_json(400, {"message": f"/_control could not be applied: {error!r}"})

    def send_json(self, status, value):
        """The method sends a JSON value."""
        self.send_body(status, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def send_body(self, status, headers, body):
        """The method sends a response."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """The method drops the lines that the base class writes per request; --log has more."""


class Server(ThreadingHTTPServer):
    """A server holds the account and the log that its handlers share."""

    daemon_threads = True

    def __init__(self, port, account, log):
        super().__init__(("127.0.0.1", port), Handler)
        self.account, self.log, self.log_lock = account, log, threading.Lock()

    def write_log(self, entry):
        """The method writes an entry as one line of JSON."""
        if self.log:
            with self.log_lock:
                self.log.write(json.dumps(entry) + "\n")
                self.log.flush()

    def handle_error(self, request, client_address):
        """The method keeps silent about clients that went away, and reports all other errors."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def read_object(body):
    """The function reads a JSON object."""
    value = json.loads(body)
    if not isinstance(value, dict):
        raise invalid("a JSON object is needed")
    return value


def read_arguments():
    """The function reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--log", help="file to which each request is appended as one line of JSON")
    parser.add_argument("--region", default="us-east-2", help="region for which requests must be signed")
    parser.add_argument("--s3", help="endpoint of S3 from which PipelineDefinitionS3Location is read, by path")
    return parser.parse_args()


def main():
    """The function serves until SIGTERM or SIGINT ends it."""
    arguments = read_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    log = open(arguments.log, "a", encoding="utf-8") if arguments.log else None
    server = Server(arguments.port, Account(arguments.region, arguments.s3), log)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
