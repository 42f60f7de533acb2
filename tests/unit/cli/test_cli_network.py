"""The verbs of networks: what is sent, and how the answer is printed."""

import json

import pytest

BLUE = {
    "name": "blue",
    "driver": "bridge",
    "backend": "vxlan",
    "subnets": [{"prefix": "10.20.0.0/16", "gateway": None}, {"prefix": "fd20::/64", "gateway": None}],
    "options": {},
    "endpoints": 2,
    "blocks": ["10.20.1.0/24"],
}
C1 = {"container": "netns:c1", "network": "blue", "ifname": "eth0", "addresses": ["10.20.1.2/24"], "state": "up", "error": ""}


def test_create_sends_what_was_typed(agent, run):
    agent.answers["network.create"] = BLUE
    flags = (
        "--driver ipvlan --backend vxlan --subnet 10.20.0.0/16 --subnet fd20::/64 --gateway 10.20.0.9 --ip-range 10.20.4.0/22"
    )
    more = "--aux-address 10.20.0.7 --mtu 1400 --internal --ipv6 --no-masquerade --no-isolation --label a=b"
    result = run("network", "create", "blue", *flags.split(), *more.split(), *["-o", "parent=eth0", "-o", "mode=l2"])
    assert (result.exit_code, result.output) == (0, "blue: bridge, vxlan, 10.20.0.0/16, fd20::/64\n")
    assert agent.asked == [
        (
            "network.create",
            {
                "name": "blue",
                "driver": "ipvlan",
                "backend": "vxlan",
                "subnets": ["10.20.0.0/16", "fd20::/64"],
                "gateways": ["10.20.0.9"],
                "ip_ranges": ["10.20.4.0/22"],
                "auxiliary": ["10.20.0.7"],
                "mtu": 1400,
                "internal": True,
                "ipv6": True,
                "masquerade": False,
                "isolated": False,
                "labels": {"a": "b"},
                "options": {"parent": "eth0", "mode": "l2"},
            },
        )
    ]


def test_a_network_of_ipv6_alone(agent, run):
    agent.answers["network.create"] = BLUE
    assert run("network", "create", "blue", "--no-ipv4").exit_code == 0
    assert agent.asked[0][1]["ipv4"] is False


def test_create_sends_only_what_the_operation_knows(agent, run):
    from wefted.engine.operations import OPERATIONS
    from wefted.model import codec

    agent.answers["network.create"] = BLUE
    run("network", "create", "blue")
    parameters = OPERATIONS["network.create"].parameters
    assert codec.decode(parameters, agent.asked[0][1]) == parameters(name="blue")


def test_every_flag_has_a_variable(agent, run):
    agent.answers["network.create"] = BLUE
    run("network", "create", "blue", WEFTED_NETWORK_CREATE_SUBNET="10.1.0.0/24 fd01::/64", WEFTED_NETWORK_CREATE_MTU="1300")
    assert agent.asked[0][1]["subnets"] == ["10.1.0.0/24", "fd01::/64"]
    assert agent.asked[0][1]["mtu"] == 1300


@pytest.mark.parametrize(("word", "said"), [("parent", "not KEY=VALUE"), ("=x", "not KEY=VALUE")])
def test_an_option_without_a_value_changes_nothing(agent, run, word, said):
    result = run("network", "create", "blue", "-o", word)
    assert result.exit_code == 2
    assert said in result.stderr
    assert agent.asked == []


def test_an_option_that_comes_twice_is_refused(agent, run):
    result = run("network", "create", "blue", "-o", "a=1", "-o", "a=2")
    assert result.exit_code == 2
    assert "-o a=2: a was given already" in result.stderr


def test_ls_is_a_table(agent, run):
    agent.answers["network.list"] = [BLUE]
    lines = run("network", "ls").output.splitlines()
    assert lines[0].split() == ["NAME", "DRIVER", "BACKEND", "SUBNETS", "BLOCKS", "ENDPOINTS"]
    assert lines[1].split() == ["blue", "bridge", "vxlan", "10.20.0.0/16,", "fd20::/64", "1", "2"]


