"""The error tree. Every error that a user can meet is one of these; anything else is a defect and keeps its traceback.

WeftedError             exit 1   something was tried and failed; what it had changed was undone
├── UsageError          exit 2   the request is wrong; nothing was changed
│   ├── NotFound                 an unknown network, container, host, driver
│   ├── InUse                    a name, address or port that somebody already has; a network with endpoints
│   ├── Exhausted                no address or block is left
│   └── Unsupported              this kernel, or this combination, cannot do it
├── Unreachable         exit 3   the agent or the cluster store does not answer
├── KernelError         exit 1   the kernel refused a change
└── Conflict            exit 1   a compare-and-swap lost; callers re-read and try again
"""

from __future__ import annotations


class WeftedError(Exception):
    """Carry one message for people: what was done, why it failed, and (`hint`) what to type next."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(WeftedError):
    """The request cannot be right; nothing was changed."""

    exit_code = 2


class NotFound(UsageError):
    """Something named in the request does not exist."""


class InUse(UsageError):
    """Somebody else already has the name, address or port, or still uses the thing to be removed."""


class Exhausted(UsageError):
    """A pool has no free address, or a network no free block."""


class Unsupported(UsageError):
    """The kernel, or the combination of driver, backend and options, cannot do what was asked."""


class Unreachable(WeftedError):
    """The agent or the cluster store does not answer."""

    exit_code = 3


class KernelError(WeftedError):
    """The kernel refused a change; `errno` is its number (0 where there is none)."""

    def __init__(self, message: str, hint: str = "", errno: int = 0) -> None:
        super().__init__(message, hint)
        self.errno = errno


class Conflict(WeftedError):
    """A compare-and-swap found another revision than the caller had read."""
