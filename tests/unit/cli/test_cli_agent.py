"""up, down and status, with an agent that is a process of its own."""

import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import ClassVar

import pytest

from wefted.cli import process
from wefted.cli.call import agent_pid
from wefted.config import load


@pytest.fixture
def program(monkeypatch, places):
    """`up` starts the fake; what is left of it at the end is killed."""
    monkeypatch.setattr(process, "PROGRAM", (sys.executable, str(Path(__file__).with_name("fake_agent.py"))))
    monkeypatch.setattr(process, "_booted_with_systemd", lambda: False)
    yield
    pid = agent_pid(load())
    if pid not in (None, os.getpid()):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def up(run, *flags):
    result = run("up", *flags, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_up_starts_and_down_stops(program, run, sock):
    started = up(run, "--name", "n1", "--store", "etcd://e")
    assert started["agent"]["pid"] == agent_pid(load())
    assert started["agent"]["session"], "it must outlive the terminal"
    result = run("down")
    assert "containers keep their network" in result.stdout
    assert not sock.exists()
    os.waitpid(started["agent"]["pid"], 0)


def test_up_hands_its_flags_on_and_logs(program, run, places):
    result = run("up", "--name", "n1", WEFTED_STORE="etcd://e")
    assert result.stdout == "the agent is up: n1 (10.0.0.1), store etcd://e\n"
    assert (places / "state_dir" / "agent.log").read_text() == "asked to run name=n1 store=etcd://e\n"


def test_up_twice_is_no_error(program, run):
    first = up(run)
    assert up(run)["agent"]["pid"] == first["agent"]["pid"]
    assert run("up", "--name", "h1", "--advertise", "10.0.0.1", "--publish-from", "all").stdout.startswith(
        "the agent is up already: h1"
    )


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--store", "http://other:2379/wefted/"), ("--name", "n2"), ("--advertise", "10.0.0.9"), ("--publish-from", "none")],
)
def test_up_with_other_settings_is_refused(program, run, flag, value):
    up(run)
    result = run("up", flag, value)
    assert result.exit_code == 2
    assert result.stderr.endswith(f"not {value}\n  stop it first: wefted down\n")


@pytest.mark.parametrize("code", [2, 3])
def test_a_death_at_the_start_is_told_with_its_own_exit_code(program, run, places, code):
    (places / "state_dir").mkdir()
    (places / "state_dir" / "agent.log").write_text("of an earlier life\n")
    result = run("up", "--store", f"die:{code}")
    assert result.exit_code == code
    assert "  wefted: there is no such store\n" in result.stderr
    assert "earlier" not in result.stderr


def test_an_agent_that_never_answers_is_ended(program, run, places, monkeypatch):
    children = []
    spawn = process._spawn
    monkeypatch.setattr(process, "_spawn", lambda *a: children.append(spawn(*a)) or children[-1])
    result = run("up", "--store", "mute:", "--timeout", "0.5")
    assert result.exit_code == 3
    assert "agent.log" in result.stderr
    assert children[0].wait(10) in (0, -signal.SIGTERM)


def test_an_agent_that_will_not_end_is_told(program, run):
    pid = up(run, "--store", "stubborn:")["agent"]["pid"]
    result = run("down", "--timeout", "0.1")
    assert result.exit_code == 1
    assert result.stderr.endswith(f"kill -9 {pid}\n")


def test_down_without_an_agent_is_no_error(run):
    result = run("down", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"agent": {"running": False, "pid": None}, "stopped": None})


def test_the_foreground_serves_with_the_flags(run, places, monkeypatch):
    served = []
    agent = types.SimpleNamespace(serve=lambda config, doors: served.append((config, sorted(doors))))
    monkeypatch.setitem(sys.modules, "wefted.agent.main", agent)
    assert run("up", "--foreground", "--store", "etcd://e", "--name", "n").exit_code == 0
    told = [(c.store, c.name, c.state_dir, doors) for c, doors in served]
    assert told == [("etcd://e", "n", f"{places}/state_dir", ["pipework"])]


def test_status_is_one_screen(agent, run, status):
    agent.answers["status"] = status
    assert run("status").output.splitlines() == [
        "wefted 0.1.0 on h1 (192.168.50.1/24 on eth0, MTU 1500)",
        "agent      process 7, up 2h1m",
        "store      etcd://e:2379",
        "networks   2",
        "endpoints  3",
        "reconcile  no pass yet",
        "kernel     without ipvlan",
        "           ipvlan: not in this kernel",
    ]


