"""plan and apply send a file as it is, and show what would change or has changed."""

import json

import pytest

CHANGES = {"changes": [{"action": "create", "kind": "Bridge", "ns": "", "text": "+ link br-1"}]}


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_a_file_is_sent_as_text_with_its_name(agent, run, tmp_path, verb):
    agent.answers[verb] = CHANGES | {"failures": []}
    file = tmp_path / "net.yaml"
    file.write_text("networks: {blü: {}}\n", encoding="utf-8")
    result = run(verb, str(file))
    assert (result.exit_code, result.output) == (0, "+ link br-1\n")
    assert agent.asked == [(verb, {"document": "networks: {blü: {}}\n", "source": str(file)})]


def test_standard_input_is_a_file_too(agent, run):
    agent.answers["plan"] = {"changes": []}
    assert run("plan", "-", stdin="networks: {}\n").output == "nothing to do\n"
    assert agent.asked == [("plan", {"document": "networks: {}\n", "source": "-"})]


def test_without_a_file_it_is_a_repair(agent, run):
    agent.answers["plan"] = CHANGES
    assert json.loads(run("plan", "--json").output) == CHANGES
    assert agent.asked == [("plan", {})]


def test_colour_is_for_terminals_only(agent, run):
    from click.testing import CliRunner

    from wefted.cli.root import root

    agent.answers["plan"] = CHANGES
    assert run("plan").output == "+ link br-1\n"
    assert CliRunner().invoke(root, ["plan"], color=True).output == "\x1b[32m+ link br-1\x1b[0m\n"
    assert CliRunner().invoke(root, ["plan"], color=True, env={"NO_COLOR": "1"}).output == "+ link br-1\n"


@pytest.mark.parametrize(("content", "said"), [(None, "No such file or directory"), (b"\xff\xfe", "it is not UTF-8 text")])
def test_a_file_that_cannot_be_read_changes_nothing(agent, run, tmp_path, content, said):
    file = tmp_path / "net.yaml"
    if content is not None:
        file.write_bytes(content)
    result = run("apply", str(file))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"wefted: cannot read {file}: {said}\n  ")
    assert agent.asked == []


def test_a_failed_change_is_a_failure(agent, run):
    failure = CHANGES["changes"][0] | {"error": "Operation not supported"}
    agent.answers["apply"] = CHANGES | {"failures": [failure]}
    result = run("apply")
    assert result.exit_code == 1
    assert result.stderr == "wefted: + link br-1: Operation not supported\n"
