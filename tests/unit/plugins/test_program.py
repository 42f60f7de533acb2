"""The program in C: what it hands over, what it prints, and that nothing an engine or an agent does can break it.

Every test runs twice: as it is shipped, and with the compiler's checks of addresses and undefined behaviour.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wefted.plugins.cni import VERSIONS
from wefted.plugins.native import MARK, SOURCE

from .small_agent import compiled, ok

CONFIG = b'{"a": {"cniVersion": "9"}, "x\\"": [1, {"b": "}"}], "cniVersion" : "0.4.0", "name": "net1"}'


@pytest.fixture(scope="module", params=["shipped", "checked"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program; skipped where there is no compiler, or none that checks."""
    return compiled(SOURCE, tmp_path_factory.mktemp("native") / "wefted-cni", checked=request.param == "checked")


def run(program: Path, folder: Path, command: str = "ADD", config: bytes = CONFIG, **variables: str) -> Any:
    environment = {
        "PATH": str(folder),
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "c1",
        "WEFTED_RUNTIME_DIR": str(folder),
        **variables,
    }
    return subprocess.run([program], input=config, env=environment, capture_output=True, timeout=60)


def error(done: Any) -> dict[str, Any]:
    """Return the error of the specification that it printed."""
    assert done.returncode == 1, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert set(found) == {"cniVersion", "code", "msg", "details"}
    return found


def test_it_hands_over_all_and_prints_the_result(built, folder, serve) -> None:
    agent = serve(ok(b'{"exit_code": 0, "output": {"cniVersion": "0.4.0", "ips": []}}'))
    awkward = bytes(range(1, 256)) + CONFIG
    done = run(built, folder, config=awkward, CNI_ARGS='a="b";c=\\;\u00e9', SECRET="x")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"cniVersion": "0.4.0", "ips": []})
    head, _, body = agent.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/cni HTTP/1.1\r\n")
    told = json.loads(body)
    assert told["input"].encode("latin-1") == awkward
    assert set(told["environment"]) == {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_ARGS"}


def test_nothing_is_printed_for_null(built, folder, serve) -> None:
    serve(ok(b'{"exit_code": 0, "output": null}'))
    done = run(built, folder, "DEL")
    assert (done.returncode, done.stdout) == (0, b"")


def test_an_error_of_the_agent_is_printed_as_it_is(built, folder, serve) -> None:
    serve(ok(b'{"exit_code": 1, "output": {"cniVersion": "0.4.0", "code": 7, "msg": "no", "details": ""}}'))
    assert error(run(built, folder))["code"] == 7


def test_versions_need_no_agent(built, folder) -> None:
    done = run(built, folder, "VERSION")
    assert json.loads(done.stdout) == {"cniVersion": "0.4.0", "supportedVersions": list(VERSIONS)}
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("config", "version"),
    [
        (CONFIG, "0.4.0"),
        (b'{"cniVersion":"1.0.0"}', "1.0.0"),
        (b'{"cniVersion": 7}', "1.1.0"),
        (b'{"cniVersion"', "1.1.0"),
        (b'{"cniVersion":', "1.1.0"),
        (b'{"cniVersion": "', "1.1.0"),
        (b'{"cniVersion": "\\', "1.1.0"),
        (b'{"cniVersion": "' + b"9" * 5000 + b'"}', "1.1.0"),
        (b"", "1.1.0"),
        (b"}}}]]]", "1.1.0"),
        (b'"' * 999, "1.1.0"),
    ],
)
def test_without_an_agent_and_without_wefted_the_error_is_in_its_version(built, folder, config, version) -> None:
    found = error(run(built, folder, config=config))
    assert (found["code"], found["cniVersion"]) == (11, version)
    assert "no agent listens" in found["msg"]


def test_without_an_agent_wefted_does_it(built, folder) -> None:
    script = folder / "wefted"
    script.write_text('#!/bin/sh\n/bin/echo "$1 $CNI_COMMAND"; exec /bin/cat\n')
    script.chmod(0o755)
    done = run(built, folder)
    assert (done.returncode, done.stdout) == (0, b"cni ADD\n" + CONFIG)


def test_a_file_beside_it_says_where_everything_is(built, folder, tmp_path, serve) -> None:
    program = tmp_path / "wefted"
    shutil.copy(built, program)
    Path(f"{program}.command").write_text(f"{folder}/wefted.sock\n/bin/false\n")
    environment = {"CNI_COMMAND": "DEL", "PATH": ""}
    assert subprocess.run([program], input=CONFIG, env=environment).returncode == 1, "/bin/false"
    serve(ok(b'{"exit_code": 0, "output": null}'))
    assert subprocess.run([program], input=CONFIG, env=environment).returncode == 0


