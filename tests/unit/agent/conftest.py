"""A flannel server that is running."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from wefted.model.records import Put

from .flannel_served import CONFIG, PREFIX, Served


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    await made.root.write([Put(f"{PREFIX}config", CONFIG), Put(f"{PREFIX}blue/config", CONFIG)])
    await made.start()
    yield made
    await made.stop()
    await made.root.close()
