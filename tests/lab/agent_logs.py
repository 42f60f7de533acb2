"""What the agents of virtual hosts said: shown with a failure, for these hosts are gone when somebody reads the report.

An agent goes on after an error that nobody thought of. Here that fails the test at whose end
its lab went down.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from wefted.errors import WeftedError
from wefted.lab.host import Host
from wefted.lab.lab import Lab

LOG = "var/lib/wefted/agent.log"
LAST_WORDS = 20_000
"""Characters of a log that a report shows, from its end."""
BUG = '"traceback": '

_down = Lab.down
_bugs: list[tuple[str, str]] = []
"""Title and text of the logs with such an error from its place on, of labs that went down since the last report."""


def _look_and_down(self: Lab) -> bool:
    _bugs.extend((title, text[text.index(BUG) :]) for title, text in _logs(_hosts_of(self)) if BUG in text)
    return _down(self)


Lab.down = _look_and_down  # type: ignore[method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add logs to the report of a failed test, and fail one that passed in spite of an agent's error."""
    report = yield
    if report.passed and _bugs:
        report.outcome = "failed"
        report.longrepr = "an agent met an error that is not one of wefted's own: see its log"
    if report.failed:
        values = getattr(item, "funcargs", {}).values()
        logs = _logs(host for value in values for host in _hosts_of(value))
        report.sections += [(title, text[-LAST_WORDS:]) for title, text in (*_bugs, *logs)]
        _bugs.clear()
    return report


def _hosts_of(value: Any) -> tuple[Host, ...]:
    """Return the virtual hosts that a fixture's value stands for; a lab that is down has none."""
    try:
        return value.hosts if isinstance(value, Lab) else (value,) if isinstance(value, Host) else ()
    except WeftedError:
        return ()


def _logs(hosts: Iterator[Host] | tuple[Host, ...]) -> Iterator[tuple[str, str]]:
    """Yield title and text of each agent's log."""
    for host in hosts:
        path = host.root / LOG
        if path.exists():
            yield f"agent of {host.name}", path.read_text(errors="replace")
