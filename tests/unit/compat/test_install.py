"""Launchers under the classics' own names, and the command as a whole process: what it imports, what it says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wefted import config
from wefted.cli import classic
from wefted.compat import CLASSICS, install
from wefted.errors import InUse, NotFound, Unreachable, UsageError

ALLOWED = {"wefted", "wefted.cli", "wefted.cli.classic", "wefted.compat", "wefted.errors"}


def test_install_and_uninstall(tmp_path: Path) -> None:
    paths = install.install(str(tmp_path))
    assert paths == [str(tmp_path / name) for name in sorted(CLASSICS)]
    assert all(os.access(path, os.X_OK) for path in paths)
    assert install.install(str(tmp_path)) == paths, "again is fine"
    assert install.uninstall(str(tmp_path)) == paths
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("foreign", ["file", "link", "folder"])
def test_a_foreign_file_is_never_touched(tmp_path: Path, foreign: str) -> None:
    path = tmp_path / "pipework"
    if foreign == "file":
        path.write_text("#!/bin/sh\necho original\n")
    elif foreign == "link":
        path.symlink_to("/bin/true")
    else:
        path.mkdir()
    with pytest.raises(InUse):
        install.install(str(tmp_path))
    with pytest.raises(NotFound):
        install.uninstall(str(tmp_path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipework"]


def test_no_directory(tmp_path: Path) -> None:
    for function in (install.install, install.uninstall):
        with pytest.raises(UsageError, match="is no directory"):
            function(str(tmp_path / "none"))


def test_the_command_shows_what_it_did(tmp_path: Path) -> None:
    wefted = [sys.executable, "-m", "wefted.cli.main", "compat"]
    done = subprocess.run([*wefted, "install", str(tmp_path)], capture_output=True, text=True)
    names = [f"{tmp_path}/{name}" for name in sorted(CLASSICS)]
    assert (done.returncode, done.stdout.splitlines()) == (0, names)
    done = subprocess.run([*wefted, "uninstall", str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (0, names)
    done = subprocess.run([*wefted, "uninstall", str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.fixture
def launcher(tmp_path: Path) -> str:
    return next(path for path in install.install(str(tmp_path)) if path.endswith("/pipework"))


def test_the_launcher_is_the_program(launcher: str) -> None:
    done = subprocess.run([launcher], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.startswith("Syntax:\npipework <hostinterface> ")
    done = subprocess.run([launcher, "none0", "c1", "10.0.0.1/8"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "I do not know how to setup interface none0.\n")


def test_the_program_knows_its_name(tmp_path: Path) -> None:
    link = tmp_path / "pipework"
    link.symlink_to(Path(sys.executable).with_name("wefted"))
    done = subprocess.run([link, "none0", "c1", "10.0.0.1/8"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "I do not know how to setup interface none0.\n")


def test_the_settings_are_those_of_config() -> None:
    assert config.FILE == classic.SETTINGS
    assert config.Config().runtime_dir == classic.RUNTIME_DIR


def test_an_attach_through_the_agent_imports_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "from wefted.cli import classic\n"
        "from wefted.compat import pipework\n"
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert not modules & {
        "asyncio",
        "aiohttp",
        "click",
        "dataclasses",
        "inspect",
        "pathlib",
        "pyroute2",
        "subprocess",
        "typing",
    }
    ours = {name for name in modules if name.startswith("wefted")}
    assert {name for name in ours if not name.startswith("wefted.compat.")} <= ALLOWED


def test_waiting_imports_nothing_of_the_engine() -> None:
    code = (
        "import sys; from wefted.cli.classic import run\n"
        "assert run('pipework', ['--wait', '-i', 'none0', '--timeout', '0.01']) == 1\n"
        "print(*(name for name in sys.modules if name.startswith('wefted')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if not name.startswith("wefted.compat.")}
    assert ours <= {"wefted", "wefted.cli", "wefted.cli.classic", "wefted.compat", "wefted.errors"}


@pytest.fixture
def a_fake_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setenv("WEFTED_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("WEFTED_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setattr(classic, "_by_the_usual_door", lambda *words: asked.append(words))
    return asked


def test_without_an_agent_the_usual_door_is_taken(tmp_path: Path, a_fake_agent: list) -> None:
    classic.ask("status", {})
    (tmp_path / "wefted.sock").touch()
    classic.ask("status", {})
    assert a_fake_agent == [("status", {}), ("status", {})]


def test_an_agent_that_hangs_up_is_told(tmp_path: Path, a_fake_agent: list) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "wefted.sock"))
        listener.listen()
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()
        with pytest.raises(Unreachable):
            classic.ask("status", {})
        thread.join()
    assert a_fake_agent == []


def test_a_settings_file_is_read_by_the_usual_door(tmp_path: Path, a_fake_agent: list) -> None:
    (tmp_path / "none.toml").touch()
    classic.ask("status", {})
    assert a_fake_agent == [("status", {})]
