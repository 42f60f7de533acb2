"""An agent as a process of its own: says so on its socket until SIGTERM; a store named die:N ends it with N at once."""

import json
import os
import signal
import socket
import sys

flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
given = {key: os.environ[f"WEFTED_{key.upper()}"] for key in ("name", "store") if f"WEFTED_{key.upper()}" in os.environ}
print("asked to run", *(f"{key}={value}" for key, value in given.items()), flush=True)
store = given.get("store", "sqlite:")
if store.startswith("die:"):
    print("wefted: there is no such store", flush=True)
    sys.exit(int(store[4:]))
path = os.path.join(flags["--runtime-dir"], "wefted.sock")
os.makedirs(flags["--runtime-dir"], exist_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
if store != "mute:":
    listener.listen()


def end(*_: object) -> None:
    os.unlink(path)
    os._exit(0)


signal.signal(signal.SIGTERM, signal.SIG_IGN if store == "stubborn:" else end)
status = {
    "version": "0.1.0",
    "agent": {"running": True, "pid": os.getpid(), "uptime": 0.0, "session": os.getsid(0) == os.getpid()},
    "node": {"name": given.get("name", "h1"), "underlay": ["10.0.0.1/24"], "publish_from": ["0.0.0.0/0", "::/0"]},
    "store": {"kind": "local", "url": store, "reachable": True, "error": ""},
}
body = json.dumps(status).encode()
while True:
    try:
        connection, _ = listener.accept()
    except OSError:
        signal.pause()
        continue
    with connection:
        if connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
