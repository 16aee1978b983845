"""A reverse proxy on loopback that records requests, slows answers down, and can be away, as real networks are."""

import http.client
import http.server
import socket
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PIECE = 8192
# Headers of one connection, which HTTP says must not be passed on.
OF_ONE_CONNECTION = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}


@dataclass
class Request:
    """A request that a client sent, and how far the proxy came with its answer."""

    method: str
    target: str
    headers: dict = field(repr=False)
    status: int = None
    sent: int = 0
    complete: bool = False

    @property
    def path(self):
        return self.target.partition("?")[0]


class RecordingProxy:
    """The proxy passes requests on to one server and keeps a record of them.

    Tests read `requests`, because only what went over the wire shows that a client asked for nothing twice.
    """

    def __init__(self, upstream):
        self.upstream = urlsplit(upstream)
        self.requests = []
        self.bytes_per_second = None
        self._spoiled = set()
        self.port = 0
        self._connections = set()
        self._lock = threading.Lock()
        self.come_back()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def take_requests(self):
        """Returns the requests so far and forgets them, so that the next run has a record of its own."""
        with self._lock:
            taken, self.requests = self.requests, []
        return taken

    def under_way(self):
        """Returns the requests of whose answers the client has a part so far."""
        with self._lock:
            return [request for request in self.requests if request.sent and not request.complete]

    def spoil(self, authorization):
        """Makes one value of the header `Authorization` invalid from now on, as the end of its time does."""
        self._spoiled.add(authorization)

    def go_away(self):
        """Refuses new connections and breaks those that are open, as a server does that is killed."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # The client was faster.

    def come_back(self):
        """Listens, on the same port as before if there was one: the client knows no other."""
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class _Server(http.server.ThreadingHTTPServer):
    """The server hands its proxy to the handlers, and forgets clients that were killed."""

    daemon_threads = True
    # Handlers that wait for a slow server must not hold up the end of the tests.
    block_on_close = False

    def __init__(self, proxy):
        self.proxy = proxy
        super().__init__(("127.0.0.1", proxy.port), _Handler)

    def handle_error(self, request, client_address):
        """Says nothing: a client that was killed is what the tests want."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """The handler passes one connection's requests on."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        with self.server.proxy._lock:
            self.server.proxy._connections.add(self.connection)

    def finish(self):
        with self.server.proxy._lock:
            self.server.proxy._connections.discard(self.connection)
        super().finish()

    def log_message(self, *_):
        """Says nothing: the record is in the proxy."""

    def pass_on(self):
        """Sends the request to the server behind the proxy and its answer to the client, piece by piece."""
        proxy = self.server.proxy
        request = Request(self.command, self.path, dict(self.headers))
        with proxy._lock:
            proxy.requests.append(request)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OF_ONE_CONNECTION}
        if headers.get("authorization") in proxy._spoiled:
            headers["authorization"] += "spoiled"
        upstream = http.client.HTTPConnection(proxy.upstream.hostname, proxy.upstream.port, timeout=120)
        try:
            upstream.request(self.command, self.path, body or None, {**headers, "Connection": "close"})
            answer = upstream.getresponse()
            request.status = answer.status
            self._send_head(answer)
            self._send_body(answer, request)
        finally:
            upstream.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

    def _send_head(self, answer):
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in OF_ONE_CONNECTION:
                self.send_header(name, value)
        # Without a length the client could not tell an answer that was cut off from a whole one.
        self.is_chunked = answer.length is None and self.command != "HEAD"
        if self.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _send_body(self, answer, request):
        while piece := answer.read(PIECE):
            if rate := self.server.proxy.bytes_per_second:
                time.sleep(len(piece) / rate)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self.is_chunked else piece)
            request.sent += len(piece)
        if answer.length:
            raise ConnectionError(f"the server broke off {answer.length} bytes before the end")
        if self.is_chunked:
            self.wfile.write(b"0\r\n\r\n")
        request.complete = True
