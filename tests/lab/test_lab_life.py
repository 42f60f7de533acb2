"""Bringing labs up and down, alone, several at once, and with a tool that is killed: nothing is ever left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from wefted.errors import InUse, NotFound
from wefted.lab import record, state
from wefted.lab.lab import Lab
from wefted.lab.record import WIRE

from .labs import a_name, reaches, traces, unique, until, wefted

pytestmark = pytest.mark.lab


@pytest.fixture
def name() -> Iterator[str]:
    yield from a_name()


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """Two bare hosts for the tests that leave them as they were."""
    with Lab.up(unique(), 2, bare=True) as lab:
        yield lab


class TestLife:
    """Bringing labs up and down, alone, several at once, and with a tool that is killed."""

    def test_up_ls_and_down_by_command(self, name):
        made = wefted("up", "--bare", "--hosts", "2", "--name", name, "--json")
        assert made.returncode == 0, made.stderr
        answer = json.loads(made.stdout)
        assert [h["name"] for h in answer["hosts"]] == ["h1", "h2"]
        assert answer["store"] == ""
        rows = json.loads(wefted("ls", "--json").stdout)
        assert [(r["name"], r["state"], r["addresses"]) for r in rows if r["lab"] == name] == [
            ("h1", "up", ["192.168.50.1/24"]),
            ("h2", "up", ["192.168.50.2/24"]),
        ]
        for words in (("cut", "h1"), ("heal", "h1"), ("poweroff", "h1"), ("boot", "h1")):
            done = wefted(*words, "--name", name, "--json")
            assert (done.returncode, json.loads(done.stdout)) == (0, {"lab": name, "hosts": ["h1"]}), done.stderr
        assert json.loads(wefted("down", "--name", name, "--json").stdout) == {"lab": name, "removed": True}
        assert json.loads(wefted("down", "--name", name, "--json").stdout) == {"lab": name, "removed": False}
        assert traces(name) == []

    def test_a_second_up_is_refused_and_harms_nothing(self, name):
        with Lab.up(name, 1, bare=True) as lab:
            with pytest.raises(InUse):
                Lab.up(name, 1, bare=True)
            assert lab.host("h1").run(["true"]).returncode == 0

    def test_two_labs_with_the_same_addresses(self, name):
        other = unique()
        with Lab.up(name, 2, bare=True) as one, Lab.up(other, 2, bare=True) as two:
            one.host("h2").run(["ip", "link", "set", "eth0", "down"])
            assert not reaches(one, "h1", "192.168.50.2")
            assert reaches(two, "h1", "192.168.50.2")
            one.down()
            assert reaches(two, "h1", "192.168.50.2")
        assert traces(name) == traces(other) == []

    def test_a_lab_that_is_not_there(self):
        with pytest.raises(NotFound):
            Lab.open(unique())
        assert Lab(unique()).down() is False

    def test_three_bare_hosts_come_up_quickly(self, name):
        start = time.monotonic()
        with Lab.up(name, 3, bare=True):
            assert time.monotonic() - start < 3

    def test_a_failed_up_leaves_nothing(self, name, monkeypatch):
        monkeypatch.setattr("wefted.lab.agents.make_containers", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Lab.up(name, 1, bare=True)
        assert traces(name) == []

    def test_a_damaged_record_does_not_keep_a_lab_from_going_down(self, name):
        Lab.up(name, 1, bare=True)
        (state.RUN / name / "state.json").write_text("{")
        done = wefted("exec", "--name", name, "h1", "--", "true")
        assert done.returncode == 2
        assert "is damaged" in done.stderr
        assert wefted("down", "--name", name).returncode == 0
        assert traces(name) == []

    def test_a_lost_record_does_not_keep_a_lab_from_going_down(self, name):
        Lab.up(name, 1, bare=True)
        shutil.rmtree(state.RUN / name)
        assert Lab(name).down() is True
        assert traces(name) == []

    def test_killed_inits_do_not_keep_a_lab_from_going_down(self, name):
        Lab.up(name, 2, bare=True)
        for process in state.processes(name).values():
            os.kill(process.pid, signal.SIGKILL)
        Lab(name).down()
        assert traces(name) == []

    def test_a_lab_without_its_switches_says_so(self, name):
        Lab.up(name, 1, bare=True)
        os.kill(state.processes(name)[WIRE].pid, signal.SIGKILL)
        until(lambda: not record.load(name).running(WIRE))
        done = wefted("cut", "h1", "--name", name)
        assert done.returncode == 1
        assert "switches have died" in done.stderr

    KILLED = """
