"""A flannel server: what it answers, to real clients and to any bytes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wefted.agent.flannel_server import LARGEST
from wefted.agent.http import Request
from wefted.engine.flannel_news import KEPT
from wefted.model.records import Delete, Put

from .flannel_served import CONFIG, DEADLINE, PREFIX, Served


def key_of(lease: dict[str, Any]) -> str:
    return str(lease["Subnet"]).replace("/", "-")


async def test_a_host_gets_the_lease_that_it_has(served: Served) -> None:
    first = await served.lease("192.0.2.1", data={"a": 1})
    again = await served.lease("192.0.2.1", data={"a": 2})
    other = await served.lease("192.0.2.2")
    assert first["Subnet"] == again["Subnet"] != other["Subnet"]
    keys = await served.keys()
    assert keys[key_of(first)] == {"PublicIP": "192.0.2.1", "PublicIPv6": None, "BackendData": {"a": 2}}
    assert len(keys) == 2


async def test_two_hosts_of_one_address_are_told_apart_where_they_say_who_they_are(served: Served) -> None:
    """Flannel gives both the same subnet."""
    one, two = [await served.lease("10.0.2.15", node) for node in ("n1", "n2")]
    assert one["Subnet"] != two["Subnet"]
    assert await served.lease("10.0.2.15", "n1") | {"Expiration": ""} == one | {"Expiration": ""}
    assert (await served.lease("192.0.2.9", "n2"))["Subnet"] == two["Subnet"], "its address has changed"
    nameless = await served.lease("10.0.2.15")
    assert nameless["Subnet"] not in (one["Subnet"], two["Subnet"])
    assert (await served.ask("DELETE", f"_/leases/{key_of(one)}", node="n2"))[0] == 409
    assert (await served.ask("PUT", f"_/leases/{key_of(one)}", one, "n2"))[0] == 409


async def test_a_renewal_takes_nothing_from_others_and_brings_back_what_was_lost(served: Served) -> None:
    """Flannel's writes over whatever is there."""
    lease = await served.lease("192.0.2.1")
    await served.root.write([Delete(f"{PREFIX}subnets/{key_of(lease)}")])
    status, found = await served.ask("PUT", f"_/leases/{key_of(lease)}", lease)
    assert (status, found["Subnet"]) == (200, lease["Subnet"])
    stranger = {**lease, "Attrs": {"PublicIP": "192.0.2.2"}}
    assert await served.ask("PUT", f"_/leases/{key_of(lease)}", stranger) == (
        409, f"{lease['Subnet']} is the lease of another host",
    )  # fmt: skip
    outside = {**stranger, "Subnet": "10.6.0.0/24"}
    assert (await served.ask("PUT", "_/leases/10.6.0.0-24", outside))[0] == 500
    assert (await served.ask("PUT", "_/leases/10.5.9.0-24", outside))[0] == 400
    assert (await served.keys())[key_of(lease)]["PublicIP"] == "192.0.2.1"


async def test_fifty_hosts_at_once_get_fifty_subnets(served: Served) -> None:
    found = await asyncio.gather(*(served.lease(f"192.0.2.{number}") for number in range(1, 51)))
    assert len({lease["Subnet"] for lease in found}) == 50
    assert {value["PublicIP"] for value in (await served.keys()).values()} == {f"192.0.2.{n}" for n in range(1, 51)}


async def test_reservations_are_made_held_and_ended(served: Served) -> None:
    reservation = {"Subnet": "10.5.7.0/24", "PublicIP": "192.0.2.1"}
    assert await served.ask("POST", "_/reservations", reservation) == (200, "")
    assert await served.ask("GET", "_/reservations") == (200, [reservation])
    lease = await served.lease("192.0.2.1")
    assert (lease["Subnet"], lease["Expiration"]) == ("10.5.7.0/24", "0001-01-01T00:00:00Z")
    assert (await served.ask("PUT", "_/leases/10.5.7.0-24", lease))[1]["Expiration"] == "0001-01-01T00:00:00Z"
    assert (await served.lease("192.0.2.2"))["Subnet"] != "10.5.7.0/24"
    taken = await served.ask("POST", "_/reservations", {**reservation, "PublicIP": "192.0.2.2"})
    assert taken == (409, "subnet: lease already taken")
    for subnet, words in (("10.5.7.0/25", "mask incompatible"), ("10.6.7.0/24", "outside")):
        status, text = await served.ask("POST", "_/reservations", {**reservation, "Subnet": subnet})
        assert (status, words in text) == (500, True)
    assert await served.ask("DELETE", "_/reservations/10.5.7.0-24") == (200, "")
    assert await served.ask("GET", "_/reservations") == (200, [])
    assert (await served.lease("192.0.2.1"))["Expiration"] != "0001-01-01T00:00:00Z"
    assert (await served.ask("DELETE", "_/reservations/10.5.99.0-24"))[0] == 500


