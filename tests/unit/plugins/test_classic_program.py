"""A classic command in C: what it hands over, what it prints, and when it becomes the Python that does the same.

Every test runs twice: as it is shipped, and with the compiler's checks of addresses and undefined behaviour.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from wefted.compat import install
from wefted.plugins import native

from .small_agent import compiled, ok

PYTHON = """#!/bin/sh
shift 4
/bin/echo "python $*"
"""


@pytest.fixture(scope="module", params=["shipped", "checked"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program, without what is appended to it."""
    return compiled(
        native.CLASSIC_SOURCE, tmp_path_factory.mktemp("native") / "wefted-classic", checked=request.param == "checked"
    )


@pytest.fixture
def pipework(built: Path, folder: Path) -> Path:
    """The program as it is installed, for an interpreter that tells that it was started."""
    python = folder / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    program = folder / "pipework"
    program.write_bytes(built.read_bytes() + f"\n{install.MARK}\n{python}\n/home of it\npipework\n".encode())
    program.chmod(0o755)
    return program


def run(program: Path, *words: str, **variables: str) -> Any:
    environment = {"WEFTED_RUNTIME_DIR": str(program.parent), "WEFTED_CONFIG": f"{program.parent}/none.toml", **variables}
    return subprocess.run([program, *words], env=environment, capture_output=True, text=True, timeout=60)


def test_it_hands_over_its_words_and_prints_what_comes_back(pipework, serve) -> None:
    out, error = 'Syntax:\n\t\u00c3\u00a9 "\\ \u0001', "no\n"
    agent = serve(ok(json.dumps({"exit_code": 17, "output": [out, error]}).encode()))
    done = run(pipework, "br1", "", "c1 x", "é\n")
    assert (done.returncode, done.stdout, done.stderr) == (17, out.encode("latin-1").decode(), error)
    head, _, body = agent.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/pipework HTTP/1.1\r\n")
    assert json.loads(body)["input"].encode("latin-1") == "br1\0\0c1 x\0é\n\0".encode()


def test_no_words(pipework, serve) -> None:
    agent = serve(ok(b'{"exit_code": 0, "output": ["", ""]}'))
    done = run(pipework)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads(agent.requests[0].partition(b"\r\n\r\n")[2]) == {"input": ""}


def test_without_an_agent_it_becomes_python(pipework) -> None:
    assert run(pipework, "br1", "c1 x", "0/0").stdout == "python /home of it pipework br1 c1 x 0/0\n".replace(
        "python ", "python "
    )


ELSEWHERE = {
    "the process has to do it": ok(b'{"exit_code": -1, "output": null}'),
    "an agent that is older": b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("answer", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_it_becomes_python_where_it_is_told_to(pipework, serve, answer) -> None:
    serve(answer)
    assert run(pipework, "--wait").stdout == "python /home of it pipework --wait\n"


def test_with_a_settings_file_it_becomes_python(pipework, serve, tmp_path) -> None:
    agent = serve(ok(b'{"exit_code": 0, "output": ["", ""]}'))
    file = tmp_path / "wefted.toml"
    file.touch()
    assert run(pipework, "br1", WEFTED_CONFIG=str(file)).stdout == "python /home of it pipework br1\n"
    assert agent.requests == []


BROKEN = {
    "nothing": b"",
    "no HTTP": b"hello",
    "no body": b"HTTP/1.1 200 OK\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "refused": b'HTTP/1.1 500 Internal Server Error\r\n\r\n{"error": {}}',
    "another frame": ok(b'{"output": ["", ""], "exit_code": 0}'),
    "no texts": ok(b'{"exit_code": 0, "output": null}'),
    "one text": ok(b'{"exit_code": 0, "output": [""]}'),
    "no end of a text": ok(b'{"exit_code": 0, "output": ["", "'),
    "an escape without an end": ok(b'{"exit_code": 0, "output": ["", "\\'),
    "half an escape": ok(b'{"exit_code": 0, "output": ["", "\\u0"]}'),
    "a character that is no byte": ok(b'{"exit_code": 0, "output": ["", "\\u0141"]}'),
    "more": ok(b'{"exit_code": 0, "output": ["", ""]}}'),
    "a NUL": ok(b'{"exit_code": 0, "output": ["", ""]}\0'),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_is_broken(pipework, serve, answer) -> None:
    serve(answer)
    done = run(pipework, "br1", "c1", "0/0")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("pipework: the agent ")


def test_a_program_that_is_not_whole(built) -> None:
    done = subprocess.run([built], capture_output=True, text=True)
    assert (done.returncode, "wefted compat install" in done.stderr) == (3, True)


def test_one_that_cannot_become_python_says_so(pipework) -> None:
    os.unlink(pipework.parent / "python")
    done = run(pipework, "br1")
    assert (done.returncode, done.stderr.startswith("pipework: cannot run ")) == (3, True)


def test_it_is_what_is_installed_and_it_ends_soon(built, folder, serve, monkeypatch) -> None:
    monkeypatch.setattr(native, "CLASSIC", built)
    program = next(Path(path) for path in install.install(str(folder)) if path.endswith("/pipework"))
    assert program.read_bytes().startswith(b"\x7fELF")
    serve(ok(b'{"exit_code": 0, "output": ["", ""]}'))
    before = time.process_time()
    assert run(program, "br1").returncode == 0
    assert time.process_time() - before < 5
    assert str(program) in install.uninstall(str(folder))