BROKEN = {
    "nothing": b"",
    "no HTTP": b"hello",
    "no body": b"HTTP/1.1 200 OK\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "refused": b'HTTP/1.1 500 Internal Server Error\r\n\r\n{"error": {}}',
    "another frame": ok(b'{"output": null, "exit_code": 0}'),
    "no code": ok(b'{"exit_code": x, "output": null}'),
    "a negative code": ok(b'{"exit_code": -1, "output": null}'),
    "a huge code": ok(b'{"exit_code": 99999999999999999999, "output": null}'),
    "no end": ok(b'{"exit_code": 0, "output": {"a": 1'),
    "only the frame": ok(b'{"exit_code": 0, "output": '),
    "a NUL": ok(b'{"exit_code": 0, "output": "\0"}'),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_is_broken(built, folder, serve, answer) -> None:
    serve(answer)
    assert error(run(built, folder))["code"] == 11


def test_an_answer_that_never_ends_is_not_swallowed(built, folder, serve) -> None:
    def pour(connection: socket.socket, _: bytes) -> None:
        while True:
            connection.sendall(b"x" * 65536)

    serve(pour)
    assert error(run(built, folder))["code"] == 11


def test_an_agent_that_is_slow_is_waited_for_and_one_that_is_dead_is_not(built, folder, serve) -> None:
    release = threading.Event()

    def hold(connection: socket.socket, _: bytes) -> None:
        release.wait(30)
        connection.sendall(ok(b'{"exit_code": 0, "output": null}'))

    serve(hold)
    start = time.monotonic()
    found = error(run(built, folder, WEFTED_CNI_PATIENCE_MS="300"))
    assert (found["code"], "300 ms" in found["msg"]) == (11, True)
    assert time.monotonic() - start < 20
    release.set()
    assert run(built, folder).returncode == 0


def test_an_agent_that_takes_no_connection(built, folder) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "wefted.sock"))
        listener.listen(0)
        held = []
        for _ in range(3):
            waiting = socket.socket(socket.AF_UNIX)
            waiting.setblocking(False)
            waiting.connect_ex(str(folder / "wefted.sock"))
            held.append(waiting)
        assert error(run(built, folder, WEFTED_CNI_PATIENCE_MS="300"))["code"] == 11
        for waiting in held:
            waiting.close()


def test_a_configuration_that_is_huge_or_never_comes(built, folder) -> None:
    assert error(run(built, folder, config=b" " * 3_000_000))["code"] == 6
    pipe = os.pipe()
    environment = {"CNI_COMMAND": "ADD", "WEFTED_CNI_PATIENCE_MS": "300"}
    done = subprocess.run([built], stdin=pipe[0], env=environment, capture_output=True, timeout=60)
    assert error(done)["code"] == 11
    for descriptor in pipe:
        os.close(descriptor)


def test_a_configuration_of_the_largest_size(built, folder, serve) -> None:
    agent = serve(ok(b'{"exit_code": 0, "output": null}'))
    config = b"\xff" * (1024 * 1024)
    assert run(built, folder, config=config).returncode == 0
    assert len(json.loads(agent.requests[0].partition(b"\r\n\r\n")[2])["input"]) == len(config)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(config=st.binary(max_size=200) | st.text('{}[]":,\\cniVersion01. ', max_size=60).map(str.encode))
def test_whatever_the_configuration_is_it_answers(built, folder, config) -> None:
    assert run(built, folder, "VERSION", config).returncode == 0
    assert error(run(built, folder, config=config))["code"] == 11


# -- the other names -----------------------------------------------------------------------------------------------------


def named(program: Path, folder: Path, name: str) -> Path:
    link = folder / name
    link.symlink_to(program)
    return link


def test_as_a_hook_it_hands_over_the_state(built, folder, serve) -> None:
    agent = serve(ok(b'{"exit_code": 1, "output": {"error": "no such network", "hint": ""}}'))
    hook = named(built, folder, "wefted-oci-hook")
    done = subprocess.run([hook], input=b'{"id": "x"}', env={"WEFTED_RUNTIME_DIR": str(folder)}, capture_output=True)
    assert (done.returncode, done.stdout, b"no such network" in done.stderr) == (1, b"", True)
    assert agent.requests[0].startswith(b"POST /v1/oci-hook ")
    assert json.loads(agent.requests[0].partition(b"\r\n\r\n")[2]) == {"environment": {}, "input": '{"id": "x"}'}


RUNC = """#!/bin/sh
/bin/echo "$@" >>{log}
[ "$3" != create ] || /bin/echo 4242 >{pid}
"""


@pytest.mark.parametrize("code", [0, 1])
def test_as_a_runtime_it_attaches_before_create_returns(built, folder, serve, code) -> None:
    agent = serve(ok(b'{"exit_code": %d, "output": null}' % code))
    pid, log = folder / "pid", folder / "log"
    (folder / "runc").write_text(RUNC.format(log=log, pid=pid))
    (folder / "runc").chmod(0o755)
    runtime = named(built, folder, "wefted-runc")
    words = ["--root", "/r", "create", "--bundle", "/b", "--pid-file", str(pid), "web1"]
    environment = {"WEFTED_RUNTIME_DIR": str(folder), "PATH": str(folder)}
    done = subprocess.run([runtime, *words], env=environment, capture_output=True)
    assert done.returncode == code, done.stderr
    state = json.loads(json.loads(agent.requests[0].partition(b"\r\n\r\n")[2])["input"])
    assert (state["id"], state["pid"], state["bundle"]) == ("web1", 4242, "/b")
    undone = ["--root /r delete --force web1"] if code else []
    assert log.read_text().splitlines() == [" ".join(words), *undone]
    assert subprocess.run([runtime, "state", "web1"], env=environment).returncode == 0
    assert len(agent.requests) == 1


def test_it_can_be_told_from_other_programs(built) -> None:
    assert MARK in built.read_bytes()