async def test_news_come_by_cursors_of_all_leases_and_of_one(served: Served) -> None:
    lease = await served.lease("192.0.2.1")
    _, start = await served.ask("GET", "_/leases")
    assert (start["events"], [each["Subnet"] for each in start["snapshot"]]) == (None, [lease["Subnet"]])
    _, own = await served.ask("GET", f"_/leases/{key_of(lease)}")
    waiting = asyncio.create_task(served.ask("GET", f"_/leases/{key_of(lease)}?next={own['cursor']}"))
    other = await served.lease("192.0.2.2")
    _, seen = await served.ask("GET", f"_/leases?next={start['cursor']}")
    assert (seen["snapshot"], [(e["type"], e["lease"]["Subnet"]) for e in seen["events"]]) == (
        None,
        [("added", other["Subnet"])],
    )
    assert not waiting.done(), "what happens to others is no news of this one"
    assert await served.ask("DELETE", f"_/leases/{key_of(lease)}") == (200, "")
    _, gone = await waiting
    assert [(e["type"], e["lease"]["Subnet"]) for e in gone["events"]] == [("removed", lease["Subnet"])]
    _, late = await served.ask("GET", f"_/leases/{key_of(lease)}?next=1")
    assert [e["type"] for e in late["events"]] == ["removed"], "too old a cursor, and it is gone meanwhile"
    assert (await served.ask("GET", f"_/leases/{key_of(lease)}"))[0] == 500


async def test_a_cursor_of_an_earlier_server_or_of_long_ago_gets_everything(served: Served) -> None:
    lease = await served.lease("192.0.2.1")
    _, before = await served.ask("GET", "_/leases")
    await served.stop()
    await served.start()
    _, after = await served.ask("GET", f"_/leases?next={before['cursor']}")
    assert (after["events"], [each["Subnet"] for each in after["snapshot"]]) == (None, [lease["Subnet"]])
    news = (await served.networks.network("_")).news
    for number in range(KEPT + 1):
        news._tell("x", None if number % 2 else news.now[f"{PREFIX}subnets/{key_of(lease)}"])
    assert (await news.after(int(after["cursor"])))[1] is None
    assert (await news.after(news.cursor + 5))[1] is None, "a clock that was set back"


async def test_networks_are_listed_and_watched(served: Served) -> None:
    _, start = await served.ask("GET", "")
    assert (start["events"], start["snapshot"]) == (None, ["blue"])
    waiting = asyncio.create_task(served.ask("GET", f"?next={start['cursor']}"))
    await served.root.write([Put(f"{PREFIX}red/config", CONFIG)])
    _, seen = await waiting
    assert [(e["type"], e["network"]) for e in seen["events"]] == [("added", "red")]
    await served.root.write([Delete(f"{PREFIX}blue/config")])
    _, gone = await served.ask("GET", f"?next={seen['cursor']}")
    assert [(e["type"], e["network"]) for e in gone["events"]] == [("removed", "blue")]
    assert (await served.ask("POST", "red/leases", {"PublicIP": "192.0.2.1"}))[0] == 200
    assert set((await served.root.read(f"{PREFIX}red/subnets/")).items) != set()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "none/config", None, 500),
        ("GET", "a%2Fb/config", None, 404),
        ("GET", "_/nothing", None, 404),
        ("GET", "_/config/x", None, 404),
        ("PUT", "_/config", None, 405),
        ("POST", "_/leases/10.5.1.0-24", {}, 405),
        ("POST", "_/leases", "x", 400),
        ("POST", "_/leases", {"PublicIP": "here"}, 400),
        ("POST", "_/leases", {"PublicIP": "192.0.2.1", "BackendType": 7}, 400),
        ("POST", "_/leases", {"PublicIP": "192.0.2.1", "BackendData": "x" * LARGEST}, 413),
        ("GET", "_/leases/10.5.1.0", None, 400),
        ("GET", "_/leases/10.5.1.0-24&fd00::-64", None, 400),
        ("DELETE", "_/leases/10.5.1.0-24", None, 500),
        ("GET", "_/leases?next=x", None, 400),
        ("GET", "_/leases?next=", None, 400),
        ("POST", "_/reservations", {"Subnet": "10.5.1.0"}, 400),
    ],
)
async def test_what_cannot_be_is_answered_and_changes_nothing(
    served: Served, method: str, path: str, body: Any, status: int
) -> None:
    found, text = await served.ask(method, path, body)
    assert (found, isinstance(text, str) and text != "") == (status, True), text
    assert await served.keys() == {}


