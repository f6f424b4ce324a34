"""An endpoint on this machine that answers JSON by a script and keeps what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        status, answer = self.server.script(body, len(self.server.asked))
        payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload) + self.server.left_out))
        self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        pass


class Endpoint(ThreadingHTTPServer):
    """``script(body, n)`` gives the status and the answer to the ``n``-th request; ``asked`` holds path, key and body.

    ``retry_after`` is sent with each answer, of which ``left_out`` bytes never come.
    """

    retry_after = "0"
    left_out = 0

    def __init__(self, script: Callable[[Any, int], tuple[int, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.script, self.asked = script, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def answering(script: Callable[[Any, int], tuple[int, Any]]) -> Iterator[Endpoint]:
    """An endpoint as long as the block lasts."""
    server = Endpoint(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
