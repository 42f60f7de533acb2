"""What the probe finds: features by trying, the underlay by the default route or by the address that is asked for."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from wefted.errors import UsageError
from wefted.kernel import probe
from wefted.kernel.probe import TRIED
from wefted.model.objects import HOST, Change
from wefted.model.route import Address
from wefted.testing.kernel_samples import BRIDGE, FOREIGN

from .conftest import LabHost

pytestmark = pytest.mark.lab


def give_underlay(host: LabHost) -> None:
    for words in (
        f"ip addr add 192.0.2.1/24 dev {FOREIGN}",
        f"ip addr add 2001:db8::1/64 dev {FOREIGN} nodad",
        f"ip link set {FOREIGN} mtu 1400",
        f"ip addr add 198.51.100.1/24 dev {FOREIGN}-far",
        "ip route add default via 192.0.2.254",
        "ip route add default via 198.51.100.254 metric 10",
    ):
        host.run(*words.split())


def test_features_are_told_by_name_with_a_reason(host: LabHost) -> None:
    features = host.kernel.probe().features
    assert set(features) == {*TRIED, "bpf", "nft", "wireguard"}
    for name in ("bridge", "veth", "nft"):
        assert features[name] == ""
    for name, reason in features.items():
        assert reason == "" or name.removesuffix("-kernel") in reason


def test_features_that_are_there_can_be_made_and_the_others_cannot(host: LabHost) -> None:
    for name, reason in host.kernel.probe().features.items():
        if name in ("macvlan", "ipvlan", "vlan"):
            words = ["ip", "link", "add", "try0", "link", FOREIGN, "type", name, *(["id", "1"] if name == "vlan" else [])]
            done = host.run("sh", "-c", " ".join(words) + " && ip link del try0 && echo made || echo refused").strip()
            assert (done == "made") == (reason == "")


def test_nothing_is_left_of_the_attempts(host: LabHost) -> None:
    before = {link["ifname"]: link.get("linkinfo") for link in host.links()}
    threads = os.listdir("/proc/self/task")
    host.kernel.probe()
    assert {link["ifname"]: link.get("linkinfo") for link in host.links()} == before
    assert os.listdir("/proc/self/task") == threads


def test_what_is_there_is_remembered_until_the_next_boot(host: LabHost, monkeypatch: pytest.MonkeyPatch) -> None:
    first = host.kernel.probe().features
    tried: list[str] = []
    monkeypatch.setattr(probe, "is_installed", lambda name: False)
    monkeypatch.setattr(probe, "try_links", lambda names: tried.extend(names) or dict.fromkeys(names, "no"))
    second = host.new_kernel().probe().features
    missing = [name for name in TRIED if first[name]]
    assert tried == missing, "only what was missing may have come since"
    assert {**second, "wireguard": ""} == {**first, **dict.fromkeys(missing, "no"), "wireguard": ""}
    memory = host.runtime_dir / "features.json"
    memory.write_text(json.dumps({"kernel": "another", "present": list(TRIED)}))
    tried.clear()
    host.new_kernel().probe()
    assert tried == list(TRIED)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"kernel": 1}'])
def test_a_damaged_memory_is_no_memory(host: LabHost, text: str) -> None:
    host.runtime_dir.mkdir()
    (host.runtime_dir / "features.json").write_text(text)
    assert host.kernel.probe().features["bridge"] == ""


def test_without_an_underlay_there_is_none(host: LabHost) -> None:
    facts = host.kernel.probe()
    assert (facts.device, facts.underlay, facts.prefixes) == ("", (), ())


def test_the_default_route_chooses_the_underlay(host: LabHost) -> None:
    give_underlay(host)
    facts = host.kernel.probe()
    assert (facts.device, facts.mtu) == (FOREIGN, 1400)
    assert facts.underlay == (ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"))


def test_an_advertised_address_chooses_its_link_and_is_the_first(host: LabHost) -> None:
    give_underlay(host)
    facts = host.kernel.probe(ip_address("198.51.100.1"))
    assert (facts.device, facts.underlay) == (f"{FOREIGN}-far", (ip_interface("198.51.100.1/24"),))
    assert host.kernel.probe(ip_address("2001:db8::1")).underlay[0] == ip_interface("2001:db8::1/64")


def test_an_advertised_address_of_nobody_is_refused_with_a_list(host: LabHost) -> None:
    give_underlay(host)
    with pytest.raises(UsageError) as caught:
        host.kernel.probe(ip_address("203.0.113.1"))
    assert "203.0.113.1" in caught.value.message
    assert "192.0.2.1" in caught.value.hint


def test_an_ipv6_host_without_ipv4_has_an_underlay(host: LabHost) -> None:
    host.run(*f"ip addr add 2001:db8::1/64 dev {FOREIGN} nodad".split())
    host.run(*f"ip -6 route add default via 2001:db8::ff dev {FOREIGN}".split())
    assert host.kernel.probe().underlay == (ip_interface("2001:db8::1/64"),)


def test_our_own_addresses_are_no_prefixes_of_the_host(host: LabHost) -> None:
    give_underlay(host)
    host.kernel.apply([Change(None, BRIDGE), Change(None, Address(link=BRIDGE.name, address=ip_interface("10.64.0.1/24")))])
    assert {str(prefix) for prefix in host.kernel.probe().prefixes} == {
        "192.0.2.1/24", "198.51.100.1/24", "2001:db8::1/64",
    }  # fmt: skip


def test_a_second_probe_costs_little(host: LabHost) -> None:
    host.kernel.probe()
    start = time.thread_time()
    host.kernel.probe()
    assert time.thread_time() - start < 0.03


def test_a_path_that_is_no_namespace_does_not_exist(host: LabHost) -> None:
    for path in ("/run/netns/none", str(host.runtime_dir), "/proc/self/ns/uts", "/dev/null", "/proc/self/status/x"):
        assert not host.kernel.read(path).exists  # type: ignore[arg-type]
    assert host.kernel.read(HOST).exists


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a small program with the kernel room, by way of another command; what it remembers is in a folder."""
    program = f"""
from ipaddress import ip_interface
from wefted.errors import UsageError
from wefted.kernel.linux import LinuxKernel
from wefted.model.objects import HOST, Change
from wefted.model.route import Address
from wefted.testing.kernel_samples import BRIDGE, TABLE
kernel = LinuxKernel(runtime_dir={str(folder)!r})
try:
    print(kernel.probe().features["bridge"] == "")
except UsageError as error:
    print(error.message)
changes = [Change(None, o) for o in (BRIDGE, Address(link=BRIDGE.name, address=ip_interface("10.64.0.1/24")), TABLE)]
print(*[o.errno for o in kernel.apply(changes)])
print(all(c.new.satisfied_by(kernel.read(HOST).objects[c.new.key]) for c in changes if c.new.key in kernel.read(HOST).objects))
"""
    return subprocess.run([*words, sys.executable, "-c", program], capture_output=True, text=True, check=True)


def test_without_privileges_it_says_so_and_refuses(host: LabHost, tmp_path: Path) -> None:
    nsenter = ["nsenter", f"--net={host.netns}"]
    first, second, _ = python(tmp_path, *nsenter, "setpriv", "--bounding-set=-all", "--inh-caps=-all").stdout.splitlines()
    assert "needs root" in first
    assert "CAP_NET_ADMIN" in first
    assert second.split()[0] == str(errno.EPERM)
    assert host.kernel.read(HOST).objects.get(BRIDGE.key) is None


def test_it_works_in_a_user_namespace_of_its_own(tmp_path: Path) -> None:
    assert python(tmp_path, "unshare", "-rn").stdout.splitlines() == ["True", "0 0 0", "True"]
