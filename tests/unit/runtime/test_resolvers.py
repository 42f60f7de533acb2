"""Whom Docker's own name server asks, from the host's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from wefted.runtime.resolvers import FALLBACK, containers_ask_themselves, docker_resolvers, host_asks_itself


def written(root: Path, resolv: str, daemon: str = "", systemd: str = "") -> Path:
    for name, text in (
        ("etc/resolv.conf", resolv),
        ("etc/docker/daemon.json", daemon),
        ("run/systemd/resolve/resolv.conf", systemd),
    ):
        if text:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "asked", "itself"),
    [
        (("nameserver 192.0.2.1\nnameserver fd00::1\n",), ["192.0.2.1", "fd00::1"], []),
        (("nameserver 127.0.0.53\n", "", "nameserver 192.0.2.2\n"), ["192.0.2.2"], []),
        (("nameserver 127.0.0.53\n",), list(map(str, FALLBACK)), []),
        (("search example.com\n",), list(map(str, FALLBACK)), []),
        (("",), list(map(str, FALLBACK)), []),
        (("nameserver 127.0.0.1\n",), [], ["127.0.0.1"]),
        (("nameserver 192.0.2.1\n", '{"dns": ["192.0.2.7"]}'), ["192.0.2.7"], []),
        (("nameserver 127.0.0.1\n", '{"dns": ["127.0.0.77"]}'), [], []),
        (("nameserver 192.0.2.1\n", "{"), ["192.0.2.1"], []),
        (("nameserver 192.0.2.1\n", '{"dns": "x"}'), ["192.0.2.1"], []),
        (("nameserver 192.0.2.1\n", "[]"), ["192.0.2.1"], []),
    ],
)
def test_docker_asks(tmp_path, files, asked, itself):
    root = written(tmp_path, *files)
    assert list(map(str, docker_resolvers(root))) == asked
    assert list(map(str, host_asks_itself(root))) == itself


def test_a_loopback_in_the_setting_is_the_containers(tmp_path):
    root = written(tmp_path, "nameserver 127.0.0.1\n", '{"dns": ["192.0.2.7", "127.0.0.77"]}')
    assert list(map(str, containers_ask_themselves(root))) == ["127.0.0.77"]
    assert containers_ask_themselves(tmp_path / "none") == ()