@pytest.mark.parametrize("command", [["network", "ls"], ["ps"], ["host", "ls"]])
def test_json_is_passed_through(agent, run, command):
    answer = [{"name": "blüe", "anything": [1, None]}]
    agent.answers |= dict.fromkeys(["network.list", "endpoint.list", "host.list"], answer)
    assert json.loads(run(*command, "--json").output) == answer
    assert json.loads(run(*command, WEFTED_JSON="1").output) == answer


def test_inspect_is_an_outline(agent, run):
    agent.answers["network.inspect"] = [BLUE]
    result = run("network", "inspect", "blue")
    assert "name: blue\n" in result.output
    assert "  - prefix: fd20::/64\n" in result.output
    assert agent.asked == [("network.inspect", {"names": ["blue"]})]


@pytest.mark.parametrize(
    ("words", "operation", "parameters"),
    [
        (["rm", "blue", "red"], "network.remove", {"names": ["blue", "red"], "force": False}),
        (["prune"], "network.prune", {"filters": []}),
    ],
)
def test_removal_prints_the_names(agent, run, words, operation, parameters):
    agent.answers[operation] = {"removed": ["blue", "red"]}
    result = run("network", *words)
    assert result.output == "blue\nred\n"
    assert agent.asked == [(operation, parameters)]


def test_pruning_nothing_prints_nothing(agent, run):
    agent.answers["network.prune"] = {"removed": []}
    assert run("network", "prune").output == ""


def test_connect_sends_what_was_typed(agent, run):
    agent.answers["network.connect"] = [C1]
    flags = (
        "--ip 10.20.1.2 --ip6 fd20::2 --gateway-priority 7 --ifname eth1 --mac 02:00:00:00:00:01 --alias db --route 10.9.0.0/16"
        " --gateway 10.20.9.9 --default-route take --another --host-ifname web0 --publish-from none"
    )
    flags += " --dhcp --dhcp-client udhcpc-f --dhcp-option -t --dhcp-option 5"
    result = run("network", "connect", "blue", "netns:c1", *flags.split(), "-p", "80:80", "--publish", "53:53/udp")
    assert result.output.splitlines()[1].split() == ["netns:c1", "eth0", "10.20.1.2/24"]
    assert agent.asked == [
        (
            "network.connect",
            {
                "network": "blue",
                "containers": ["netns:c1"],
                "ip": ["10.20.1.2", "fd20::2"],
                "gateways": ["10.20.9.9"],
                "default_route": "take",
                "additional": True,
                "ifname": "eth1",
                "host_ifname": "web0",
                "mac": "02:00:00:00:00:01",
                "aliases": ["db"],
                "routes": ["10.9.0.0/16"],
                "publish": ["80:80", "53:53/udp"],
                "publish_from": ["none"],
                "gateway_priority": 7,
                "dhcp": True,
                "dhcp_client": "udhcpc-f",
                "dhcp_options": ["-t", "5"],
            },
        )
    ]


def test_names_come_from_standard_input_too(agent, run):
    agent.answers |= {"network.connect": [], "network.disconnect": {"disconnected": ["netns:c0", "netns:c1"]}}
    run("network", "connect", "blue", "netns:c0", "-", stdin="netns:c1\n\n netns:c2 \n")
    assert agent.asked[0][1]["containers"] == ["netns:c0", "netns:c1", "netns:c2"]
    assert run("network", "disconnect", "blue", "-", stdin="netns:c1\n").output == "netns:c0\nnetns:c1\n"
    assert agent.asked[1] == (
        "network.disconnect",
        {"network": "blue", "containers": ["netns:c1"], "ifname": "", "force": False},
    )


def test_an_empty_standard_input_is_a_usage_error(agent, run):
    result = run("network", "connect", "blue", "-", stdin="\n")
    assert (result.exit_code, agent.asked) == (2, [])


def test_a_failed_endpoint_is_a_failure(agent, run):
    agent.answers["network.connect"] = [C1, C1 | {"container": "netns:c2", "state": "failed", "error": "no such link"}]
    result = run("network", "connect", "blue", "netns:c1", "netns:c2")
    assert result.exit_code == 1
    assert result.stderr == "wefted: netns:c2 is not attached: no such link\n"
