"""ps, publish, unpublish, expose, hide: what is sent, and how the answer is printed."""

import json

import pytest

WEB = {
    "host": "h1",
    "container": "netns:web",
    "network": "blue",
    "ifname": "eth0",
    "addresses": ["10.1.0.2/24", "fd01::2/64"],
    "ports": [{"host_port": 8080, "port": 80, "protocol": "tcp", "host_ip": None}],
    "state": "up",
    "error": "",
}


def test_ps_is_a_table(agent, run):
    agent.answers["endpoint.list"] = [WEB, WEB | {"container": "netns:db", "ports": [], "state": "failed", "error": "no veth"}]
    lines = run("ps").output.splitlines()
    assert lines[0].split() == ["HOST", "CONTAINER", "NETWORK", "INTERFACE", "ADDRESSES", "PORTS", "STATE"]
    assert lines[1].split() == ["h1", "netns:web", "blue", "eth0", "10.1.0.2/24,", "fd01::2/64", "8080:80/tcp", "up"]
    assert lines[2].endswith("failed: no veth")


def test_ports_are_a_table(agent, run):
    row = {"host": "h1", "network": "blue", "container": "netns:web", **WEB["ports"][0]}
    agent.answers["endpoint.ports"] = [
        row | {"reachable_from": ["host", "others"], "sources": ["0.0.0.0/0", "::/0"], "filtered_by": None},
        row | {"host_ip": "127.0.0.1", "reachable_from": [], "sources": [], "filtered_by": ["ip filter FORWARD"]},
        row
        | {"reachable_from": ["others"], "sources": ["192.0.2.0/24"], "filtered_by": ["ip filter FORWARD"], "unfollowed": []},
        row | {"reachable_from": ["others"], "sources": ["::/0"], "filtered_by": ["a b c"], "unfollowed": ["x handle 1"]},
    ]
    head, first, second, third, fourth = run("ps", "--ports", COLUMNS="200").output.splitlines()
    assert head.split()[:6] == ["HOST", "ADDRESS", "PORT", "PROTOCOL", "CONTAINER", "NETWORK"]
    assert first.split() == ["h1", "all", "8080", "tcp", "netns:web:80", "blue", "its", "host,", "other", "hosts"]
    assert second.split() == ["h1", "127.0.0.1", "8080", "tcp", "netns:web:80", "blue", "nowhere"]
    assert third.endswith("192.0.2.0/24 (if ip filter FORWARD lets them)")
    assert fourth.endswith("::/0 (if a b c lets them; rules not followed: 1, see wefted doctor)")


def test_ps_fits_the_terminal(agent, run):
    agent.answers["endpoint.list"] = [WEB]
    assert all(len(line) <= 60 for line in run("ps", COLUMNS="60").output.splitlines())


@pytest.mark.parametrize("verb", ["publish", "unpublish"])
def test_ports_are_sent_as_typed(agent, run, verb):
    agent.answers[f"endpoint.{verb}"] = WEB
    sources = ["--from", "192.0.2.0/24", "--from", "::1"] if verb == "publish" else []
    result = run(verb, "web", "8080:80", "127.0.0.1:53:53/udp", "--network", "blue", *sources)
    assert result.output == "netns:web in blue: 8080:80/tcp\n"
    parameters = {"container": "web", "ports": ["8080:80", "127.0.0.1:53:53/udp"], "network": "blue"}
    parameters |= {"sources": sources[1::2]} if sources else {}
    assert agent.asked == [(f"endpoint.{verb}", parameters)]


def test_the_last_port_leaves_none(agent, run):
    agent.answers["endpoint.unpublish"] = WEB | {"ports": []}
    assert run("unpublish", "web", "8080:80").output == "netns:web in blue: no port is published\n"


@pytest.mark.parametrize(("verb", "told"), [("expose", "blue is exposed\n"), ("hide", "blue is hidden\n")])
def test_a_network_is_exposed_and_hidden(agent, run, verb, told):
    agent.answers[f"network.{verb}"] = {"name": "blue"}
    assert run(verb, "blue").output == told
    assert agent.asked == [(f"network.{verb}", {"name": "blue"})]
    assert json.loads(run(verb, "blue", "--json").output) == {"name": "blue"}


def test_hosts_are_a_table(agent, run):
    here = {
        "name": "h1",
        "underlay": ["192.168.50.1/24"],
        "device": "eth0",
        "mtu": 1500,
        "self": True,
        "blocks": 2,
        "endpoints": 3,
    }
    agent.answers["host.list"] = [here, here | {"name": "h2", "self": False}]
    lines = run("host", "ls").output.splitlines()
    assert lines[1].split() == ["*", "h1", "192.168.50.1/24", "eth0", "1500", "2", "3"]
    assert lines[2].split()[0] == "h2"


def test_hosts_are_inspected_and_forgotten(agent, run):
    agent.answers |= {"host.inspect": [{"name": "h2", "leases": []}], "host.remove": {"removed": ["h2"]}}
    assert run("host", "inspect", "h2").output == "name: h2\n"
    assert run("host", "rm", "h2").output == "h2\n"
    assert agent.asked == [("host.inspect", {"names": ["h2"]}), ("host.remove", {"names": ["h2"]})]