async def test_ipv6_is_not_in_this_api(served: Served) -> None:
    both = b'{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc05::/48"}'
    await served.root.write([Put(f"{PREFIX}config", both)])
    status, text = await served.ask("POST", "_/leases", {"PublicIP": "192.0.2.1"})
    assert (status, "IPv6" in text) == (500, True)
    assert await served.keys() == {}


WORDS = st.sampled_from(["_", "blue", "config", "leases", "reservations", "10.5.1.0-24", "..", "%00", "", "v1", "%C3%A9"])
BODIES = st.binary(max_size=40) | st.sampled_from([b'{"PublicIP":"192.0.2.1"}', b"[" * 5000, b"null", b"{}"])


@settings(deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]),
    st.lists(WORDS | st.text(max_size=5), max_size=5),
    st.text(max_size=10),
    BODIES,
    st.text(max_size=70),
)
def test_any_request_gets_an_answer(method: str, words: list[str], query: str, body: bytes, node: str) -> None:
    async def once() -> None:
        served = Served()
        await served.root.write([Put(f"{PREFIX}config", CONFIG)])
        await served.start()
        found = await asyncio.wait_for(
            served.http.answer(Request(method, "/" + "/".join(words), body, query, {"wefted-node": node})), DEADLINE
        )
        assert found.status in (200, 400, 404, 405, 409, 413, 500)
        assert b"a defect" not in found.body
        await served.stop()
        await served.root.close()

    asyncio.run(once())


async def test_a_client_that_goes_leaves_nothing_behind(served: Served) -> None:
    _, start = await served.ask("GET", "_/leases")
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(f"GET /v1/_/leases?next={start['cursor']} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    async with asyncio.timeout(DEADLINE):
        while not served.http.running:
            await asyncio.sleep(0)
        (task,) = served.http.running
        writer.close()
        await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("is_listening", [True, False])
def test_a_socket_that_systemd_passes_must_listen(is_listening: bool) -> None:
    """What is passed is descriptor 3; a pytest has something else there, so a child of its own looks at it."""
    script = (
        "import os, socket, sys\n"
        "from wefted.agent.flannel_listen import listener\n"
        "from wefted.errors import UsageError\n"
        f"sock = socket.create_server(('127.0.0.1', 0)) if {is_listening} else socket.socket()\n"
        "os.dup2(sock.fileno(), 3)\n"
        "for text, pid in (('fd://', 7), ('fd://3', 7), ('fd://4', 7), ('fd://', 8)):\n"
        "    try:\n"
        "        print(listener(text, {'LISTEN_FDS': '1', 'LISTEN_PID': '7'}, pid).detach())\n"
        "    except UsageError as error:\n"
        "        print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    passed = "3" if is_listening else "-listen: fd 3 was not socket activated"
    *first, beyond, others = done.stdout.splitlines()
    assert first == [passed, passed]
    assert (beyond, others) == ("-listen: fd 4 is out of range (4)", "-listen: fd 3 is out of range (3)")


async def test_leases_are_given_back_also_when_the_configuration_is_gone(served: Served) -> None:
    lease = await served.lease("192.0.2.1")
    await served.root.write([Delete(f"{PREFIX}config")])
    assert (await served.ask("GET", "_/leases"))[0] == 200
    assert (await served.ask("POST", "_/leases", {"PublicIP": "192.0.2.2"}))[0] == 500
    assert await served.ask("DELETE", f"_/leases/{key_of(lease)}") == (200, "")
    assert await served.keys() == {}
