"""Many containers at once, and Compose over two hosts."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from wefted.lab.lab import Lab

from .acceptance import wait_for, wefted
from .dockers import (
    a_network,
    inside,
    links,
    rows,
    run,
    seen_by_docker,
    two_dockers,
)

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    yield from two_dockers()


@pytest.fixture
def network(lab: Lab) -> Iterator[str]:
    yield from a_network(lab)


FIRST_INSTRUCTION = "ip -4 addr show dev eth0 | grep -q 'inet 10.64.' && ip route | grep -q '^default via 10.64.'"


class TestCrowds:
    @pytest.mark.parametrize("count", [12, pytest.param(50, marks=pytest.mark.soak)])
    def test_the_first_instruction_has_the_interface_and_its_address(self, lab: Lab, network: str, count: int) -> None:
        def try_one(number: int) -> int:
            host = lab.host(("h1", "h2")[number % 2])
            words = ["docker", "run", "--rm", "--network", network, "skel", "sh", "-c", FIRST_INSTRUCTION]
            return host.run(words, check=False).returncode

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(try_one, range(count))) == [0] * count

    @pytest.mark.parametrize("count", [24, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])])
    def test_many_at_once_leave_nothing_and_share_nothing(self, lab: Lab, network: str, count: int) -> None:
        hosts = (lab.host("h1"), lab.host("h2"))

        def start(number: int) -> str:
            host = hosts[number % 2]
            run(host, f"many{number}", network, "-p", f"{20000 + number}:80")
            return seen_by_docker(host, f"many{number}", network)[0]

        def stop(number: int) -> None:
            hosts[number % 2].run(["docker", "rm", "-f", f"many{number}"])

        with ThreadPoolExecutor(8) as pool:
            given = list(pool.map(start, range(count)))
            assert [a for a, times in Counter(given).items() if times > 1] == []
            assert len(rows(hosts[0], network)) + len(rows(hosts[1], network)) == count
            list(pool.map(stop, range(count)))
        for host in hosts:
            assert rows(host, network) == []
            wait_for(lambda h=host: [li[:3] for li in links(h)] == ["br-", "vx-"], 10, "links that are left")  # type: ignore[misc]
            table = host.run(["nft", "list", "table", "inet", "wefted"]).stdout
            assert "2000" not in table.partition("published_any4")[2].partition("}")[0]
        assert len(next(n for n in wefted(hosts[0], "network", "ls") if n["name"] == network)["blocks"]) == 2


COMPOSE = """\
version: "2.4"
services:
  {own}:
    image: skel
    container_name: {own}
    command: ["sh", "-c", "mkdir -p /tmp/w; echo {own} >/tmp/w/index.html; httpd -f -p 80 -h /tmp/w"]
    networks:
      shop:
        aliases: [{own}-alias]
networks:
  shop:
    driver: wefted
    driver_opts: {{backend: vxlan}}
    name: shop
    ipam: {{driver: wefted}}
"""


class TestCompose:
    def test_two_services_on_two_hosts(self, lab: Lab) -> None:
        if shutil.which("docker-compose") is None:
            pytest.skip("docker-compose is not installed")
        hosts = {"front": lab.host("h1"), "back": lab.host("h2")}
        for service, host in hosts.items():
            (host.root / "run/compose.yaml").write_text(COMPOSE.format(own=service))
            host.run(["docker-compose", "-f", "/run/compose.yaml", "-p", "shop", "up", "-d"])
        try:
            for service, other in (("front", "back"), ("back", "front")):
                for name in (other, f"{other}-alias"):
                    words = ("timeout", "3", "wget", "-qO-", f"http://{name}/")
                    wait_for(
                        lambda h=hosts[service], s=service, w=words, o=other: inside(h, s, *w, check=False).stdout == f"{o}\n",  # type: ignore[misc]
                        15,
                        f"{name} from {service}",
                    )
            before = seen_by_docker(hosts["front"], "front", "shop")
            hosts["front"].run(["docker-compose", "-f", "/run/compose.yaml", "-p", "shop", "stop", "-t", "1"])
            hosts["front"].run(["docker-compose", "-f", "/run/compose.yaml", "-p", "shop", "start"])
            assert seen_by_docker(hosts["front"], "front", "shop") == before
        finally:
            for host in hosts.values():
                host.run(["docker-compose", "-f", "/run/compose.yaml", "-p", "shop", "down", "-t", "1"], check=False)
        wait_for(lambda: "shop" not in {n["name"] for n in wefted(hosts["front"], "network", "ls")}, 15, "the network's end")