import os, signal, sys
from wefted.lab.lab import Lab
left = int(sys.argv[2])
def hook(event, arguments):
    global left
    if event in ("subprocess.Popen", "os.rename", "os.mkdir", "os.posix_spawn"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
Lab.up(sys.argv[1], 2, bare=True)
print(left)
"""

    def test_killed_at_any_step_of_up(self, name):
        """Each directory made, record written or program started is a step; after a kill before each, `down` leaves nothing."""
        total = 10**6 - int(subprocess.run([sys.executable, "-c", self.KILLED, name, str(10**6)], capture_output=True).stdout)
        Lab(name).down()
        assert total > 10
        for step in range(1, total + 1):
            child = subprocess.run([sys.executable, "-c", self.KILLED, name, str(step)], capture_output=True, timeout=60)
            # The last steps wait for what was started, so their number may differ by a few from one run to the next.
            assert child.returncode == -signal.SIGKILL or step > total - 4, step
            Lab(name).down()
            assert traces(name) == [], step

    def test_up_after_a_killed_up_starts_afresh(self, name):
        child = subprocess.run([sys.executable, "-c", self.KILLED, name, "12"], capture_output=True, timeout=60)
        assert child.returncode == -signal.SIGKILL
        with Lab.up(name, 2, bare=True) as lab:
            assert reaches(lab, "h1", "192.168.50.2")

    def test_a_half_made_lab_is_named(self, name):
        Lab.up(name, 1, bare=True)
        made = record.load(name)
        made.complete = False
        made.save()
        done = wefted("cut", "h1", "--name", name)
        assert done.returncode == 1
        assert "half made" in done.stderr

    MACHINE = """
import json, sys
from wefted.lab.lab import Lab
from wefted.testing.snapshot import difference, snapshot
before = snapshot()
with Lab.up(sys.argv[1], 2, bare=True) as lab:
    lab.host("h1").run(["ip", "netns", "add", "c1"])
    lab.host("h1").popen(["cat"], stdin=-1)
    lab.cut("h1", "h2"); lab.heal("h1"); lab.poweroff("h1"); lab.boot("h1")
    during = snapshot()
after = snapshot()
print(json.dumps([difference(before, during), difference(before, after), before == after]))
"""

    @pytest.mark.parametrize("propagation", ["private", "shared"])
    def test_the_machine_is_as_it_was(self, shared, propagation):
        """The machine is itself a host of a lab here, so that nobody else changes it; even the names are the same.

        Systemd makes all mounts shared: then whatever is mounted in a namespace shows up in all others, unless they see to it.
        """
        until(lambda: "tentative" not in shared.host("h2").run(["ip", "address"]).stdout)
        shared.host("h2").run(["mount", f"--make-r{propagation}", "/"])
        done = shared.host("h2").run([sys.executable, "-c", self.MACHINE, shared.name])
        during, after, equal = json.loads(done.stdout)
        assert {line.split(":")[0].strip("+ ") for line in during} <= {"processes", "files"}
        assert any("init.py" in line for line in during)
        assert after == []
        assert equal


def test_without_root_it_says_so():
    script = "import os; from wefted.lab import agents, lab; os.setuid(65534); lab.Lab.up('x', 1)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "UsageError: the lab makes network namespaces: run it as root" in done.stderr
