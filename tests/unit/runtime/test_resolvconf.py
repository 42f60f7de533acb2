"""The resolv.conf of named namespaces: ours is written and removed, another's is not touched."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from wefted.runtime.resolvconf import MARK, ResolvConfs, text

CONTENT = text([ip_address("10.20.0.1"), ip_address("fd20::1")], ["blue.weft.internal", "weft.internal", "blue.weft.internal"])


def test_what_is_written(tmp_path: Path) -> None:
    files = ResolvConfs(tmp_path / "netns")
    files.write("c1", CONTENT)
    written = (tmp_path / "netns/c1/resolv.conf").read_text().splitlines()
    assert written == [
        MARK,
        "nameserver 10.20.0.1",
        "nameserver fd20::1",
        "search blue.weft.internal weft.internal",
        "options ndots:1",
    ]
    assert files.ours() == ResolvConfs(tmp_path / "netns").ours() == ["c1"]


def test_nothing_is_left(tmp_path: Path) -> None:
    files = ResolvConfs(tmp_path / "netns")
    files.write("c1", CONTENT)
    files.write("c2", CONTENT)
    files.remove("c1")
    assert files.ours() == ["c2"]
    files.remove("c2")
    files.remove("c2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "nameserver 9.9.9.9\n", f"# mine\n{MARK}\n", f"{MARK} no\n"])
def test_another_ones_file_is_not_touched(tmp_path: Path, content: str) -> None:
    place = tmp_path / "c1/resolv.conf"
    place.parent.mkdir()
    place.write_text(content)
    files = ResolvConfs(tmp_path)
    files.write("c1", CONTENT)
    files.remove("c1")
    assert place.read_text() == content
    assert files.ours() == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text(CONTENT)
    place = tmp_path / "netns/c1/resolv.conf"
    place.parent.mkdir(parents=True)
    place.symlink_to(target)
    files = ResolvConfs(tmp_path / "netns")
    files.write("c1", text([], ["x"]))
    files.remove("c1")
    assert (place.is_symlink(), target.read_text()) == (True, CONTENT)


def test_ours_follows_and_other_files_beside_it_stay(tmp_path: Path) -> None:
    files = ResolvConfs(tmp_path)
    files.write("c1", CONTENT)
    (tmp_path / "c1/hosts").write_text("x")
    files.write("c1", text([ip_address("10.30.0.1")], ["weft.internal"]))
    assert "10.30.0.1" in (tmp_path / "c1/resolv.conf").read_text()
    files.remove("c1")
    assert [path.name for path in (tmp_path / "c1").iterdir()] == ["hosts"]
