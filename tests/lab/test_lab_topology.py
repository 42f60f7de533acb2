"""Segments, routers, the store, agents, and whole labs from a file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from wefted.lab.document import parse
from wefted.lab.lab import Lab

from .labs import PING, a_name, reaches, traces, until, wefted

pytestmark = pytest.mark.lab


@pytest.fixture
def name() -> Iterator[str]:
    yield from a_name()


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
