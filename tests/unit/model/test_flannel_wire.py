"""The JSON of flannel's client/server mode: byte for byte what Go writes, and whatever Go may write is read."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.errors import UsageError
from wefted.model import flannel
from wefted.model import flannel_wire as wire
from wefted.model.flannel_lease import FlannelLease
from wefted.model.flannel_wire import Lent

LEASE = FlannelLease(
    subnet=IPv4Network("10.5.1.0/24"), public=IPv4Address("192.0.2.1"), backend="vxlan", data={"VtepMAC": "02:00:00:00:00:01"}
)
ENDS = 1451747045.0
TEXT = (
    '{"Subnet":"10.5.1.0/24","Attrs":{"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":{"VtepMAC":"02:00:00:00:00:01"}},'
    '"Expiration":"2016-01-02T15:04:05Z"}'
)
GONE = '{"Subnet":"10.5.1.0/24","Attrs":{"PublicIP":"0.0.0.0"},"Expiration":"0001-01-01T00:00:00Z"}'


def text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def test_what_is_written_is_what_go_writes() -> None:
    assert text(wire.lease(Lent(LEASE, ENDS))) == TEXT
    plain = FlannelLease(subnet=LEASE.subnet, public=LEASE.public, backend="udp")
    assert text(wire.lease(Lent(plain, None))) == GONE.replace("0.0.0.0", "192.0.2.1")
    assert text(wire.event(IPv4Network("10.5.1.0/24"), None)) == '{"type":"removed","lease":' + GONE + "}"
    happened = [wire.event(IPv4Network("10.5.1.0/24"), Lent(LEASE, ENDS))]
    assert text(wire.result(17, happened, None)) == (
        '{"events":[{"type":"added","lease":' + TEXT + '}],"snapshot":null,"cursor":"17"}'
    )
    assert text(wire.result(17, None, [])) == '{"events":null,"snapshot":[],"cursor":"17"}'
    assert text(wire.network_event("red", True)) == (
        '{"type":"added","lease":{"Subnet":"0.0.0.0/0","Attrs":{"PublicIP":"0.0.0.0"},"Expiration":"0001-01-01T00:00:00Z"},'
        '"network":"red"}'
    )


def test_a_configuration_reads_back_as_it_was() -> None:
    found = flannel.parse('{"Network":"10.5.0.0/16","SubnetMin":"10.5.16.0","backend":{"type":"VXLAN","VNI":7}}')
    written = text(wire.config(found))
    assert written == (
        '{"Network":"10.5.0.0/16","SubnetMin":"10.5.16.0","SubnetMax":"10.5.255.0","SubnetLen":24,'
        '"Backend":{"Type":"vxlan","VNI":7}}'
    )
    assert flannel.parse(written) == found
    with pytest.raises(UsageError, match="IPv6"):
        wire.config(flannel.parse('{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc05::/48"}'))


@pytest.mark.parametrize(
    ("time", "ends"),
    [
        ("2016-01-02T15:04:05Z", ENDS),
        ("2016-01-02T15:04:05.5Z", ENDS + 0.5),
        ("2016-01-02T15:04:05.123456789Z", ENDS + 0.123456),
        ("2016-01-02T16:04:05+01:00", ENDS),
        ("0001-01-01T00:00:00Z", None),
    ],
)
def test_times_are_read_as_go_writes_them(time: str, ends: float | None) -> None:
    found = wire.read_lease({"subnet": "10.5.1.0/24", "ATTRS": {"publicIP": "192.0.2.1"}, "Expiration": time})
    assert found.ends == pytest.approx(ends)
    assert found.lease.subnet == LEASE.subnet


def test_a_watch_tells_events_or_everything() -> None:
    events = (
        f'{{"events":[{{"type":"added","lease":{TEXT}}},{{"type":"removed","lease":{GONE}}}],"snapshot":null,"cursor":"9"}}'
    )
    found = wire.read_watched(json.loads(events))
    assert (found.cursor, found.snapshot) == ("9", None)
    assert found.events == ((LEASE.subnet, Lent(LEASE, ENDS)), (LEASE.subnet, None))
    everything = wire.read_watched(json.loads(f'{{"events":null,"snapshot":[{TEXT}],"cursor":"9"}}'))
    assert (everything.snapshot, everything.events) == ((Lent(LEASE, ENDS),), ())
    with pytest.raises(UsageError, match="non-string cursor"):
        wire.read_watched({"events": None, "snapshot": [], "cursor": 9})
    networks = {"events": [wire.network_event("red", True), wire.network_event("blue", False)], "snapshot": None, "cursor": "3"}
    assert wire.read_networks(networks) == ("3", None, (("red", True), ("blue", False)))
    assert wire.read_networks({"events": None, "snapshot": ["a"], "cursor": "3"}) == ("3", {"a"}, ())


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["10.5.1.0/24", "192.0.2.1", "added"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.text(max_size=3)
        | st.sampled_from(["Subnet", "attrs", "PublicIP", "BackendType", "Expiration"])
        | st.sampled_from(["events", "snapshot", "cursor", "type", "lease"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(ANYTHING)
def test_whatever_comes_is_read_or_refused(found: Any) -> None:
    for read in (wire.read_attrs, wire.read_lease, wire.read_reservation, wire.read_watched, wire.read_networks):
        try:
            read(found)
        except UsageError:
            continue


@given(st.binary() | st.text().map(str.encode))
def test_what_is_no_json_is_refused(body: bytes) -> None:
    try:
        found = wire.parse(body)
    except UsageError as error:
        found = {}
        refused = error.message
    else:
        refused = "JSON decoding error: "
    assert refused.startswith("JSON decoding error: ")
    assert all(key == key.lower() for key in found)
