"""Leaving: a host is as it was before wefted came, to the last sysctl."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import container, lab_name, rows_of, wait_for, wefted

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

LOOK = """
import json
from wefted.testing.snapshot import snapshot
print(json.dumps(snapshot(), default=sorted))
"""


def look(host: Host) -> Any:
    found = json.loads(host.run([sys.executable, "-c", LOOK]).stdout)
    found["files"] = [path for path in found["files"] if path != "/var/lib/wefted"]  # the lab's disk for it
    return found


def test_uninstall_leaves_the_host_as_it_was() -> None:
    with Lab.up(lab_name("leave"), 2, agent=False) as lab:
        h1, h2 = lab.host("h1"), lab.host("h2")
        for name in ("c1", "c2", "c3"):
            container(h1, name)
        wait_for(lambda: "tentative" not in h1.run(["ip", "addr"]).stdout, 5, "the kernel's own addresses")
        before = look(h1)
        for host in (h1, h2):
            store = "etcd://192.168.50.254:2379"
            wefted(host, "up", "--store", store, "--advertise", str(host.address))
        wefted(h1, "network", "create", "one", "--ipv6")
        wefted(h1, "network", "create", "two", "--backend", "vxlan")
        wefted(h1, "network", "create", "lan", "--driver", "macvlan", "-o", "parent=eth0", "--subnet", "192.168.50.0/24")
        wefted(h1, "network", "create", "point", "--driver", "ptp")
        wefted(h1, "network", "connect", "one", "netns:c1", "--publish", "8080-8090:80-90")
        wefted(h1, "network", "connect", "two", "netns:c2")
        wefted(h1, "network", "connect", "point", "netns:c2")
        wefted(h1, "network", "connect", "lan", "netns:c3", "--ip", "192.168.50.77")
        wefted(h2, "network", "connect", "two", container(h2, "c1"))
        rows_of(h1, 5)
        planned = wefted(h1, "uninstall", "--plan")["changes"]
        assert {"Bridge", "Veth", "Vxlan", "Macvlan", "NftTable", "Sysctl"} <= {change["kind"] for change in planned}
        assert len(wefted(h1, "ps")) == 5, "showing the plan changed nothing"
        wefted(h1, "uninstall", "--yes")
        after = look(h1)
        for part in before:
            assert after[part] == before[part], part
        assert not h1.run(["find", "/var/lib/wefted", "/run/wefted", "-mindepth", "1"], check=False).stdout
        rows_of(h2, 1)
        wait_for(lambda: [row["name"] for row in wefted(h2, "host", "ls")] == ["h2"], 5, "the cluster has forgotten the host")
