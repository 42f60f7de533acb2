"""flanneld's health: `/healthz` is 200 while the process lives, `/readyz` once the subnets and their files are there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wefted.errors import UsageError


@contextmanager
def serving(address: str, port: int, ready: Callable[[], bool]) -> Iterator[None]:
    """Answer on `address` and `port`, 0 for nowhere. Raises `UsageError` where that is not possible."""
    if not port:
        yield
        return
    try:
        server = ThreadingHTTPServer((address, port), _handler(ready))
    except (OSError, OverflowError) as error:
        raise UsageError(f"healthz cannot listen on {address}:{port}: {error}", "choose another -healthz-port") from None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(ready: Callable[[], bool]) -> type[BaseHTTPRequestHandler]:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {"/healthz": (200, "flanneld is running"), "/readyz": (200, "") if ready() else (503, "not ready")}
            status, text = answers.get(self.path, (404, "404 page not found"))
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: a probe comes every few seconds."""

    return Health
