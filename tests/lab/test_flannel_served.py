"""Hosts without etcd join flannel's networks through a server: `flanneld -listen`, `-remote` (flannel 0.5 to 0.10)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from wefted.lab.agents import answers
from wefted.lab.host import Host
from wefted.lab.lab import Lab
from wefted.testing.certificates import make_certificates

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted
from .flannel_lab import NOTHING, Etcd, complete, env, key_of, known

pytestmark = pytest.mark.lab

PREFIX = "/nets"
BIN = "/run/classics"
PORT = 8888
OLD_CLIENT = str(Path(__file__).with_name("flannel_old_client.py"))
OLD_MAC = "02:42:00:00:00:07"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Four hosts; the etcd on the first listens on that host's loopback alone, so that nobody else can be in it."""
    with Lab.up(lab_name("served"), 4, bare=True) as made:
        for host in made.hosts:
            host.run(["mkdir", "-p", BIN])
            host.run(["wefted", "compat", "install", BIN])
        yield made


class LocalEtcd(Etcd):
    """An etcd that only its own host reaches."""

    @property
    def url(self) -> str:
        return "http://127.0.0.1:2379"


@pytest.fixture(scope="module")
def etcd(lab: Lab) -> Etcd:
    running = LocalEtcd(lab.host("h1"), ("--enable-v2",))
    running.start()
    running.configure(PREFIX)
    running.configure(f"{PREFIX}/blue", "10.40.0.0/16", Backend={"Type": "udp", "Port": 8290})
    return running


def serve(lab: Lab, *words: str) -> Popen[Any]:
    """Start a server on the first host and wait until it answers."""
    h1 = lab.host("h1")
    flags = ["-etcd-endpoints=http://127.0.0.1:2379", f"-etcd-prefix={PREFIX}", *words]
    listening = [] if any(word.startswith("-listen") for word in words) else [f"-listen={h1.address}:{PORT}"]
    child = h1.popen([f"{BIN}/flanneld", *flags, *listening])
    answers = ["curl", "-sf", f"http://{h1.address}:{PORT}/v1/_/config"]
    wait_for(lambda: h1.run(answers, check=False).returncode == 0, 20, "the server answers")
    return child


@pytest.fixture
def server(lab: Lab, etcd: Etcd) -> Iterator[list[Popen[Any]]]:
    """A server; tests may replace it."""
    running = [serve(lab)]
    yield running
    for child in running:
        child.terminate()
        assert child.wait(20) in (0, -signal.SIGKILL)


def client(lab: Lab, name: str, *words: str) -> Popen[Any]:
    """Start the daemon on a host that reaches no etcd."""
    return lab.host(name).popen([f"{BIN}/flanneld", f"-remote={lab.host('h1').address}:{PORT}", "-iface=eth0", *words])


def stop(*children: Popen[Any]) -> None:
    for child in children:
        child.terminate()
    for child in children:
        assert child.wait(30) == 0


def state(host: Host, name: str = "flannel") -> dict[str, Any]:
    """Return what the host says of a network."""
    return next(row for row in wefted(host, "flannel", "ls") if row["name"] == name)


def leave(host: Host, name: str = "flannel") -> None:
    """Leave a network without an agent, with its containers."""
    for row in wefted(host, "ps"):
        wefted(host, "network", "disconnect", row["network"], row["container"])
    wefted(host, "flannel", "leave", name)
    host.run(["rm", "-rf", "/run/flannel"])


