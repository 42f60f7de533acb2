"""The resolv.conf of Docker's containers: ours only while it is Docker's untouched copy, and given back to the byte."""

from __future__ import annotations

import hashlib
from ipaddress import ip_address
from pathlib import Path

import pytest

from wefted.runtime.dockerresolv import DockerResolvConfs, _root
from wefted.runtime.resolvconf import MARK, text

ID = "4" * 64
OURS = text([ip_address("10.20.0.1")], ["blue.weft.internal", "weft.internal"])
DOCKERS = (
    "# Generated\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nsearch example.com\noptions edns0 ndots:0\n"
)


def docker_writes(root: Path, content: str, hashed: str = "") -> Path:
    path = root / "containers" / ID / "resolv.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.with_name("resolv.conf.hash").write_text("sha256:" + hashlib.sha256((hashed or content).encode()).hexdigest())
    return path


def test_our_servers_come_first_and_dockers_stay_behind_them(tmp_path: Path) -> None:
    path, files = docker_writes(tmp_path, DOCKERS), DockerResolvConfs(tmp_path)
    inode = path.stat().st_ino
    files.write(ID, OURS)
    assert path.read_text().splitlines()[:6] == [
        MARK,
        "nameserver 10.20.0.1",
        "nameserver 192.0.2.1",
        "nameserver 192.0.2.2",
        "search blue.weft.internal weft.internal example.com",
        "options ndots:1 edns0",
    ]
    assert path.stat().st_ino == inode, "the container sees this very file"
    assert files.ours() == [ID]


@pytest.mark.parametrize("content", [DOCKERS, "", "nameserver 192.0.2.1", "\n\n", "nameserver 192.0.2.1\n\n# end\n"])
def test_it_is_given_back_to_the_byte(tmp_path: Path, content: str) -> None:
    path, files = docker_writes(tmp_path, content), DockerResolvConfs(tmp_path)
    files.write(ID, OURS)
    other = text([ip_address("10.99.0.1")], ["red.weft.internal"])
    files.write(ID, other)
    assert "nameserver 10.99.0.1\n" in path.read_text()
    assert "10.20.0.1" not in path.read_text()
    files.remove(ID)
    assert path.read_text() == content
    assert files.ours() == []


def test_what_a_user_has_changed_is_left_alone(tmp_path: Path) -> None:
    path, files = docker_writes(tmp_path, "nameserver 9.9.9.9\n", hashed=DOCKERS), DockerResolvConfs(tmp_path)
    files.write(ID, OURS)
    files.remove(ID)
    assert path.read_text() == "nameserver 9.9.9.9\n"


def test_without_a_hash_nothing_is_touched(tmp_path: Path) -> None:
    path, files = docker_writes(tmp_path, DOCKERS), DockerResolvConfs(tmp_path)
    path.with_name("resolv.conf.hash").unlink()
    files.write(ID, OURS)
    assert path.read_text() == DOCKERS


def test_dockers_own_server_is_left_alone(tmp_path: Path) -> None:
    embedded = "nameserver 127.0.0.11\noptions ndots:0\n"
    path, files = docker_writes(tmp_path, embedded), DockerResolvConfs(tmp_path)
    files.write(ID, OURS)
    assert path.read_text() == embedded


def test_no_file_and_no_id_are_no_error(tmp_path: Path) -> None:
    files = DockerResolvConfs(tmp_path)
    for identifier in (ID, ""):
        files.write(identifier, OURS)
        files.remove(identifier)
    assert files.ours() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "root"),
    [(None, "/var/lib/docker"), ("{", "/var/lib/docker"), ("[]", "/var/lib/docker"), ('{"data-root": "/srv/d"}', "/srv/d")],
)
def test_where_docker_keeps_its_containers(tmp_path: Path, settings: str | None, root: str) -> None:
    if settings is not None:
        (tmp_path / "daemon.json").write_text(settings)
    assert _root(tmp_path / "daemon.json") == Path(root)
