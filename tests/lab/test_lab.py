"""What the hosts of a lab see, and `wefted lab exec`, which passes everything through."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.errors import UsageError
from wefted.lab.lab import Lab

from .labs import WEFTED, reaches, unique, until, wefted

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """Two bare hosts for the tests that leave them as they were."""
    with Lab.up(unique(), 2, bare=True) as lab:
        yield lab


class TestHost:
    """What a host is."""

    def test_it_has_its_own_name_address_and_neighbours(self, shared):
        h1 = shared.host("h1")
        assert h1.run(["hostname"]).stdout == "h1\n"
        addresses = json.loads(h1.run(["ip", "-json", "address", "show", "eth0"]).stdout)[0]
        assert addresses["mtu"] == 1500
        assert ("192.168.50.1", 24) in [(a["local"], a["prefixlen"]) for a in addresses["addr_info"]]
        assert reaches(shared, "h1", "192.168.50.2")
        assert reaches(shared, "h1", "h2")

    def test_it_sees_its_own_processes_and_devices_only(self, shared):
        h1 = shared.host("h1")
        assert h1.run(["cat", "/proc/1/comm"]).stdout.startswith("python")
        assert sorted(h1.run(["ls", "/sys/class/net"]).stdout.split()) == ["eth0", "lo"]
        assert len([p for p in h1.run(["ls", "/proc"]).stdout.split() if p.isdigit()]) <= 3

    def test_a_container_engine_finds_its_control_groups(self, shared):
        seen = shared.host("h1").run(["ls", "/sys/fs/cgroup"]).stdout.split()
        assert seen == sorted(os.listdir("/sys/fs/cgroup"))

    def test_named_namespaces_stay_inside(self, shared):
        name = unique()
        h1 = shared.host("h1")
        h1.run(["ip", "netns", "add", name])
        assert h1.run(["ip", "netns", "exec", name, "ls", "/sys/class/net"]).stdout.split() == ["lo"]
        assert not Path("/run/netns", name).exists()
        assert name not in Path("/proc/self/mountinfo").read_text()
        assert name not in shared.host("h2").run(["ip", "netns"]).stdout
        h1.run(["ip", "netns", "delete", name])

    def test_mounts_stay_inside(self, shared):
        h1 = shared.host("h1")
        h1.run(["mount", "-t", "tmpfs", "inner", "/var/lib/wefted"])
        assert "inner" not in Path("/proc/self/mountinfo").read_text()
        h1.run(["umount", "/var/lib/wefted"])

    def test_its_directories_are_its_own(self, shared):
        h1, h2 = shared.host("h1"), shared.host("h2")
        h1.run(["sh", "-c", "for d in /etc/wefted /var/lib/wefted /run /var/log /dev/shm; do echo x >$d/mine; done"])
        for directory in ("/etc/wefted", "/var/lib/wefted", "/run", "/var/log", "/dev/shm"):
            assert not Path(directory, "mine").exists()
            assert "mine" not in h2.run(["ls", directory]).stdout

    def test_the_machines_settings_are_there(self, shared):
        assert shared.host("h1").run(["cat", "/etc/passwd"]).stdout == Path("/etc/passwd").read_text()
        assert "LISTEN" in shared.host("h1").run(["sh", "-c", "cat /etc/ssl/openssl.cnf >/dev/null; echo LISTEN"]).stdout

    def test_its_init_reaps_what_others_leave(self, shared):
        h1 = shared.host("h1")
        orphan = h1.run(["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"]).stdout.strip()
        h1.run(["kill", "-9", orphan])
        until(lambda: not (h1.root / "proc" / orphan).exists())

    def test_a_failure_is_told_with_what_was_said(self, shared):
        with pytest.raises(Exception, match=r"h1: `sh -c .*` failed with exit code 3: oh dear"):
            shared.host("h1").run(["sh", "-c", "echo oh dear >&2; exit 3"])

    def test_programs_can_be_fed_and_left_running(self, shared):
        assert shared.host("h1").run(["cat"], input="hello").stdout == "hello"
        child = shared.host("h1").popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.poll() is None
        child.terminate()
        assert child.wait(10) == -signal.SIGTERM

    def test_the_working_directory_is_kept(self, shared, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert shared.host("h1").run(["pwd"]).stdout.strip() == str(tmp_path)
        assert shared.host("h1").run(["pwd"], cwd="/usr").stdout.strip() == "/usr"

    def test_an_unknown_program_is_a_clear_error(self, shared):
        with pytest.raises(UsageError, match="no-such-program"):
            shared.host("h1").run(["no-such-program"])


class TestExec:
    """`wefted lab exec` passes everything through."""

    def test_output_errors_and_exit_code(self, shared):
        done = wefted("exec", "--name", shared.name, "h1", "--", "sh", "-c", "hostname; echo no >&2; exit 7")
        assert (done.stdout, done.stderr, done.returncode) == ("h1\n", "no\n", 7)

    def test_input(self, shared):
        assert wefted("exec", "--name", shared.name, "h2", "--", "cat", input="a\nb\n").stdout == "a\nb\n"

    def test_our_command_is_found(self, shared):
        done = wefted("exec", "--name", shared.name, "h1", "--", "sh", "-c", "command -v wefted")
        assert Path(done.stdout.strip()).parent == Path(sys.executable).parent

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
    def test_signals(self, shared, number):
        script = f"trap 'echo got it; exit 5' {number.name.removeprefix('SIG')}; echo ready; while :; do sleep 0.01; done"
        argv = [*WEFTED, "exec", "--name", shared.name, "h1", "--", "sh", "-c", script]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.send_signal(number)
            assert child.communicate(timeout=10)[0] == "got it\n"
            assert child.returncode == 5

    def test_a_program_that_a_signal_ends(self, shared):
        assert wefted("exec", "--name", shared.name, "h1", "--", "sh", "-c", "kill -9 $$").returncode == 137

    def test_a_program_that_is_not_there(self, shared):
        done = wefted("exec", "--name", shared.name, "h1", "--", "no-such-program")
        assert (done.returncode, done.stderr) == (127, "h1: no-such-program: command not found\n")

    @pytest.mark.parametrize(("words", "message"), [(("h9",), "no host 'h9'"), (("--name", "nolab", "h1"), "no lab 'nolab'")])
    def test_usage_errors(self, shared, words, message):
        done = wefted("exec", "--name", shared.name, *words, "--", "true")
        assert done.returncode == 2
        assert message in done.stderr
