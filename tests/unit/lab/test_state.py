"""The record, the lock, and processes by identity."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from wefted.errors import NotFound, UsageError, WeftedError
from wefted.lab import record, state
from wefted.lab.process import Process, kill
from wefted.lab.topology import simple


@pytest.fixture(autouse=True)
def _places(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "RUN", tmp_path / "run")
    monkeypatch.setattr(state, "DISKS", tmp_path / "disks")


@pytest.fixture
def sleeper():
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield child
    child.kill()
    child.wait()


def saved(name: str = "one") -> record.Record:
    made = record.Record(
        name=name, topology=simple(2), agents=True, processes={"h1": Process(7, 8)}, cuts={("h1", "h2"), ("h2",)}
    )
    made.directory.mkdir(parents=True)
    made.save()
    return made


def test_a_record_is_read_as_it_was_written():
    made = saved()
    assert record.load("one") == made
    assert state.processes("one") == {"h1": Process(7, 8)}
    assert state.names() == ["one"]


def test_an_unknown_lab_is_not_found_and_the_known_are_named():
    saved("one")
    with pytest.raises(NotFound, match="no lab 'two'") as caught:
        record.load("two")
    assert "one" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"processes": 7}', '{"processes": {"h1": 7}, "topology": {}}', "\0"])
def test_a_damaged_record_says_so_and_how_to_go_on(text):
    made = saved()
    (made.directory / "state.json").write_text(text)
    with pytest.raises(UsageError, match="is damaged") as caught:
        record.load("one")
    assert "wefted lab down --name one" in caught.value.hint


def test_a_record_of_another_shape_is_damaged():
    made = saved()
    path = made.directory / "state.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"topology": {"switches": [{"name": "x", "prefixes": ["no"], "mtu": 1}]}}))
    with pytest.raises(UsageError, match="is damaged"):
        record.load("one")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "-x", "x" * 33, "ä", "x\n"])
def test_names_that_no_lab_can_have(name):
    with pytest.raises(UsageError, match="cannot be the name of a lab"):
        state.check_name(name)


def test_the_lock_keeps_a_second_command_out():
    with (
        state.locked("one", create=True),
        pytest.raises(WeftedError, match="another `wefted lab` command"),
        state.locked("one", patience=0.05),
    ):
        pytest.fail("two commands at once")


def test_the_lock_is_free_again_afterwards_and_waits_for_its_turn():
    entered = threading.Event()

    def second() -> None:
        with state.locked("one"):
            entered.set()

    with state.locked("one", create=True):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.is_set()
    thread.join(10)
    assert entered.is_set()


def test_a_lab_that_is_removed_while_one_waits_for_it_is_not_found():
    found: list[BaseException] = []

    def second() -> None:
        try:
            with state.locked("one"):
                pass
        except NotFound as error:
            found.append(error)

    with state.locked("one", create=True):
        thread = threading.Thread(target=second)
        thread.start()
        state.erase("one")
        state.forget("one")
    thread.join(10)
    assert len(found) == 1


def test_nothing_is_left_of_a_forgotten_lab():
    made = saved()
    made.disk("h1").mkdir(parents=True)
    with state.locked("one", create=True):
        assert state.exists("one")
        state.erase("one")
        state.forget("one")
    assert not state.RUN.exists()
    assert not state.DISKS.exists()


def test_disks_are_found_where_they_were_made(tmp_path, monkeypatch):
    made = saved()
    state.make_disks("one")
    monkeypatch.setattr(state, "DISKS", tmp_path / "elsewhere")
    assert made.disk("h1") == tmp_path / "disks" / "one" / "h1"
    with state.locked("one", create=True):
        state.erase("one")
        state.forget("one")
    assert sorted(path.name for path in tmp_path.iterdir()) == []


def test_a_place_for_disks_that_is_no_directory_is_refused_and_harms_nothing(tmp_path, monkeypatch):
    made = saved()
    (tmp_path / "file").touch()
    monkeypatch.setattr(state, "DISKS", tmp_path / "file" / "wefted-lab")
    with pytest.raises(UsageError, match="file is no directory") as caught:
        state.require_place()
    assert "WEFTED_LAB_DISKS" in caught.value.hint
    with pytest.raises(UsageError, match="Not a directory"):
        state.make_disks("one")
    state.erase("one")
    assert list(made.directory.iterdir()) == []


def test_a_process_is_told_from_another_under_its_number(sleeper):
    process = Process.of(sleeper.pid)
    assert process.alive
    recycled = Process(process.pid, process.start + 1)
    assert not recycled.alive
    kill([recycled])
    assert process.alive
    assert sleeper.poll() is None


def test_kill_waits_for_the_end(sleeper):
    process = Process.of(sleeper.pid)
    kill([process])
    assert not process.alive
    assert sleeper.wait() == -9


def test_killing_the_dead_is_fine(sleeper):
    process = Process.of(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    kill([process])
    with pytest.raises(ProcessLookupError):
        Process.of(sleeper.pid)


def test_root_is_asked_for(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="run it as root"):
        state.require_root()
