"""The command lines of flanneld and of mk-docker-opts.sh: what Go reads, what the environment says, what comes out."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.compat import mk_docker_opts
from wefted.compat.flanneld_flags import FLAGS, Unsupported, read
from wefted.compat.flanneld_interface import advertised
from wefted.compat.goflags import Flag, FlagError, parse, usage
from wefted.store.flannel_server_url import parse_server
from wefted.store.url import EtcdSpec, parse_store_url

SOME = (Flag("name", "x", ""), Flag("count", 3, ""), Flag("on", False, ""), Flag("many", (), ""), Flag("wait", 1.5, ""))


@pytest.mark.parametrize(
    ("words", "given", "rest"),
    [
        ("-name a", {"name": "a"}, []),
        ("--name=a=b", {"name": "a=b"}, []),
        ("-on -count 0x10", {"on": True, "count": 16}, []),
        ("-on=false -on=T", {"on": True}, []),
        ("-many a --many b", {"many": ("a", "b")}, []),
        ("-wait 1h30m", {"wait": 5400.0}, []),
        ("-on true -name a", {"on": True}, ["true", "-name", "a"]),
        ("-on -- -name a", {"on": True}, ["-name", "a"]),
        ("- -name", {}, ["-", "-name"]),
    ],
)
def test_flags_are_read_as_go_reads_them(words: str, given: dict[str, Any], rest: list[str]) -> None:
    assert parse(words.split(), SOME) == (given, rest)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-nme a", "flag provided but not defined: -nme"),
        ("-name", "flag needs an argument: -name"),
        ("-count x", 'invalid value "x" for flag -count: parse error'),
        ("-on=maybe", 'invalid boolean value "maybe" for flag -on: parse error'),
        ("---name a", "bad flag syntax: ---name"),
        ("-=a", "bad flag syntax: -=a"),
        ("-wait 5", 'invalid value "5" for flag -wait: parse error'),
    ],
)
def test_mistakes_are_told_as_go_tells_them(words: str, message: str) -> None:
    with pytest.raises(FlagError) as refused:
        parse(words.split(), SOME)
    assert str(refused.value) == message


@given(st.lists(st.text() | st.sampled_from(["-name", "--count=7", "-on", "--", "-many"])))
def test_no_command_line_does_anything_but_parse_or_be_refused(words: list[str]) -> None:
    try:
        _, rest = parse(words, SOME)
    except FlagError:
        return
    assert words[len(words) - len(rest) :] == rest


def test_every_flag_is_in_the_usage() -> None:
    shown = usage("flanneld", FLAGS)
    assert all(f"  -{flag.name}" in shown for flag in FLAGS)


def test_flags_win_over_the_environment_and_that_over_the_file() -> None:
    file = 'FLANNEL_ETCD="http://old:2379"\nFLANNEL_ETCD_ENDPOINTS="http://new:2379"\nFLANNEL_ETCD_KEY=/atomic.io/network\n'
    assert read([], {}, file)["etcd-endpoints"] == "http://new:2379"
    assert read([], {}, file)["etcd-prefix"] == "/atomic.io/network"
    environment = {"FLANNELD_ETCD_ENDPOINTS": "http://env:2379", "FLANNELD_IP_MASQ": "true"}
    assert read([], environment, file)["etcd-endpoints"] == "http://env:2379"
    assert read([], environment, file)["ip-masq"] is True
    assert (
        read(["-etcd-endpoints=http://flag:2379", "-ip-masq=false"], environment, file)["etcd-endpoints"] == "http://flag:2379"
    )
    assert read(["-ip-masq=false"], environment, file)["ip-masq"] is False
    assert read([], {}, 'FLANNEL_OPTIONS="-iface=eth1 -ip-masq"')["iface"] == ("eth1",)


@pytest.mark.parametrize(
    ("words", "endpoints"),
    [
        ("", ("http://127.0.0.1:4001", "http://127.0.0.1:2379")),
        ("-etcd-endpoints=http://10.0.0.1:2379,http://10.0.0.2:2379/", ("http://10.0.0.1:2379", "http://10.0.0.2:2379")),
        ("-etcd-endpoints=https://h:1 -etcd-keyfile=/k -etcd-certfile=/c -etcd-cafile=/a", ("https://h:1",)),
    ],
)
def test_the_store_is_the_etcd_that_was_named(words: str, endpoints: tuple[str, ...]) -> None:
    spec = parse_store_url(read(words.split(), {}).store)
    assert isinstance(spec, EtcdSpec)
    assert spec.endpoints == endpoints
    assert (spec.ca, spec.cert, spec.key) == (("/a", "/c", "/k") if "-etcd-keyfile" in words else ("", "", ""))


def test_an_authority_alone_is_no_tls_and_names_are_quoted() -> None:
    words = ["-etcd-cafile=/a", "-etcd-endpoints=http://h:1", "-etcd-username=me", "-etcd-password=p@:/ss"]
    spec = parse_store_url(read(words, {}).store)
    assert isinstance(spec, EtcdSpec)
    assert (spec.ca, spec.user, spec.password) == ("", "me", "p@:/ss")


def test_several_networks_each_have_their_place_and_file() -> None:
    joins = read(["-networks=blue,green", "-etcd-prefix=/nets/"], {}).joins
    assert [(j["name"], j["prefix"], j["subnet_file"]) for j in joins] == [
        ("blue", "/nets/blue", "/run/flannel/networks/blue.env"), ("green", "/nets/green", "/run/flannel/networks/green.env"),
    ]  # fmt: skip
    (one,) = read(["-subnet-lease-renew-margin=30"], {}).joins
    assert (one["name"], one["prefix"], one["renew_margin"]) == ("flannel", "/coreos.com/network", 1800.0)


def test_the_api_of_etcd_is_found_unless_it_is_told() -> None:
    assert read([], {}).joins[0]["api"] == "auto"
    assert read(["-etcd-api=2"], {}).joins[0]["api"] == "2"
    assert read([], {"FLANNELD_ETCD_API": "3"}).joins[0]["api"] == "3"
    watch = read(["-watch-networks", "--etcd-api", "2"], {}).watch
    assert watch is not None
    assert watch["api"] == "2"
    with pytest.raises(Unsupported, match="none of 2, 3, auto"):
        read(["-etcd-api=v2"], {})


def test_all_networks_under_a_prefix_or_some_of_them_are_watched() -> None:
    settings = read(["-watch-networks", "-networks=blue,green", "-etcd-prefix=nets", "-ip-blackhole-route", "-ip-masq"], {})
    ((operation, watch),) = settings.calls
    assert (operation, watch["prefix"], watch["only"]) == ("flannel.watch", "/nets", ["blue", "green"])
    assert (watch["blackhole"], watch["masquerade"], watch["subnet_dir"]) == (True, True, "/run/flannel/networks")
    assert read([], {}).calls == [("flannel.join", read([], {}).joins[0])]


@pytest.mark.parametrize(
    "words", ["-kube-subnet-mgr", "-kube-api-url=x", "-listen=:1 -remote=a:1", "-subnet-lease-renew-margin=0"]
)
def test_what_we_do_not_do_is_said(words: str) -> None:
    with pytest.raises(Unsupported):
        read(words.split(), {})


def test_a_server_is_named_in_place_of_etcd() -> None:
    assert read([], {}).joins[0]["remote"] == ""
    assert read(["-remote=10.0.0.3:8888"], {}).joins[0]["remote"] == "10.0.0.3:8888"
    blue, green = read(["-remote=10.0.0.3:8888", "-networks=blue,green"], {"FLANNELD_REMOTE_CAFILE": "/ca file"}).joins
    assert (blue["remote"], green["remote"]) == tuple(f"https://10.0.0.3:8888/{n}?ca=/ca%20file" for n in ("blue", "green"))
    assert parse_server(green["remote"]).base == "https://10.0.0.3:8888/v1/green/"
    watch = read(["-remote=h", "-watch-networks", "-remote-certfile=/c", "-remote-keyfile=/k"], {}).watch
    assert watch is not None
    found = parse_server(watch["remote"]).members
    assert (found.endpoints, found.cert, found.key) == (("https://h:8888",), "/c", "/k")


LINKS = [
    ("eth0", ip_interface("192.0.2.1/24")),
    ("eth1", ip_interface("198.51.100.7/24")),
    ("eth1", ip_interface("fd01::7/64")),
]


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ("", ""),
        ("-iface=eth1", "198.51.100.7"),
        ("-iface=wlan0 -iface=192.0.2.1", "192.0.2.1"),
        ("-iface=wlan0 -iface-regex=^198", "198.51.100.7"),
        ("-iface-regex=eth[01]", "192.0.2.1"),
        ("-iface-can-reach=203.0.113.1", "192.0.2.1"),
    ],
)
def test_the_interface_is_chosen_by_flannels_rules(words: str, address: str) -> None:
    assert advertised(read(words.split(), {}), LINKS, lambda _: ip_address("192.0.2.1")) == address


@pytest.mark.parametrize("words", ["-iface=wlan0", "-iface-regex=^203", "-iface-can-reach=203.0.113.1"])
def test_an_interface_that_is_not_there_is_an_error(words: str) -> None:
    with pytest.raises(Unsupported, match="Failed to find interface"):
        advertised(read(words.split(), {}), LINKS, lambda _: None)


ENV = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n"


def docker_opts(tmp_path: Path, *words: str, env: str = ENV) -> tuple[int, str]:
    """Run the script on a file; return its exit code and what it wrote."""
    (tmp_path / "subnet.env").write_text(env)
    out = tmp_path / "docker"
    code = mk_docker_opts.main(["-f", str(tmp_path / "subnet.env"), "-d", str(out), *words])
    return code, out.read_text() if out.exists() else ""


INDIVIDUAL = 'DOCKER_OPT_BIP="--bip=10.1.74.1/24"\nDOCKER_OPT_IPMASQ="--ip-masq=true"\nDOCKER_OPT_MTU="--mtu=1472"\n'
COMBINED = 'DOCKER_OPTS=" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472"\n'


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", INDIVIDUAL + COMBINED),
        ("-i", INDIVIDUAL),
        ("-c", COMBINED),
        ("-c -m", 'DOCKER_OPTS=" --bip=10.1.74.1/24 --mtu=1472"\n'),
        ("-c -k DOCKER_NETWORK_OPTIONS", COMBINED.replace("DOCKER_OPTS", "DOCKER_NETWORK_OPTIONS")),
    ],
)
def test_docker_options_are_the_scripts(tmp_path: Path, words: str, text: str) -> None:
    assert docker_opts(tmp_path, *words.split()) == (0, text)


def test_what_the_key_had_before_stands_in_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_OPTS", "--debug")
    assert docker_opts(tmp_path, "-c")[1] == COMBINED.replace('" --bip', '"--debug --bip')


def test_a_file_that_is_wrong_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert docker_opts(tmp_path, env=ENV.replace("false", "perhaps")) == (1, "")
    assert capsys.readouterr().err == "Invalid value of FLANNEL_IPMASQ: perhaps\n"
    assert docker_opts(tmp_path, "-h")[0] == 1
    assert "[-k COMBINED-KEY]" in capsys.readouterr().err


def test_a_subnet_that_another_host_has_is_refused() -> None:
    routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
    own = "docker0\t004A010A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"
    foreign = "flannel.1\t004A010A\t004A010A\t0003\t0\t0\t0\t00FFFFFF\n"
    mk_docker_opts._own_subnet("10.1.74.1/24", routes + own)
    with pytest.raises(mk_docker_opts.Mistake, match=r"10\.1\.74\.0/24 is reached through another host"):
        mk_docker_opts._own_subnet("10.1.74.1/24", routes + foreign)


@pytest.mark.parametrize(
    ("environment", "file"), [({}, "/run/flannel/wgkey"), ({"WIREGUARD_KEY_FILE": "/etc/wgkey"}, "/etc/wgkey")]
)
def test_the_key_of_wireguard_is_where_flannels_variable_says(environment: dict[str, str], file: str) -> None:
    assert [join["key_file"] for join in read([], environment).joins] == [file]
    watch = read(["-watch-networks"], environment).watch
    assert watch is not None
    assert watch["key_file"] == file