@pytest.mark.parametrize(
    ("network", "file", "base"), [("flannel", "subnet.env", "10.5"), ("blue", "networks/blue.env", "10.40")]
)
def test_two_hosts_without_etcd_are_in_the_network(
    lab: Lab, etcd: Etcd, server: list[Popen[Any]], network: str, file: str, base: str
) -> None:
    """`vxlan` without a name, `udp` by a name: subnets, their files, records as a flannel of that time writes them, traffic."""
    words = [] if network == "flannel" else [f"-networks={network}"]
    hosts = [lab.host("h2"), lab.host("h3")]
    daemons = [client(lab, host.name, *words) for host in hosts]
    prefix = PREFIX if network == "flannel" else f"{PREFIX}/{network}"
    for host in hosts:
        wait_for(lambda: bool(env(host, f"/run/flannel/{file}")), 20, "the file")  # noqa: B023
        found = env(host, f"/run/flannel/{file}")
        assert found["FLANNEL_NETWORK"] == f"{base}.0.0/16"
        value = json.loads(etcd.keys(prefix)[key_of(found)])
        assert value["PublicIP"] == str(host.address)
        assert state(host, network)["api"] == "server"
    rows = {host.name: wefted(host, "network", "connect", network, container(host, f"c-{network}"))[0] for host in hosts}
    for a, b in (("h2", "h3"), ("h3", "h2")):
        wait_for(lambda: ping(lab.host(a), f"c-{network}", address_of(rows[b])), 10, f"{a} reaches {b}")  # noqa: B023
    stop(*daemons)
    assert ping(hosts[0], f"c-{network}", address_of(rows["h3"])), "the traffic goes on without the daemons"
    for host in hosts:
        leave(host, network)
    wait_for(lambda: not etcd.keys(prefix), 5, "the leases were given back")


