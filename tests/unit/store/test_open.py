"""From the text of `--store` to the open store."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wefted.errors import Unreachable, UsageError
from wefted.model.records import Put
from wefted.store import EtcdSpec, open_store
from wefted.testing.etcd import free_ports


@pytest.mark.parametrize("url", ["memory:", "sqlite:{}/state.db"])
async def test_it_opens_what_the_url_says(url, tmp_path):
    store = await open_store(url.format(tmp_path))
    await store.write([Put("k", b"1")])
    assert (await store.read("")).items["k"].value == b"1"
    await store.close()


async def test_an_etcd_that_does_not_answer_fails_in_time_and_is_named():
    ports = free_ports(2)
    store = await open_store(EtcdSpec(endpoints=tuple(f"http://127.0.0.1:{port}" for port in ports), timeout=0.3))
    with pytest.raises(Unreachable, match="refused") as caught:
        await store.read("")
    assert all(f"http://127.0.0.1:{port}: " in caught.value.message for port in ports)
    with pytest.raises(Unreachable):
        await store.write([Put("k", b"")])
    await store.close()


@pytest.mark.parametrize("name", ["ca", "cert"])
async def test_tls_files_are_looked_at_when_the_store_is_opened(name, tmp_path):
    path = tmp_path / "x.pem"
    files = {"ca": str(path)} if name == "ca" else {"cert": str(path), "key": str(path)}
    spec = EtcdSpec(endpoints=("https://127.0.0.1:1",), **files)
    with pytest.raises(UsageError, match="No such file") as caught:
        await open_store(spec)
    assert str(path) in caught.value.message
    path.write_text("no certificate")
    with pytest.raises(UsageError, match=str(path)):
        await open_store(spec)


def test_who_needs_no_etcd_pays_for_no_aiohttp():
    program = "import wefted.store, sys; print(sorted({'aiohttp', 'sqlite3', 'ssl'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
