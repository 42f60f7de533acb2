"""The lab on a real kernel: what its hosts see, what its verbs do, and that nothing is ever left of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wefted.errors import InUse, NotFound, Unsupported, UsageError
from wefted.lab import host, record, state
from wefted.lab.document import parse
from wefted.lab.lab import Lab
from wefted.lab.record import WIRE

pytestmark = pytest.mark.lab

WEFTED = (sys.executable, "-P", "-m", "wefted.cli.main", "lab")
PING = ("ping", "-n", "-c1", "-W1")


def unique() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def name() -> Iterator[str]:
    """A name for a lab, which is down at the end whatever the test did."""
    name = unique()
    yield name
    Lab(name).down()


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """Two bare hosts for the tests that leave them as they were."""
    with Lab.up(unique(), 2, bare=True) as lab:
        yield lab


def wefted(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WEFTED, *words], capture_output=True, text=True, timeout=60, **options)


def reaches(lab: Lab, source: str, address: str) -> bool:
    """Whether one ping is answered. After a cut, neighbours may take a second to be asked for again: see `until`."""
    return lab.host(source).run([*PING, address], check=False).returncode == 0


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def traces(name: str) -> list[str]:
    """Return what this machine has of a lab: processes, mounts, files."""
    found = [f"process {p.pid}" for p in host.find(name)]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    return found + [str(path) for path in (state.RUN / name, state.DISKS / name) if path.exists()]


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
        h1.run(["sh", "-c", "for d in /etc/wefted /var/lib/wefted /run /var/log; do echo x >$d/mine; done"])
        for directory in ("/etc/wefted", "/var/lib/wefted", "/run", "/var/log"):
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


class TestTopology:
    """Segments, routers, containers."""

    TEXT = """
    segments:
      west: {cidr: 10.1.0.0/24}
      middle: {cidr: 10.2.0.0/24}
      east: {cidr: [10.3.0.0/24, "fd03::/64"], mtu: 9000}
    routers: {r1: [west, middle], r2: [middle, east]}
    hosts: {w: {segment: west}, e: {segment: east, address: 10.3.0.77}, f: {segment: east}}
    containers: {c1: {host: w}, c2: {host: e}}
    """

    def test_routers_join_segments(self, name):
        with Lab.up(name, parse(self.TEXT, store=False), bare=True) as lab:
            assert reaches(lab, "w", "10.3.0.77")
            assert "10.1.0.1" in lab.host("e").run([*PING, "-R", "10.1.0.1"]).stdout
            assert lab.host("e").run([*PING, "-M", "do", "-s", "8972", "10.3.0.1"]).returncode == 0
            assert reaches(lab, "e", "fd03::1")
            assert lab.host("w").run(["ip", "netns"]).stdout.split() == ["c1"]

    def test_a_cut_across_routers(self, name):
        with Lab.up(name, parse(self.TEXT, store=False), bare=True) as lab:
            lab.cut("w", "e")
            assert not reaches(lab, "w", "10.3.0.77")
            assert reaches(lab, "w", "10.3.0.1")

    def test_containers_of_the_file_come_back_with_their_host(self, name):
        with Lab.up(name, parse(self.TEXT, store=False), bare=True) as lab:
            lab.poweroff("e")
            lab.boot("e")
            assert lab.host("e").run(["ip", "netns"]).stdout.split() == ["c2"]
            assert reaches(lab, "w", "10.3.0.77")

    def test_the_graph_shows_them(self, name, tmp_path):
        path = tmp_path / "lab.yaml"
        path.write_text(self.TEXT)
        assert wefted("up", "--bare", "-f", str(path), "--name", name).returncode == 0
        text = wefted("graph", "--name", name).stdout
        assert "│   ├── w  10.1.0.1/24" in text
        assert "c1" in text
        assert wefted("graph", "--name", name, "--format", "mermaid").stdout.startswith("flowchart")
        assert wefted("graph", "--name", name, "--format", "svg").stdout.startswith("<svg")

    def test_a_bad_file_changes_nothing(self, name, tmp_path):
        path = tmp_path / "lab.yaml"
        path.write_text("hosts: {h1: {colour: red}, h2: {segment: x}}\n")
        done = wefted("up", "--bare", "-f", str(path), "--name", name)
        assert done.returncode == 2
        assert [line for line in done.stderr.splitlines() if "lab.yaml:1:" in line][1:]
        assert traces(name) == []


class TestStore:
    """The etcd of a lab."""

    @pytest.fixture(autouse=True)
    def _etcd(self):
        if shutil.which("etcd") is None:
            pytest.skip("etcd is not installed")

    def test_hosts_reach_it_and_it_keeps_its_keys_over_a_boot(self, name):
        fetch = (
            "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], sys.argv[2].encode(), timeout=5).read().decode())"
        )
        url = "http://192.168.50.254:2379/v3/kv"
        with Lab.up(name, 2, agent=False) as lab:
            put = ["python3", "-c", fetch, f"{url}/put", '{"key": "YQ==", "value": "Yg=="}']
            get = ["python3", "-c", fetch, f"{url}/range", '{"key": "YQ=="}']
            lab.host("h1").run(put)
            assert '"value":"Yg=="' in lab.host("h2").run(get).stdout
            lab.poweroff("etcd")
            assert lab.host("h2").run(get, check=False).returncode != 0
            lab.boot("etcd")
            assert '"value":"Yg=="' in lab.host("h2").run(get).stdout


@pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed")
class TestAgents:
    """Whole labs: a store, an agent on each host, and what a file asks of them."""

    TEXT = """
    segments: {west: {cidr: 10.1.0.0/24}, east: {cidr: 10.2.0.0/24}}
    routers: {r1: [west, east]}
    hosts: {a: {segment: west}, dev: {segment: east}}
    networks: {blue: {backend: vxlan, subnet: 10.20.0.0/16}}
    containers:
      c1: {host: a, network: blue, publish: 8080:80}
      c2: {host: dev, networks: {blue: {ip: 10.20.9.9}}}
    """

    def test_agents_join_and_come_back(self, name):
        assert wefted("up", "--hosts", "3", "--name", name).returncode == 0
        lab = Lab.open(name)

        def up() -> set[str]:
            return {h["name"] for h in json.loads(lab.host("h1").run(["wefted", "host", "ls", "--json"]).stdout)}

        until(lambda: up() == {"h1", "h2", "h3"})
        lab.poweroff("h3")
        lab.boot("h3")
        assert json.loads(lab.host("h3").run(["wefted", "status", "--json"]).stdout)["agent"]["pid"] > 1

    def test_a_file_is_a_whole_working_lab(self, name, tmp_path):
        path = tmp_path / "lab.yaml"
        path.write_text(self.TEXT)
        done = wefted("up", "-f", str(path), "--name", name)
        assert done.returncode == 0, done.stderr
        lab = Lab.open(name)
        endpoints = json.loads(lab.host("a").run(["wefted", "ps", "--json"]).stdout)
        address = next(e["addresses"][0] for e in endpoints if e["container"] == "netns:c1").partition("/")[0]
        until(lambda: lab.host("dev").run(["ip", "netns", "exec", "c2", *PING, address], check=False).returncode == 0)
        until(lambda: "c2  blue 10.20.9.9" in wefted("graph", "--name", name).stdout)
        assert "10.20.9.9" in wefted("graph", "--name", name, "--format", "svg").stdout
        assert "network blue  bridge, vxlan, 10.20.0.0/16" in wefted("graph", "--name", name).stdout

    def test_an_order_that_fails_leaves_nothing(self, name, tmp_path):
        path = tmp_path / "lab.yaml"
        path.write_text("hosts: 1\nnetworks: {blue: {backend: no-such}}\n")
        done = wefted("up", "-f", str(path), "--name", name)
        assert done.returncode == 1
        assert "no-such" in done.stderr
        assert traces(name) == []


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
            assert child.returncode == -signal.SIGKILL, step
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
