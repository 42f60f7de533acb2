"""The other end of `inside`: a program in a virtual host that does what it is asked, one request at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from wefted.errors import WeftedError
from wefted.lab.host import Host


class Worker:
    """Lives as long as its context; ends with its input."""

    def __init__(self, host: Host) -> None:
        pipe = subprocess.PIPE
        argv = [sys.executable, "-P", "-m", "wefted.bench.inside"]
        self._host = host
        self._child = host.popen(argv, stdin=pipe, stdout=pipe, text=True)

    def ask(self, do: str, **parameters: Any) -> Any:
        """Have one thing done and return the answer. Raises `WeftedError`."""
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps({"do": do, **parameters}) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WeftedError(f"{self._host.name}: the measuring program has ended (exit code {self._child.wait()})")
        value = json.loads(line)
        if "error" in value:
            raise WeftedError(f"{self._host.name}: {value['error']}", value["hint"])
        return value["answer"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
