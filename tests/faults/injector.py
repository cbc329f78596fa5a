"""A reverse proxy in front of a real Elasticsearch node that can spoil what passes: the node behind is
real, and only what a test asks for is made up.

    with Injector(servers.port("es-spare")) as injector:
        …the program connects to injector.port…
        with injector.spoil(answer(401)):        # every request from now on
            …
        with injector.spoil(cut, bulks, times=3):
            …
        injector.injected                        # how often anything was spoilt

A fault is a function of a Request: it may pass it on (request.forward()) and answers with
request.reply(), with bytes of its own (request.raw()), or not at all. `answered` counts by status what
the program was told.
"""

import collections
import contextlib
import http.client
import http.server
import json
import threading

TIMEOUT_S = 60


def every(path):
    return True


def bulks(path):
    return "/_bulk" in path


def marks(path):
    return "/_bulk" in path and "_seq_no" in path


def looks(path):
    """What asks which data the index holds."""
    return "/_cluster/state" in path or "/_stats" in path


def answer(status, kind="", reason="said the test"):
    """A fault: refused with this status, as Elasticsearch does it, without asking the node."""

    def fault(request):
        error = {"error": {"type": kind, "reason": reason}, "status": status}
        request.reply(status, json.dumps(error).encode())

    return fault


def too_large(limit_bytes):
    """A fault: as a proxy with a limit on bodies, and without a word of JSON."""

    def fault(request):
        if len(request.body) > limit_bytes:
            request.reply(413, b"<html>413 Request Entity Too Large</html>")
        else:
            request.pass_on()

    return fault


def cut(request):
    """The node has done it, and half of its answer arrives."""
    status, body = request.forward()
    request.reply(status, body[: len(body) // 2], claimed=len(body))
    request.hang_up()


def garbage(request):
    """Something answers that is no HTTP server."""
    request.raw(b"\x15\x03\x01\x00\x02\x02\x28 what?\r\n\r\n" + bytes(range(128, 256)))
    request.hang_up()


def web_page(request):
    """200, and not what was asked for: a captive portal, a proxy's error page."""
    request.reply(200, b"<html><body>It works!</body></html>")


def short(request):
    """The node has done it, and one item is missing from its answer."""
    status, body = request.forward()
    reply = json.loads(body)
    reply["items"] = reply["items"][:-1]
    request.reply(status, json.dumps(reply).encode())


def hang(request):
    """Nothing comes, and the connection stays open until the fault is over."""
    request.wait_until_over()
    request.hang_up()


def mute(request):
    """The node has done it, and its answer never comes."""
    request.forward()
    hang(request)


class Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S
    disable_nagle_algorithm = True  # head and body are two writes
    link = None  # to the node, kept as long as the client's connection

    def finish(self):
        if self.link is not None:
            self.link.close()
        super().finish()

    def log_message(self, *words):
        pass

    def handle_any(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.injector.choose(self.path)
        self.over = self.server.injector.over
        try:
            (fault or Request.pass_on)(self)
        except (OSError, http.client.HTTPException):
            self.hang_up()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

    def pass_on(self):
        self.reply(*self.forward())

    def forward(self):
        """(status, body) of the node."""
        if self.link is None:
            upstream = self.server.injector.upstream
            self.link = http.client.HTTPConnection("127.0.0.1", upstream, timeout=TIMEOUT_S)
        headers = {"Content-Type": self.headers.get("Content-Type") or "application/json"}
        self.link.request(self.command, self.path, self.body or None, headers)
        answered = self.link.getresponse()
        body = answered.read()
        self.server.injector.note(self, answered.status, body)
        return answered.status, body

    def reply(self, status, body, claimed=None):
        with self.server.injector.lock:
            self.server.injector.answered[status] += 1
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if claimed is None else claimed))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def raw(self, data):
        self.wfile.write(data)
        self.wfile.flush()

    def wait_until_over(self):
        self.over.wait(TIMEOUT_S)

    def hang_up(self):
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a client that went away


class Injector:
    """A context manager; what is spoilt is spoilt for one `with` at a time."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.lock = threading.Lock()
        self.fault, self.which, self.left = None, every, 0
        self.over = threading.Event()
        self.injected = 0
        self.answered = collections.Counter()  # by status, as the program met it
        self.mixed = 0  # answers of 200 with items of several fates
        self.server = Server(("127.0.0.1", 0), Request)
        self.server.injector = self
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @contextlib.contextmanager
    def spoil(self, fault, which=every, times=None):
        """Requests whose path `which` takes meet the fault: all of them, or so many."""
        with self.lock:
            self.fault, self.which, self.left = fault, which, times
            self.over = threading.Event()
        try:
            yield
        finally:
            with self.lock:
                self.fault = None
            self.over.set()

    def choose(self, path):
        with self.lock:
            if self.fault is None or not self.which(path) or self.left == 0:
                return None
            if self.left is not None:
                self.left -= 1
            self.injected += 1
            return self.fault

    def note(self, request, status, body):
        if bulks(request.path) and status == 200:
            items = json.loads(body).get("items", [])
            statuses = {next(iter(item.values()))["status"] for item in items}
            with self.lock:
                self.mixed += len(statuses) > 1
