"""The errors of CNI (specification 1.1.0, section 5): codes below 100 are the specification's, those above are ours."""

from __future__ import annotations

from typing import Any

from wefted.errors import Exhausted, InUse, KernelError, NotFound, Unreachable, Unsupported, UsageError, WeftedError

VERSION = 1
FIELD = 2
UNKNOWN_CONTAINER = 3
ENVIRONMENT = 4
DECODING = 6
CONFIGURATION = 7
LATER = 11
UNAVAILABLE = 50
LIMITED = 51
EXHAUSTED = 100
IN_USE = 101
KERNEL = 102
DIFFERENT = 103
FAILED = 104
DEFECT = 199

_CODES: tuple[tuple[type[WeftedError], int], ...] = (
    (Exhausted, EXHAUSTED),
    (InUse, IN_USE),
    (Unsupported, FIELD),
    (NotFound, CONFIGURATION),
    (UsageError, CONFIGURATION),
    (Unreachable, LATER),
    (KernelError, KERNEL),
    (WeftedError, FAILED),
)


class Refusal(Exception):
    """A request that is refused: what the engine of the container reads."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def to_json(self, version: str) -> dict[str, Any]:
        """Return the error as section 5 has it."""
        return {"cniVersion": version, "code": self.code, "msg": self.message, "details": self.details}


def refusal_of(error: WeftedError) -> Refusal:
    """Return what an error of ours is in the words of CNI."""
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    return Refusal(code, error.message, error.hint)
