"""The specification's own example of a network, through every verb."""

from __future__ import annotations

from .fake_engine import Host


async def test_the_examples_of_the_specification() -> None:
    """The network `dbnet` (SPEC.md 1.1.0, Appendix: Examples), whose first plugin is ours: as a runtime sends it for each verb.

    The plugins after us, `tuning` and `portmap`, hand our result on with theirs, and it comes back with CHECK and DEL.
    """
    host = await Host.start("c1")
    config = {
        "cniVersion": "1.1.0",
        "name": "dbnet",
        "type": "wefted",
        "bridge": "cni0",
        "keyA": ["some more", "plugin specific", "configuration"],
        "ipam": {
            "type": "host-local",
            "subnet": "10.1.0.0/16",
            "gateway": "10.1.0.1",
            "routes": [{"dst": "0.0.0.0/0"}],
        },
        "dns": {"nameservers": ["10.1.0.1"]},
        "isGateway": True,
    }
    result = await host.done("ADD", config)
    assert result["ips"] == [{"address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 1}]
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]
    assert result["dns"] == {"nameservers": ["10.1.0.1"]}
    tuned = {**result, "interfaces": [dict(interface, mac="00:11:22:33:44:66") for interface in result["interfaces"]]}
    assert await host.done("CHECK", {**config, "prevResult": result}) is None
    assert await host.done("DEL", {**config, "prevResult": tuned}) is None
    assert await host.done("DEL", {**config, "prevResult": tuned}) is None
    assert await host.rows() == []
    assert await host.done("GC", {**config, "cni.dev/valid-attachments": []}) is None
    assert await host.done("STATUS", config) is None