class Old:
    """A flanneld of that time on a host, made from the wire format alone; what it has said so far."""

    def __init__(self, host: Host, server: Host, *files: str) -> None:
        words = [sys.executable, OLD_CLIENT, str(server.address), str(PORT), str(host.address), *files]
        self.child = host.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said: list[tuple[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.child.stdout:
            self.said += json.loads(line).items()

    def of(self, word: str) -> list[Any]:
        return [found for said, found in self.said if said == word]

    def events(self, word: str, kind: str) -> list[dict[str, Any]]:
        return [e["lease"] for found in self.of(word) for e in found["events"] or () if e["type"] == kind]

    def renew(self) -> None:
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def end(self) -> None:
        self.child.kill()
        self.child.wait()
        self._reader.join()


def curl(host: Host, method: str, path: str, body: object = None) -> Any:
    """Ask the server from its own host; return the status and the text."""
    words = ["curl", "-s", "-X", method, "-w", "\n%{http_code}", f"http://{host.address}:{PORT}/v1/{path}"]
    text, _, status = host.run([*words, *(["-d", json.dumps(body)] if body is not None else [])]).stdout.rpartition("\n")
    return int(status), text


def test_a_flanneld_of_that_time_and_ours_share_the_network(lab: Lab, etcd: Etcd, server: list[Popen[Any]]) -> None:
    """It acquires, renews and watches; we see its MAC, its revocation, and that it has its subnet again."""
    h1, h2, h4 = lab.host("h1"), lab.host("h2"), lab.host("h4")
    daemon = client(lab, "h2")
    wait_for(lambda: bool(env(h2)), 20, "subnet.env")
    ours = key_of(env(h2))
    old = Old(h4, h1)
    wait_for(lambda: bool(old.of("leases") and old.of("own")), 10, "it has looked around")
    (lease,) = old.of("acquired")
    left = datetime.fromisoformat(lease["Expiration"]).timestamp() - time.time()
    assert 86000 < left <= 86400
    assert lease["Attrs"] == {"PublicIP": str(h4.address), "BackendType": "vxlan", "BackendData": {"VtepMAC": OLD_MAC}}
    (config,) = old.of("config")
    assert config == {
        "Network": "10.5.0.0/16", "SubnetMin": "10.5.1.0", "SubnetMax": "10.5.255.0", "SubnetLen": 24,
        "Backend": {"Type": "vxlan"},
    }  # fmt: skip
    subnet, key = lease["Subnet"], lease["Subnet"].replace("/", "-")
    assert {each["Subnet"] for each in old.of("leases")[0]["snapshot"]} >= {subnet, ours.replace("-", "/")}
    wait_for(lambda: known(h2, subnet, str(h4.address)) == complete(OLD_MAC), 5, "our kernel knows it")
    old.renew()
    wait_for(lambda: bool(old.of("renewed") and old.events("own", "added")), 5, "it has renewed")
    assert old.of("renewed")[0]["Expiration"] >= lease["Expiration"]
    assert curl(h1, "DELETE", f"_/leases/{key}") == (200, "")
    wait_for(lambda: bool(old.events("own", "removed") and old.events("leases", "removed")), 5, "it hears of that")
    assert old.events("own", "removed")[0]["Subnet"] == subnet
    wait_for(lambda: known(h2, subnet, str(h4.address)) == NOTHING, 5, "nothing stale is left")
    old.renew()
    wait_for(lambda: key in etcd.keys(PREFIX), 5, "it has its subnet again")
    wait_for(lambda: known(h2, subnet, str(h4.address)) == complete(OLD_MAC), 5, "our kernel knows it again")
    old.end()
    assert curl(h1, "DELETE", f"_/leases/{ours}") == (200, "")
    wait_for(lambda: ours in etcd.keys(PREFIX), 10, "a revoked lease of ours is taken again, the same subnet")
    stop(daemon)
    leave(h2)
    assert curl(h1, "DELETE", f"_/leases/{key}") == (200, "")


def test_the_server_dies_and_comes_back(lab: Lab, etcd: Etcd, server: list[Popen[Any]]) -> None:
    """Traffic goes on, also over a restart of the daemon; what happened meanwhile is seen as soon as the server answers."""
    hosts = [lab.host("h2"), lab.host("h3")]
    daemons = {host.name: client(lab, host.name) for host in hosts}
    for host in hosts:
        wait_for(lambda: bool(env(host)), 20, "subnet.env")  # noqa: B023
    before = {host.name: env(host) for host in hosts}
    rows = {host.name: wefted(host, "network", "connect", "flannel", container(host, "d"))[0] for host in hosts}
    wait_for(lambda: ping(hosts[0], "d", address_of(rows["h3"])), 10, "they reach each other")
    server[0].kill()
    server[0].wait()
    etcd.peer(PREFIX, "10.5.200.0/24", "192.0.2.200")
    etcd.ctl("del", f"{PREFIX}/subnets/{key_of(before['h3'])}")
    assert ping(hosts[0], "d", address_of(rows["h3"]))
    daemons["h2"].kill()
    daemons["h2"].wait()
    daemons["h2"] = client(lab, "h2")
    wait_for(lambda: answers(hosts[0]), 20, "the agent runs again")
    wait_for(lambda: "does not answer" in state(hosts[0])["error"], 20, "it says what is wrong")
    assert ping(hosts[0], "d", address_of(rows["h3"])), "the route to the peer is there with the server away"
    assert known(hosts[0], "10.5.200.0/24", "192.0.2.200") == NOTHING
    server.append(serve(lab))
    for host in hosts:
        wait_for(lambda: known(host, "10.5.200.0/24", "192.0.2.200") == complete(), 15, "the new peer is known")  # noqa: B023
        wait_for(lambda: not state(host)["error"], 15, "the subnet is held")  # noqa: B023
    assert {host.name: env(host) for host in hosts} == before
    kept = {key_of(found) for found in before.values()}
    wait_for(lambda: kept <= set(etcd.keys(PREFIX)), 10, "the lost lease is there again")
    assert ping(hosts[0], "d", address_of(rows["h3"]))
    etcd.ctl("del", f"{PREFIX}/subnets/10.5.200.0-24")
    wait_for(lambda: known(hosts[0], "10.5.200.0/24", "192.0.2.200") == NOTHING, 5, "a removed peer is gone")
    stop(*daemons.values())
    for host in hosts:
        leave(host)


def test_a_reservation_is_for_its_host_and_holds(lab: Lab, etcd: Etcd, server: list[Popen[Any]]) -> None:
    """With flannel 0.7 a renewal by its host turns it into a lease of a day."""
    h1, h3 = lab.host("h1"), lab.host("h3")
    reservation = {"Subnet": "10.5.77.0/24", "PublicIP": str(h3.address)}

    def for_good() -> bool:
        return "lease" not in json.loads(etcd.ctl("get", "-w", "json", f"{PREFIX}/subnets/10.5.77.0-24").stdout)["kvs"][0]

    assert curl(h1, "POST", "_/reservations", reservation) == (200, "")
    assert curl(h1, "POST", "_/reservations", {**reservation, "PublicIP": "192.0.2.9"})[0] == 409
    assert json.loads(curl(h1, "GET", "_/reservations")[1]) == [reservation]
    daemon = client(lab, "h3")
    wait_for(lambda: bool(env(h3)), 20, "subnet.env")
    assert env(h3)["FLANNEL_SUBNET"] == "10.5.77.1/24"
    assert "VtepMAC" in etcd.keys(PREFIX)["10.5.77.0-24"]
    assert for_good()
    wefted(h3, "flannel", "join", "--remote", f"{h1.address}:{PORT}", "--masquerade")
    wait_for(lambda: not state(h3)["error"] and env(h3)["FLANNEL_IPMASQ"] == "true", 10, "it is written again")
    assert for_good()
    assert curl(h1, "DELETE", "_/reservations/10.5.77.0-24") == (200, "")
    assert not for_good()
    assert json.loads(curl(h1, "GET", "_/reservations")[1]) == []
    stop(daemon)
    leave(h3)


def test_over_tls_both_sides_show_certificates(lab: Lab, etcd: Etcd, tmp_path: Path) -> None:
    """Nobody listens at first: that is told, and goes on by itself."""
    h1, h2, h4 = lab.host("h1"), lab.host("h2"), lab.host("h4")
    made = make_certificates(tmp_path, (str(h1.address),))
    mine = [f"-remote-cafile={made.ca}", f"-remote-certfile={made.client_cert}", f"-remote-keyfile={made.client_key}"]
    daemon = client(lab, "h2", *mine)
    wait_for(lambda: answers(h2), 20, "the agent runs")
    wait_for(lambda: "does not answer" in state(h2)["error"], 20, "it says that nobody is there")
    theirs = [f"-remote-cafile={made.ca}", f"-remote-certfile={made.server_cert}", f"-remote-keyfile={made.server_key}"]
    flags = ["-etcd-endpoints=http://127.0.0.1:2379", f"-etcd-prefix={PREFIX}", f"-listen={h1.address}:{PORT}"]
    child = h1.popen([f"{BIN}/flanneld", *flags, *theirs])
    wait_for(lambda: bool(env(h2)), 20, "subnet.env")
    old = Old(h4, h1, made.ca, made.client_cert, made.client_key)
    wait_for(lambda: bool(old.of("own")), 10, "the old client watches")
    (lease,) = old.of("acquired")
    wait_for(lambda: known(h2, lease["Subnet"], str(h4.address)) == complete(OLD_MAC), 5, "they know each other")
    old.end()
    bare = ["curl", "-s", "--cacert", made.ca, f"https://{h1.address}:{PORT}/v1/_/config"]
    assert h4.run(bare, check=False).returncode != 0, "without a certificate nobody gets an answer"
    stop(daemon)
    leave(h2)
    stop(child)


PASSING = (
    "import os,socket,sys; s=socket.create_server((sys.argv[1],8888)); os.dup2(s.fileno(),3); os.set_inheritable(3,True); "
    "os.environ.update(LISTEN_FDS='1',LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2],sys.argv[2:])"
)


def test_systemd_passes_the_socket_and_all_networks_are_watched(lab: Lab, etcd: Etcd) -> None:
    h1, h3 = lab.host("h1"), lab.host("h3")
    flags = ["-etcd-endpoints=http://127.0.0.1:2379", f"-etcd-prefix={PREFIX}", "-listen=fd://", "-healthz-port=8471"]
    child = h1.popen([sys.executable, "-c", PASSING, str(h1.address), f"{BIN}/flanneld", *flags])
    healthy = ["curl", "-sf", "http://127.0.0.1:8471/readyz"]
    wait_for(lambda: h1.run(healthy, check=False).returncode == 0, 20, "the server is ready")
    assert json.loads(curl(h1, "GET", "")[1])["snapshot"] == ["blue"]
    daemon = client(lab, "h3", "-watch-networks")
    wait_for(lambda: bool(env(h3, "/run/flannel/networks/blue.env")), 20, "the network that is there")
    etcd.configure(f"{PREFIX}/red", "10.42.0.0/16", Backend={"Type": "vxlan", "VNI": 42})
    wait_for(lambda: bool(env(h3, "/run/flannel/networks/red.env")), 5, "the network that came later")
    etcd.ctl("del", f"{PREFIX}/red/config")
    wait_for(lambda: not env(h3, "/run/flannel/networks/red.env"), 5, "a network that was deleted is left")
    stop(daemon)
    wefted(h3, "flannel", "watch", "/", "--remote", f"{h1.address}:{PORT}", "--stop")
    leave(h3, "blue")
    stop(child)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("-listen=:8888 -remote=192.0.2.1:8888", 1, "mutually exclusive"),
        ("-listen=udp://:8888", 1, "bad listener scheme"),
        ("-listen=8888", 1, "is not an address with a port"),
        ("-listen=fd://", 1, "fd 3 is out of range (3)"),
        ("-listen=fd://x", 1, "fd index is not a number"),
        ("-listen=192.0.2.99:8888", 1, "cannot listen on 192.0.2.99:8888"),
        ("-listen=:8888 -remote-certfile=/nowhere", 1, "both -remote-certfile and -remote-keyfile"),
        ("-listen=:8888 -remote-certfile=/nowhere -remote-keyfile=/nowhere", 1, "No such file"),
        ("-iface=eth0 -remote=http://", 1, "is not an address"),
        ("-iface=eth0 -remote=h:8888 -remote-cafile=/nowhere", 1, "cannot read"),
    ],
)
def test_mistakes_end_it_with_one_message(lab: Lab, words: str, code: int, message: str) -> None:
    done = lab.host("h4").run([f"{BIN}/flanneld", *words.split()], check=False, timeout=60)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_network_in_the_api_v2_is_lent_as_well(lab: Lab, etcd: Etcd) -> None:
    """As the server of that time had it: its keys and values are what `etcdctl` of that time shows."""
    h1 = lab.host("h1")
    etcd.ctl("mk", "/old/config", json.dumps({"Network": "10.60.0.0/16"}), api="2")
    child = serve(lab, "-etcd-prefix=/old")
    status, text = curl(h1, "POST", "_/leases", {"PublicIP": "192.0.2.7", "BackendType": "udp"})
    assert status == 200, text
    lease = json.loads(text)
    key = lease["Subnet"].replace("/", "-")
    assert etcd.ctl("get", f"/old/subnets/{key}", api="2").stdout.strip() == '{"PublicIP":"192.0.2.7"}'
    start = json.loads(curl(h1, "GET", "_/leases")[1])
    assert [each["Subnet"] for each in start["snapshot"]] == [lease["Subnet"]]
    left = datetime.fromisoformat(start["snapshot"][0]["Expiration"]).timestamp() - time.time()
    assert 86000 < left <= 86400
    etcd.ctl("rm", f"/old/subnets/{key}", api="2")
    (gone,) = json.loads(curl(h1, "GET", f"_/leases?next={start['cursor']}")[1])["events"]
    assert (gone["type"], gone["lease"]["Subnet"]) == ("removed", lease["Subnet"])
    reservation = {"Subnet": "10.60.9.0/24", "PublicIP": "192.0.2.8"}
    assert curl(h1, "POST", "_/reservations", reservation) == (200, "")
    assert json.loads(curl(h1, "GET", "_/reservations")[1]) == [reservation]
    assert json.loads(curl(h1, "POST", "_/leases", {"PublicIP": "192.0.2.8"})[1])["Subnet"] == "10.60.9.0/24"
    stop(child)
