"""What Docker is told of a subnet: its file, its versions, its command lines."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.errors import UsageError
from wefted.model import flannel_docker
from wefted.model.flannel_docker import given_as_flags, merged, network_create, parse, routed_traffic, settings, version_of

ENV = {"FLANNEL_NETWORK": "10.5.0.0/16", "FLANNEL_SUBNET": "10.5.34.1/24", "FLANNEL_MTU": "1450", "FLANNEL_IPMASQ": "true"}
SUBNET = parse(ENV, "subnet.env")
DUAL = parse({**ENV, "FLANNEL_IPV6_SUBNET": "fd05:12::1/64", "FLANNEL_IPMASQ": "false"}, "subnet.env")


@pytest.mark.parametrize(
    ("version", "further"),
    [
        ((20, 10), {}),
        ((28, 0), {}),
        ((28, 2), {"allow-direct-routing": True}),
        ((29, 1), {"allow-direct-routing": True}),
        ((), {}),
    ],
)
def test_docker_gets_what_its_version_knows(version: tuple[int, ...], further: dict[str, bool]) -> None:
    assert settings(SUBNET, version) == {"bip": "10.5.34.1/24", "mtu": 1450, "ip-masq": False, **further}


def test_both_ip_versions() -> None:
    found = settings(DUAL, (20, 10))
    assert (found["ipv6"], found["fixed-cidr-v6"], found["ip-masq"]) == (True, "fd05:12::/64", True)


@pytest.mark.parametrize(
    ("version", "told"), [((20, 10), False), ((27, 5), False), ((28, 0), True), ((28, 1), True), ((28, 2), False), ((), False)]
)
def test_a_docker_that_drops_routed_traffic_is_told_of(version: tuple[int, ...], told: bool) -> None:
    assert ("DOCKER_INSECURE_NO_IPTABLES_RAW=1" in routed_traffic(version)) == told


def test_other_keys_stay_and_the_second_time_nothing_changes() -> None:
    before = '{"log-driver": "journald", "mtu": 1500, "dns": ["192.0.2.53"]}'
    text, changes = merged(before, settings(SUBNET, (20, 10)), "daemon.json")
    assert changes == ('bip: "10.5.34.1/24"', "mtu: 1450 (it was 1500)", "ip-masq: false")
    assert json.loads(text) == {
        "log-driver": "journald", "mtu": 1450, "dns": ["192.0.2.53"], "bip": "10.5.34.1/24", "ip-masq": False,
    }  # fmt: skip
    assert merged(text, settings(SUBNET, (20, 10)), "daemon.json") == (text, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"mtu": 1500', "daemon.json is not JSON"),
        ("[]", "daemon.json is JSON, but no object"),
        ('{"bridge": "br0"}', "names another bridge than docker0: 'br0'"),
        ('{"fixed-cidr": "172.17.0.0/24"}', "fixed-cidr 172.17.0.0/24 lies outside of 10.5.34.1/24"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        merged(text, settings(SUBNET, (20, 10)), "daemon.json")


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans()), st.booleans())
def test_no_key_of_others_is_ever_lost(known: dict[str, object], dual: bool) -> None:
    known = {key: value for key, value in known.items() if key not in ("bridge", "fixed-cidr")}
    wanted = settings(DUAL if dual else SUBNET, ())
    text, _ = merged(json.dumps(known), wanted, "daemon.json")
    assert json.loads(text) == {**known, **wanted}


def test_the_network_beside_docker0() -> None:
    assert network_create(SUBNET, "flannel", (20, 10)) == (
        "docker network create --subnet 10.5.34.0/24 --gateway 10.5.34.1 -o com.docker.network.driver.mtu=1450"
        " -o com.docker.network.bridge.enable_ip_masquerade=false flannel"
    )
    dual = network_create(DUAL, "both", (28, 0))
    assert "--ipv6 --subnet fd05:12::/64 --gateway fd05:12::1" in dual
    assert "gateway_mode_ipv4=nat-unprotected" in dual
    assert dual.endswith("gateway_mode_ipv6=nat-unprotected both")


def test_words_that_docker_would_refuse_twice_are_found() -> None:
    assert given_as_flags(["dockerd", "-H", "fd://", "--bip=10.5.1.1/24", "--mtu", "1450"]) == ("--bip=10.5.1.1/24", "--mtu")
    assert given_as_flags(["dockerd", "--log-level=debug"]) == ()


@pytest.mark.parametrize(
    ("text", "version"), [("20.10.24+dfsg1", (20, 10)), ("28.2.0", (28, 2)), ("29.0.0-rc.1", (29, 0)), ("", ()), ("dev", ())]
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version


@pytest.mark.parametrize("env", [{}, {"FLANNEL_SUBNET": "here"}, {"FLANNEL_SUBNET": "10.5.1.1/24", "FLANNEL_MTU": "x"}])
def test_a_file_that_says_nothing_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"^subnet\.env: "):
        flannel_docker.parse(env, "subnet.env")
