"""cut, heal, slow, poweroff and boot; each test has a lab of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.errors import Unsupported, UsageError
from wefted.lab import record, state
from wefted.lab.lab import Lab

from .labs import PING, a_name, reaches, until, wefted

pytestmark = pytest.mark.lab


@pytest.fixture
def name() -> Iterator[str]:
    yield from a_name()


class TestVerbs:
    """cut, heal, poweroff, boot, slow; each test has a lab of its own."""

    def test_cut_between_two_leaves_the_third(self, name):
        with Lab.up(name, 3, bare=True) as lab:
            lab.cut("h1", "h2")
            assert not reaches(lab, "h1", "192.168.50.2")
            assert not reaches(lab, "h2", "192.168.50.1")
            assert reaches(lab, "h1", "192.168.50.3")
            assert reaches(lab, "h2", "192.168.50.3")
            lab.heal("h2", "h1")
            until(lambda: reaches(lab, "h1", "192.168.50.2"))

    def test_cut_takes_the_carrier(self, name):
        with Lab.up(name, 2, bare=True) as lab:
            carrier = ["cat", "/sys/class/net/eth0/carrier"]
            assert lab.host("h1").run(carrier).stdout == "1\n"
            lab.cut("h1")
            assert lab.host("h1").run(carrier).stdout == "0\n"
            assert not reaches(lab, "h2", "192.168.50.1")
            lab.heal("h1")
            until(lambda: reaches(lab, "h2", "192.168.50.1"))

    def test_heal_of_one_host_undoes_all_its_cuts(self, name):
        with Lab.up(name, 3, bare=True) as lab:
            lab.cut("h1", "h2")
            lab.cut("h1", "h3")
            lab.cut("h2", "h3")
            lab.cut("h1")
            lab.heal("h1")
            until(lambda: reaches(lab, "h1", "192.168.50.2"))
            until(lambda: reaches(lab, "h1", "192.168.50.3"))
            assert not reaches(lab, "h2", "192.168.50.3")

    def test_cuts_outlast_a_boot(self, name):
        with Lab.up(name, 2, bare=True) as lab:
            lab.cut("h1")
            lab.poweroff("h1")
            lab.boot("h1")
            assert lab.host("h1").run(["cat", "/sys/class/net/eth0/carrier"]).stdout == "0\n"
            lab.heal("h1")
            lab.cut("h1", "h2")
            lab.poweroff("h1")
            lab.boot("h1")
            assert not reaches(lab, "h2", "192.168.50.1")

    def test_cables_of_a_host_that_is_off_can_be_cut_and_healed(self, name):
        with Lab.up(name, 2, bare=True) as lab:
            lab.poweroff("h1")
            lab.cut("h1")
            lab.heal("h1")
            lab.boot("h1")
            until(lambda: reaches(lab, "h2", "192.168.50.1"))

    def test_a_boot_keeps_disk_name_and_addresses_and_nothing_else(self, name):
        with Lab.up(name, 2, bare=True) as lab:
            show = ["cat", "/etc/machine-id", "/sys/class/net/eth0/address", "/etc/wefted/x", "/var/lib/wefted/y"]
            boot_id = ["cat", "/proc/sys/kernel/random/boot_id"]
            h1 = lab.host("h1")
            h1.run(["sh", "-c", "echo x >/etc/wefted/x; echo y >/var/lib/wefted/y; echo z >/run/z; ip netns add c1"])
            before, boot = h1.run(show).stdout, h1.run(boot_id).stdout
            assert boot != Path(boot_id[1]).read_text()
            lab.poweroff("h1")
            assert not reaches(lab, "h2", "192.168.50.1")
            with pytest.raises(UsageError, match="h1 is powered off"):
                lab.host("h1")
            lab.boot("h1")
            h1 = lab.host("h1")
            assert h1.run(show).stdout == before
            assert h1.run(boot_id).stdout != boot
            assert h1.run(["ls", "/run"]).stdout.split() == ["boot_id", "lock", "machine", "netns"]
            assert h1.run(["ip", "netns"]).stdout == ""
            until(lambda: reaches(lab, "h2", "192.168.50.1"))

    def test_poweroff_ends_what_runs_in_it_also_what_nobody_waits_for(self, name):
        with Lab.up(name, 1, bare=True) as lab:
            child = lab.host("h1").popen(["cat"], stdin=subprocess.PIPE)
            daemon = lab.host("h1").run(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"]).stdout.strip()
            assert (lab.host("h1").root / "proc" / daemon).exists()
            lab.poweroff("h1")
            assert child.wait(10) == -signal.SIGKILL
            assert not (state.RUN / name / "h1").exists()

    def test_poweroff_and_boot_twice_are_fine(self, name):
        with Lab.up(name, 2, bare=True) as lab:
            lab.poweroff("h1")
            lab.poweroff("h1")
            lab.boot("h1")
            process = lab.host("h1").process
            lab.boot("h1")
            assert lab.host("h1").process == process

    def test_a_host_whose_init_was_killed_is_dead_and_boots(self, name):
        with Lab.up(name, 2, bare=True) as lab:
            os.kill(lab.host("h1").process.pid, signal.SIGKILL)
            until(lambda: not record.load(name).running("h1"))
            with pytest.raises(UsageError, match="h1 has died"):
                lab.host("h1")
            states = {m["name"]: m["state"] for m in json.loads(wefted("ls", "--name", name, "--json").stdout)}
            assert states == {"h1": "dead", "h2": "up"}
            lab.boot("h1")
            until(lambda: reaches(lab, "h2", "192.168.50.1"))

    def test_slow(self, name):
        with Lab.up(name, 2, bare=True) as lab:
            try:
                lab.slow("h1", delay="30ms")
            except Unsupported:
                pytest.skip("kernel has no netem")
            rtt = lab.host("h2").run([*PING, "192.168.50.1"]).stdout
            assert float(rtt.partition("time=")[2].split()[0]) >= 60
            lab.slow("h1")
            rtt = lab.host("h2").run([*PING, "192.168.50.1"]).stdout
            assert float(rtt.partition("time=")[2].split()[0]) < 60

    def test_unknown_hosts_and_odd_pairs_change_nothing(self, name):
        with Lab.up(name, 1, bare=True) as lab:
            before = (state.RUN / name / "state.json").read_text()
            for attempt in (
                lambda: lab.cut("h9"),
                lambda: lab.cut("h1", "h1"),
                lambda: lab.boot("h9"),
                lambda: lab.poweroff("x"),
            ):
                with pytest.raises(UsageError):
                    attempt()
            assert (state.RUN / name / "state.json").read_text() == before
