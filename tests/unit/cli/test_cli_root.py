"""The start: what is imported, what becomes of errors, and the exit codes."""

import os
import socket
import subprocess
import sys
import types

import click
import pytest

from wefted import __version__, errors
from wefted.cli.main import main
from wefted.cli.root import COMMANDS, root
from wefted.compat import CLASSICS

HEAVY = {
    "asyncio", "aiohttp", "dns", "yaml", "subprocess", "sqlite3", "concurrent.futures", "multiprocessing", "http",
    "http.client", "urllib.request", "email", "importlib.metadata", "ssl", "ctypes", "shutil", "tempfile", "pyroute2", "rich",
}  # fmt: skip
"""What a start must not import; `wefted bench start` measures what that is worth."""
ELSEWHERE = {"lab", "demo", "bench"}
"""Programs with flags and tests of their own."""


def walk(group, path=()):
    for name in group.commands:
        command = group.commands.get(name)
        if command is not None and (path or name not in ELSEWHERE):
            yield from walk(command, (*path, name)) if isinstance(command, click.Group) else [((*path, name), command)]


LEAVES = dict(walk(root))


def test_the_version_has_two_ways(capsys):
    assert main(["--version"]) == 0
    assert main(["--json-is-no-flag-here"]) == 2
    assert capsys.readouterr().out == f"wefted {__version__}\n"


@pytest.mark.parametrize("words", ["['--version']", "['ps']"])
def test_a_start_imports_nothing_heavy(agent, words):
    agent.answers["endpoint.list"] = []
    code = f"import sys; from wefted.cli.main import main; main({words}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.splitlines()[-1].split())
    assert not modules & HEAVY
    assert not any(name.startswith(("wefted.model", "wefted.engine", "wefted.wiring")) for name in modules)
    assert len(agent.asked) == (words == "['ps']")


def test_the_version_imports_three_modules_of_ours():
    code = "import sys; from wefted.cli.main import main; main(['--version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.splitlines()[-1].split() if name.startswith("wefted")}
    assert ours == {"wefted", "wefted.cli", "wefted.cli.main"}


def test_the_version_needs_no_parser():
    code = "import sys; from wefted.cli.main import main; main(['--version']); print('click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "wefted.cli.main", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"wefted {__version__}\n")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("WeftedError", 1),
        ("KernelError", 1),
        ("Conflict", 1),
        ("UsageError", 2),
        ("NotFound", 2),
        ("Unreachable", 3),
        ("Odd", 1),
    ],
)
def test_an_error_of_the_agent_keeps_its_exit_code(agent, run, kind, code):
    agent.fail("endpoint.list", kind, "it went wrong", "type that")
    for flags in ([], ["--json"]):
        result = run("ps", *flags)
        assert (result.exit_code, result.stdout, result.stderr) == (code, "", "wefted: it went wrong\n  type that\n")


def test_unknown_exceptions_keep_their_traceback(run, monkeypatch):
    monkeypatch.setattr("wefted.cli.endpoint.perform", lambda *_: 1 / 0)
    assert isinstance(run("ps").exception, ZeroDivisionError)


def test_an_interrupt_is_130(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("wefted.cli.endpoint.perform", interrupted)
    assert run("ps").exit_code == 130


@pytest.mark.parametrize(
    "words", [["nework"], ["network", "creat"], ["ps", "--josn"], ["network", "create"], ["up", "--timeout", "x"]]
)
def test_what_cannot_be_parsed_is_a_usage_error(run, words):
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: wefted")


def test_a_typing_error_gets_a_proposal(run):
    assert "network" in run("netwrk").stderr


def test_a_damaged_settings_file_is_a_usage_error(run, places):
    (places / "wefted.toml").write_text("store = [")
    result = run("ps")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"wefted: cannot read {places}/wefted.toml: ")


def test_settings_come_from_the_file_that_is_named(places, monkeypatch):
    monkeypatch.setenv("WEFTED_CONFIG", "")
    file = places / "other.toml"
    file.write_text('colour = "blue"')
    assert main(["--config", str(file), "ps"]) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
