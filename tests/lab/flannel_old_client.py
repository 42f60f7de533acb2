"""Runs inside a virtual host: a flanneld of 0.7 as a client of a flannel server, from its wire format and http.client alone.

    flannel_old_client.py HOST PORT PUBLIC [CA CERT KEY]

It acquires a lease for PUBLIC, reads the configuration, takes a first look at all leases, and then follows its own and all of
them by cursors, as flannel's goroutines do, renewing whenever a line comes on its standard input. What it learns is written as
one JSON object a line: {"acquired": Lease} {"config": Config} {"leases": result} {"own": result} {"renewed": Lease}
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import threading
from typing import Any

HOST, PORT, PUBLIC, *FILES = sys.argv[1:]
ATTRS = {"PublicIP": PUBLIC, "BackendType": "vxlan", "BackendData": {"VtepMAC": "02:42:00:00:00:07"}}
SAYING = threading.Lock()


def connection() -> http.client.HTTPConnection:
    if not FILES:
        return http.client.HTTPConnection(HOST, int(PORT))
    context = ssl.create_default_context(cafile=FILES[0])
    context.load_cert_chain(FILES[1], FILES[2])
    return http.client.HTTPSConnection(HOST, int(PORT), context=context)


def ask(method: str, path: str, body: Any = None) -> Any:
    """Ask once on a connection of its own; as Go does, whatever is not 200 is an error."""
    opened = connection()
    data = json.dumps(body) if body is not None else None
    opened.request(method, f"/v1/_/{path}", data, {"Content-Type": "application/json"} if data else {})
    answer = opened.getresponse()
    text = answer.read().decode()
    opened.close()
    if answer.status != 200:
        raise SystemExit(f"{method} {path}: {answer.status} {answer.reason}: {text}")
    return json.loads(text)


def say(word: str, found: Any) -> None:
    with SAYING:
        print(json.dumps({word: found}), flush=True)


def follow(word: str, path: str) -> None:
    cursor = ""
    while True:
        found = ask("GET", f"{path}?next={cursor}" if cursor else path)
        assert isinstance(found["cursor"], str), "watch returned non-string cursor"
        cursor = found["cursor"]
        say(word, found)


def main() -> None:
    lease = ask("POST", "leases", ATTRS)
    say("acquired", lease)
    say("config", ask("GET", "config"))
    key = lease["Subnet"].replace("/", "-")
    for word, path in (("leases", "leases"), ("own", f"leases/{key}")):
        threading.Thread(target=follow, args=(word, path), daemon=True).start()
    for _ in sys.stdin:
        lease = ask("PUT", f"leases/{key}", lease)
        say("renewed", lease)


main()
