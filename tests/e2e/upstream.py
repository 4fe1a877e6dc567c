"""A stand-in for MLflow behind NGINX that counts what reaches it and answers as slowly as told.

Runs alone in a container: the standard library only. Where a test needs a pause it says `POST
/release` over a second connection; nothing here waits for a clock, but for WAIT_SECONDS at most.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAIT_SECONDS = 60
MIB = 1024**2
DOWNLOAD = 200 * MIB


class Counters:
    """What has happened so far."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests = 0
        self.received = 0
        self.sent = 0
        self.headers: dict[str, str] = {}
        self.released = threading.Semaphore(0)


COUNTERS = Counters()


class Upstream(BaseHTTPRequestHandler):
    """One connection from NGINX, or from the test itself."""

    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Count a connection."""
        COUNTERS.connections += 1
        super().setup()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Stay quiet."""

    def do_GET(self) -> None:
        """Answer at once, in pieces, or with a flood."""
        path = self.path.partition("?")[0]
        if path == "/counters":
            COUNTERS.connections -= 1  # the test's own
            self.answer(
                {
                    "connections": COUNTERS.connections,
                    "requests": COUNTERS.requests,
                    "received": COUNTERS.received,
                    "sent": COUNTERS.sent,
                    "headers": COUNTERS.headers,
                }
            )
            return
        COUNTERS.requests += 1
        COUNTERS.headers = dict(self.headers.items())
        if path.endswith("/pieces"):
            self.pieces()
        elif path.endswith("/flood"):
            self.flood()
        else:
            self.answer({"path": self.path})

    def do_POST(self) -> None:
        """Release the next piece, or take a body."""
        if self.path == "/release":
            COUNTERS.connections -= 1
            COUNTERS.released.release()
            self.answer({})
            return
        self.do_PUT()

    def do_PUT(self) -> None:
        """Take a body and count it as it comes."""
        COUNTERS.requests += 1
        left = int(self.headers.get("Content-Length", 0))
        chunked = self.headers.get("Transfer-Encoding", "") == "chunked"
        while chunked or left:
            if chunked:
                left = int(self.rfile.readline(), 16)
            part = self.rfile.read1(min(left, MIB)) if not chunked else self.rfile.read(left)
            if chunked:
                self.rfile.readline()
                if not left:
                    break
            elif not part:
                self.close_connection = True
                return
            left -= len(part)
            COUNTERS.received += len(part)
        self.answer({})

    def answer(self, value: object) -> None:
        """Send one JSON document."""
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def pieces(self) -> None:
        """Send three events, each after the one before was released."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            if number and not COUNTERS.released.acquire(timeout=WAIT_SECONDS):
                return
            event = f"data: {number}\n\n".encode()
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def flood(self) -> None:
        """Send as fast as the reader takes it."""
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(DOWNLOAD))
        self.end_headers()
        part = bytes(64 * 1024)
        try:
            for _ in range(DOWNLOAD // len(part)):
                self.wfile.write(part)
                COUNTERS.sent += len(part)
        except OSError:
            self.close_connection = True


if __name__ == "__main__":
    server = ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Upstream)
    server.serve_forever()