def test_status_tells_troubles(agent, run, status, monkeypatch):
    monkeypatch.setattr("wefted.cli.agent.time.time", lambda: 1100.0)
    status["agent"] = {"running": False, "pid": None, "uptime": 0}
    status["store"] |= {"reachable": False, "error": "timed out"}
    status["reconcile"] = {"at": 1000.0, "changes": 4, "failures": ["+ link: refused"]}
    status["kernel"] = {"missing": {}}
    status["node"]["underlay"] = []
    agent.answers["status"] = status | {"failed": [{"endpoint": "ab12", "error": "gone"}]}
    assert run("status").output.splitlines() == [
        "wefted 0.1.0 on h1",
        "agent      not running",
        "store      etcd://e:2379, unreachable: timed out",
        "networks   2",
        "endpoints  3",
        "           ab12: gone",
        "reconcile  1m40s ago, 4 changes",
        "           + link: refused",
        "kernel     has everything",
    ]


def test_status_as_json_is_what_the_agent_said(agent, run, status):
    agent.answers["status"] = status
    assert json.loads(run("status", "--json").output) == status


class TestUninstall:
    CHANGES: ClassVar = {"changes": [{"action": "delete", "kind": "Bridge", "ns": "", "text": "- link br-1"}]}

    @pytest.fixture(autouse=True)
    def no_names(self, monkeypatch):
        """This machine's own /etc/netns may hold files of a test that runs beside this one."""
        monkeypatch.setattr("wefted.runtime.resolvconf.ResolvConfs.ours", lambda self: [])

    @pytest.fixture
    def engine(self, monkeypatch):
        asked = []

        def run_once(config, operation, parameters):
            asked.append((operation, parameters, agent_pid(config)))
            return self.CHANGES

        monkeypatch.setitem(sys.modules, "wefted.wiring", types.SimpleNamespace(run_once=run_once))
        return asked

    def test_a_plan_removes_nothing(self, engine, run, places):
        (places / "state_dir").mkdir()
        result = run("uninstall", "--plan")
        assert result.output.splitlines() == ["- link br-1", f"- {places}/state_dir", f"- {places}/runtime_dir"]
        assert engine == [("uninstall", {"dry_run": True}, None)]
        assert (places / "state_dir").exists()

    def test_the_agent_ends_first(self, program, engine, run):
        pid = up(run)["agent"]["pid"]
        assert run("uninstall", "--yes").exit_code == 0
        assert engine == [("uninstall", {}, None)]
        os.waitpid(pid, 0)

    def test_the_state_is_removed(self, engine, run, places):
        state = places / "wefted"
        (state / "etcd").mkdir(parents=True)
        result = run("uninstall", "--json", WEFTED_STATE_DIR=str(state))
        assert json.loads(result.stdout) == self.CHANGES | {"paths": [str(state), f"{places}/runtime_dir"]}
        assert not state.exists()
        assert not (places / "runtime_dir").exists()

    def test_one_directory_may_be_both(self, engine, run, places):
        both = str(places / "wefted")
        (places / "wefted").mkdir()
        result = run("uninstall", "--json", WEFTED_STATE_DIR=both, WEFTED_RUNTIME_DIR=both)
        assert json.loads(result.stdout)["paths"] == [both]

    def test_files_of_others_stay(self, engine, run, places):
        state = places / "state_dir"
        state.mkdir()
        (state / "state.db").touch()
        (state / "thesis.tex").touch()
        result = run("uninstall", "--json")
        assert json.loads(result.stdout)["paths"] == [f"{places}/runtime_dir"]
        assert result.stderr == f"wefted: {state} is kept: it holds files that are not ours\n"
        assert [path.name for path in state.iterdir()] == ["thesis.tex"]

    def test_a_failure_keeps_the_state(self, engine, run, places, monkeypatch):
        monkeypatch.setattr(self.__class__, "CHANGES", {"changes": [], "failures": ["- link br-1: busy"]})
        (places / "state_dir").mkdir()
        assert run("uninstall").exit_code == 1
        assert (places / "state_dir").exists()

    def test_a_no_at_the_terminal_changes_nothing(self, places):
        (places / "state_dir").mkdir()
        terminal, end = os.openpty()
        os.write(terminal, b"n\n")
        done = subprocess.run([sys.executable, "-m", "wefted.cli.main", "uninstall"], stdin=end, capture_output=True, text=True)
        os.close(terminal)
        os.close(end)
        assert (done.returncode, done.stdout) == (1, "")
        assert "and its state? [y/N]" in done.stderr
        assert (places / "state_dir").exists()
