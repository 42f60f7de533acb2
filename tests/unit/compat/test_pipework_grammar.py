"""The command line of `pipework`: every form, every mistake with its words and exit code, and words at random."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.compat.pipework_address import Dhcp, Static, address, mac, partition_key, vlan
from wefted.compat.pipework_grammar import SYNTAX, Attach, Detach, Inside, Mistake, Wait, parse

FORMS = {
    "br1 c1 192.168.1.1/24": Attach(hostif="br1", guest="c1", address="192.168.1.1/24"),
    "br1 -i eth2 c1 10.0.0.1/8": Attach(hostif="br1", guest="c1", address="10.0.0.1/8", ifname="eth2"),
    "br1 -l host0 c1 10.0.0.1/8": Attach(hostif="br1", guest="c1", address="10.0.0.1/8", local="host0"),
    "br1 -a 6 c1 fd00::1/64": Attach(hostif="br1", guest="c1", address="fd00::1/64", family="6"),
    "br1 -i eth2 -l host0 -a 4 c1 10.0.0.1/8@10.0.0.2 02:00:00:00:00:01@10": Attach(
        hostif="br1", guest="c1", address="10.0.0.1/8@10.0.0.2", ifname="eth2", local="host0", family="4",
        mac="02:00:00:00:00:01", vlan="10",
    ),
    "eth1 c1 0/0 @10": Attach(hostif="eth1", guest="c1", address="0/0", vlan="10"),
    "eth1 c1 0/0 @10@11": Attach(hostif="eth1", guest="c1", address="0/0", vlan="10"),
    "eth1 c1 0/0 U:a@": Attach(hostif="eth1", guest="c1", address="0/0", mac="U:a"),
    "eth1 c1 dhcp": Attach(hostif="eth1", guest="c1", address="dhcp"),
    "mac:02:00:00:00:00:01 c1 0/0": Attach(hostif="mac:02:00:00:00:00:01", guest="c1", address="0/0"),
    "--direct-phys eth1 -i eth0 c1 0/0": Attach(hostif="eth1", guest="c1", address="0/0", ifname="eth0", direct=True),
    "--host-access eth1 c1 0/0": Attach(hostif="eth1", guest="c1", address="0/0", host_access=True),
    # what stands after the last word is ignored, and so is an option in another place
    "br1 c1 10.0.0.1/8 02:00:00:00:00:01 more": Attach(
        hostif="br1", guest="c1", address="10.0.0.1/8", mac="02:00:00:00:00:01"
    ),
    "br1 -l host0 -i eth2 c1": Attach(hostif="br1", guest="-i", address="eth2", local="host0", mac="c1"),
    "route c1 add 10.5.6.0/24 via 192.168.2.1": Inside(
        program=("ip", "route", "add", "10.5.6.0/24", "via", "192.168.2.1"), guest="c1"
    ),
    "rule c1 add from 172.19.0.2/32 table 1": Inside(
        program=("ip", "rule", "add", "from", "172.19.0.2/32", "table", "1"), guest="c1"
    ),
    "tc c1 qdisc show": Inside(program=("tc", "qdisc", "show"), guest="c1"),
    "routes c1 show": Inside(program=("ip", "route", "show"), guest="c1"),
    "tc0 c1 10.0.0.1/8": Attach(hostif="tc0", guest="c1", address="10.0.0.1/8"),
    "--wait": Wait(),
    "--wait -i ib0": Wait(ifname="ib0"),
    "--wait -i ib0 --timeout 2.5": Wait(ifname="ib0", timeout=2.5),
    "--wait --timeout 3": Wait(timeout=3.0),
    "--detach br1 c1": Detach(hostif="br1", guest="c1"),
    "--detach br1 -i eth2 c1": Detach(hostif="br1", guest="c1", ifname="eth2"),
}  # fmt: skip

MISTAKES = {
    "": (SYNTAX, 1),
    "br1": (SYNTAX, 1),
    "br1 c1": (SYNTAX, 1),
    "br1 -i": (SYNTAX, 1),
    "route c1": (SYNTAX, 1),
    "--help": (SYNTAX, 1),
    "--direct-phys eth1 c1": (SYNTAX, 1),
    "--detach br1": (SYNTAX, 1),
    "br1 -a 5 c1 10.0.0.1/8": ('Option "-5" is unknown, try "ip -help".', 255),
    "br1 -i sixteen-letters- c1 0/0": ('Error: argument "sixteen-letters-" is wrong: "name" not a valid ifname', 255),
    "br1 -i a/b c1 0/0": ('Error: argument "a/b" is wrong: "name" not a valid ifname', 255),
    "--wait --timeout soon": ("--timeout takes a number of seconds, not soon", 1),
    "--wait --timeout -1": ("--timeout takes a number of seconds, not -1", 1),
    "--wait --timeout nan": ("--timeout takes a number of seconds, not nan", 1),
}

ADDRESSES = {
    "192.168.1.1/24": Static(addresses=("192.168.1.1/24",)),
    "192.168.1.1/24@192.168.1.254": Static(addresses=("192.168.1.1/24",), gateways=("192.168.1.254",)),
    "192.168.1.1/24@": Static(addresses=("192.168.1.1/24",)),
    "192.168.1.1/24@10.9.9.9@ignored": Static(addresses=("192.168.1.1/24",), gateways=("10.9.9.9",)),
    "10.1/16": Static(addresses=("10.1.0.0/16",)),
    "fd00::1/64@fe80::1": Static(addresses=("fd00::1/64",), gateways=("fe80::1",)),
    "10.0.0.1/8,10.0.0.2/8,FD00::1/64@10.0.0.3,fe80::1": Static(
        addresses=("10.0.0.1/8", "10.0.0.2/8", "fd00::1/64"), gateways=("10.0.0.3", "fe80::1")
    ),
    "0/0": Static(),
    "0.0.0.0/0": Static(),
    "::/0": Static(),
    "0/0@10.0.0.3": Static(gateways=("10.0.0.3",)),
    "dhcp": Dhcp(client="dhcp"),
    "dhcp:-f": Dhcp(client="dhcp", options="-f"),
    "udhcpc": Dhcp(client="udhcpc"),
    "udhcpc-f:-V x -t 3": Dhcp(client="udhcpc", stays=True, options="-V x -t 3"),
    "dhclient": Dhcp(client="dhclient"),
    "dhclient-f": Dhcp(client="dhclient", stays=True),
    "dhclient:-v": Dhcp(client="dhclient", options="-v"),
    "dhcpcd": Dhcp(client="dhcpcd"),
}

BAD_ADDRESSES = {
    ("192.168.1.1", ""): ("The IP address should include a netmask.\nMaybe you meant 192.168.1.1/24 ?", 1),
    ("192.168.1.1@10.0.0.1", ""): (
        "The IP address should include a netmask.\nMaybe you meant 192.168.1.1@10.0.0.1/24 ?", 1
    ),
    ("dhcpcd-f", ""): ("The IP address should include a netmask.\nMaybe you meant dhcpcd-f/24 ?", 1),
    ("foo/24", ""): ('Error: inet prefix is expected rather than "foo/24".', 1),
    ("10.0.0.1/33", ""): ('Error: inet prefix is expected rather than "10.0.0.1/33".', 1),
    ("10.0.0.1/", ""): ('Error: inet prefix is expected rather than "10.0.0.1/".', 1),
    ("10.0.0.1/-1", ""): ('Error: inet prefix is expected rather than "10.0.0.1/-1".', 1),
    ("1.2.3.4.5/24", ""): ('Error: inet prefix is expected rather than "1.2.3.4.5/24".', 1),
    ("fd00::1/64", "4"): ('Error: inet prefix is expected rather than "fd00::1/64".', 1),
    ("10.0.0.1/8", "6"): ('Error: inet6 prefix is expected rather than "10.0.0.1/8".', 1),
    ("10.0.0.1/8@foo", ""): ('Error: inet prefix is expected rather than "foo/32".', 1),
    ("10.0.0.1/8,/8", ""): ('Error: inet prefix is expected rather than "/8".', 1),
    ("10.0.0.1/8@10.0.0.2,10.0.0.3", ""): (
        "Only one gateway for IPv4 and one for IPv6 can be the default gateway.", 1
    ),
}  # fmt: skip

MACS = {
    "": "",
    "02:AB:cd:00:00:01": "02:ab:cd:00:00:01",
    "2:0:0:0:0:1": "02:00:00:00:00:01",
    "U:myhost.foo.com": "02:72:6c:cd:9b:8d",
    "U: myhost.foo.com ": "02:72:6c:cd:9b:8d",
}

BAD_MACS = {
    "zz": ('"zz" is invalid lladdr.', 1),
    "02:00:00:00:00": ('"02:00:00:00:00" is invalid lladdr.', 1),
    "02:00:00:00:00:001g": ('"02:00:00:00:00:001g" is invalid lladdr.', 1),
    "02:00:00:00:00:100": ('"02:00:00:00:00:100" is invalid lladdr.', 1),
    "01:00:00:00:00:01": ("RTNETLINK answers: Cannot assign requested address", 2),
    "00:00:00:00:00:00": ("RTNETLINK answers: Cannot assign requested address", 2),
}

BAD_VLANS = {
    "abc": ('Error: argument "abc" is wrong: id is invalid', 255),
    "70000": ('Error: argument "70000" is wrong: id is invalid', 255),
    "0": ("Error: 8021q: Invalid VLAN id.", 2),
    "4095": ("Error: 8021q: Invalid VLAN id.", 2),
}

words = st.lists(
    st.one_of(
        st.sampled_from("-i -l -a --wait --detach --direct-phys --host-access 4 6 br1 eth1 route".split()),
        st.text(max_size=20),
    ),
    max_size=8,
)  # fmt: skip


def there(name: str) -> bool:
    return name == "tc0"


def mistake_of(function, *arguments) -> tuple[str, int]:
    with pytest.raises(Mistake) as caught:
        function(*arguments)
    return caught.value.text, caught.value.code


def form_or_code(function, *arguments):
    try:
        return function(*arguments)
    except Mistake as mistake:
        return mistake.code


@pytest.mark.parametrize("line", FORMS)
def test_a_form_is_understood(line: str) -> None:
    assert parse(line.split(), there) == FORMS[line]


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_has_its_words_and_its_exit_code(line: str) -> None:
    assert mistake_of(parse, line.split(), there) == MISTAKES[line]


def test_the_syntax_goes_to_standard_output_and_errors_do_not() -> None:
    with pytest.raises(Mistake) as caught:
        parse([], there)
    assert caught.value.stdout
    assert not Mistake("x").stdout


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_is_understood(text: str) -> None:
    assert address(text) == ADDRESSES[text]


@pytest.mark.parametrize(("text", "family"), BAD_ADDRESSES)
def test_a_bad_address_is_refused_as_by_ip(text: str, family: str) -> None:
    assert mistake_of(address, text, family) == BAD_ADDRESSES[text, family]


@pytest.mark.parametrize("text", MACS)
def test_a_mac_is_understood(text: str) -> None:
    assert mac(text) == MACS[text]


@pytest.mark.parametrize("text", BAD_MACS)
def test_a_bad_mac_is_refused_as_by_ip(text: str) -> None:
    assert mistake_of(mac, text) == BAD_MACS[text]


def test_a_vlan_is_a_number_that_frames_can_carry() -> None:
    assert [vlan(""), vlan("1"), vlan("0010"), vlan("4094")] == [0, 1, 10, 4094]
    for text, told in BAD_VLANS.items():
        assert mistake_of(vlan, text) == told


def test_a_partition_key_is_hex() -> None:
    assert [partition_key(""), partition_key("8001"), partition_key("f")] == ["", "0x8001", "0x000f"]
    for text in ("xyz", "0", "10000"):
        assert mistake_of(partition_key, text) == (f'Error: argument "0x{text}" is wrong: pkey is invalid', 255)


def test_a_form_is_frozen_and_compares_by_value() -> None:
    form = Wait(ifname="eth2")
    with pytest.raises((AttributeError, FrozenInstanceError)):
        form.ifname = "eth3"  # type: ignore[misc]
    assert form == Wait(ifname="eth2")
    assert form != Wait()
    assert len({form, Wait(ifname="eth2"), Wait()}) == 2
    assert repr(form) == "Wait(ifname='eth2', timeout=0.0)"
    with pytest.raises(TypeError):
        Detach(hostif="br1")  # type: ignore[call-arg]


@given(words)
def test_whatever_is_typed_is_a_form_or_a_mistake(typed: list[str]) -> None:
    found = form_or_code(parse, typed, there)
    assert isinstance(found, Attach | Detach | Inside | Wait) or found in (1, 255)
    assert found == form_or_code(parse, typed, there)


@given(st.text(max_size=40), st.sampled_from(["", "4", "6"]))
def test_whatever_the_address_it_has_a_meaning_or_is_a_mistake(text: str, family: str) -> None:
    found = form_or_code(address, text, family)
    assert found == 1 or isinstance(found, Dhcp) or all("/" in one for one in found.addresses)


@given(st.lists(st.ip_addresses(), min_size=1, max_size=4), st.data())
def test_every_address_is_understood_in_its_usual_form(found: list, data) -> None:
    lengths = [data.draw(st.integers(1, ip.max_prefixlen)) for ip in found]
    pairs = [f"{ip}/{length}" for ip, length in zip(found, lengths, strict=True)]
    understood = address(",".join(pairs))
    assert isinstance(understood, Static)
    assert [ip.partition("/")[2] for ip in understood.addresses] == [str(length) for length in lengths]
    again = address(",".join(understood.addresses))
    assert again == understood


@given(st.binary(min_size=6, max_size=6).filter(lambda octets: not octets[0] & 1 and any(octets)))
def test_every_unicast_mac_is_understood(octets: bytes) -> None:
    assert mac(octets.hex(":").upper()) == octets.hex(":")


@given(st.text(max_size=30))
def test_a_mac_is_right_or_a_mistake(text: str) -> None:
    try:
        found = mac(text)
    except Mistake:
        return
    assert not found or (len(bytes.fromhex(found.replace(":", ""))) == 6 and not int(found[:2], 16) & 1)


@given(st.text(max_size=30))
def test_a_mac_made_of_a_text_is_local_and_unicast(text: str) -> None:
    assert mac(f"U:{text}")[:3] == "02:"
    assert mac(f"U:{text}") == mac(f"U:{text}")
