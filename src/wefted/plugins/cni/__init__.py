"""CNI, the Container Network Interface (specification 1.1.0): podman, containerd and others run a program for each container.

That program is `plugins/native/wefted-cni.c`; it hands all that it was given to `answer` and prints what comes back.
"""

from __future__ import annotations

import logging

from wefted.interfaces import Engine
from wefted.kernel.device import device

from ..door import Answer, Call
from .refusal import DEFECT, Refusal
from .request import VERSIONS, decode, version_of
from .verbs import Verbs

__all__ = ["VERSIONS", "answer"]

log = logging.getLogger("wefted.cni")


async def answer(engine: Engine, call: Call) -> Answer:
    """Do what a call of the plugin asks for; whatever goes wrong is an error of the specification."""
    config = call.bytes
    try:
        request = decode(dict(call.environment), config)
        return Answer(output=await Verbs(engine, device).perform(request))
    except Refusal as refusal:
        return Answer(exit_code=1, output=refusal.to_json(version_of(config)))
    except Exception as error:
        log.exception("defect")
        defect = Refusal(DEFECT, "a defect in wefted; the agent's log has the details", repr(error)[:200])
        return Answer(exit_code=1, output=defect.to_json(version_of(config)))