def test_missing_privileges_are_told(agent, run):
    agent.answers["endpoint.list"] = []
    assert run("ps").exit_code == 0, "what is imported on the way must be in memory before"
    os.seteuid(65534)
    try:
        result = run("ps")
    finally:
        os.seteuid(0)
    assert result.exit_code == 2
    assert result.stderr.startswith("wefted: this needs root: ")


def engine_here(monkeypatch):
    asked = []

    def run_once(config, operation, parameters):
        asked.append((config.state_dir, operation, dict(parameters)))
        return []

    monkeypatch.setitem(sys.modules, "wefted.wiring", types.SimpleNamespace(run_once=run_once))
    return asked


def test_without_an_agent_it_is_done_here(run, places, monkeypatch):
    asked = engine_here(monkeypatch)
    assert run("ps").exit_code == 0
    assert asked == [(f"{places}/state_dir", "endpoint.list", {})]


def test_a_socket_that_was_left_behind_is_no_agent(run, sock, monkeypatch):
    asked = engine_here(monkeypatch)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(sock))
    assert run("ps").exit_code == 0
    assert len(asked) == 1


def test_a_socket_path_that_is_too_long_is_a_usage_error(run):
    result = run("ps", WEFTED_RUNTIME_DIR="/tmp/" + "x" * 120)
    assert result.exit_code == 2
    assert "--runtime-dir" in result.stderr


def test_a_closed_pipe_is_quiet(agent):
    agent.answers["endpoint.list"] = [{"n": "x" * 100_000}]
    command = f"{sys.executable} -m wefted.cli.main ps --json | head -c 5"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.stdout == "[\n  {"
    assert done.stderr == ""


def test_help_names_every_command_that_is_there(run):
    result = run("--help")
    assert result.exit_code == 0
    assert {"up", "network", "ps", "completion"} <= set(result.output.split())
    assert "reference" not in result.output


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_help_examples_variables_and_json(run, path):
    command = LEAVES[path]
    assert command.help
    assert command.help.splitlines()[0].endswith(".") or "." in command.help
    options = [p for p in command.params if isinstance(p, click.Option) and p.name != "help"]
    assert all(p.show_envvar for p in options)
    if not command.hidden:
        examples = run(*path, "--help").output.partition("Examples:\n")[2]
        assert f"wefted {path[0]}" in examples
    silent = path[0] in ("completion", "reference", "oci-hook") or path[-1] in CLASSICS or path == ("docker", "relay")
    if not silent:
        assert "--json" in [name for p in options for name in p.opts]


def test_every_command_is_in_its_module():
    nouns = {"network", "host", "dns", "docker", "cni", "flannel", "compat"}
    assert set(LEAVES) >= {(name,) for name in COMMANDS if name not in ELSEWHERE | nouns}


def test_the_errors_of_the_tree_are_what_exits_are_made_of():
    assert {e.exit_code for e in (errors.WeftedError, errors.UsageError, errors.Unreachable)} == {1, 2, 3}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(run, shell):
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_WEFTED_COMPLETE" in result.output


def complete(words, agent):
    environment = os.environ | {"_WEFTED_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()))}
    command = [sys.executable, "-m", "wefted.cli.main"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


def test_names_are_completed(agent):
    agent.answers["network.list"] = [{"name": n, "driver": "bridge", "backend": "none"} for n in ("blue", "red")]
    rows = [{"container": "netns:c1", "network": "blue"}, {"container": "netns:c2", "network": "red"}]
    agent.answers["endpoint.list"] = rows
    agent.answers["host.list"] = [{"name": "h2", "underlay": []}]
    assert complete("wefted network rm", agent) == ["plain,blue", "plain,red"]
    assert complete("wefted network rm blue", agent) == ["plain,red"]
    assert complete("wefted network disconnect blue", agent) == ["plain,netns:c1"]
    assert complete("wefted host rm", agent) == ["plain,h2"]


def test_completion_is_silent_without_an_agent(places):
    assert complete("wefted network rm", None) == []


def test_the_reference_has_every_command(run):
    text = run("reference", COLUMNS="40").output
    assert [path for path in LEAVES if f"## wefted {' '.join(path)}\n" not in text] == [("oci-hook",), ("reference",)]
    assert text == run("reference", COLUMNS="200").output
