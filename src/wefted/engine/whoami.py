"""Who this host is to the others: an identifier for life, and a name that may change."""

from __future__ import annotations

import json

from wefted.interfaces import Store
from wefted.model.records import Put

from . import keys


async def identity(local: Store, name: str, new_id: str, default_name: str) -> tuple[str, str]:
    """Return this node's UUID and name, which are made on the first start and kept; `name` renames it."""
    found = (await local.read(keys.LOCAL_NODE)).items.get(keys.LOCAL_NODE)
    known = json.loads(found.value) if found is not None and found.value else {"id": new_id, "name": default_name}
    wanted = {"id": known["id"], "name": name or known["name"]}
    if found is None or wanted != known:
        await local.write([Put(keys.LOCAL_NODE, json.dumps(wanted).encode())])
    return wanted["id"], wanted["name"]
