"""The store in an etcd with TLS, client certificates and logins."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from wefted.errors import UsageError
from wefted.model.records import Item, Put
from wefted.store import EtcdSpec, open_store, parse_store_url
from wefted.testing.certificates import make_certificates
from wefted.testing.etcd import BINARY, EtcdCluster
from wefted.testing.store_contract import StoreContract

pytestmark = [pytest.mark.lab, pytest.mark.skipif(shutil.which(BINARY) is None, reason="etcd is not installed")]

USER, PASSWORD = "weaver", "p@ss/word:#1"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, certificates):
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), tls=certificates) as cluster:
        cluster.enable_login(USER, PASSWORD, "/allowed/")
        yield cluster


@pytest.fixture
def spec(cluster, certificates, request):
    return EtcdSpec(
        endpoints=cluster.endpoints, prefix=f"/allowed/{request.node.name}/", user=USER, password=PASSWORD,
        ca=certificates.ca, cert=certificates.client_cert, key=certificates.client_key,
    )  # fmt: skip


def changed(spec: EtcdSpec, **fields) -> EtcdSpec:
    known = {name: getattr(spec, name) for name in ("endpoints", "prefix", "user", "password", "ca", "cert", "key")}
    return EtcdSpec(**{**known, **fields})


class TestEtcdStoreWithTlsAndLogin(StoreContract):
    @pytest.fixture
    def connect(self, spec):
        async def connected():
            return await open_store(spec)

        return connected


async def test_the_url_says_all_of_it(cluster, certificates):
    host = cluster.endpoints[0].partition("://")[2]
    files = f"ca={certificates.ca}&cert={certificates.client_cert}&key={certificates.client_key}"
    spec = parse_store_url(f"https://{USER}:p%40ss%2Fword%3A%231@{host}/allowed/url?{files}")
    store = await open_store(spec)
    await store.write([Put("k", b"1", expect=0)])
    await store.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda other: {"ca": other.ca}, "its certificate is not trusted"),
        (lambda other: {"ca": ""}, "its certificate is not trusted"),
        (lambda other: {"cert": "", "key": ""}, "TLS failed"),
        (lambda other: {"cert": other.client_cert, "key": other.client_key}, "TLS failed"),
        (lambda other: {"user": "", "password": ""}, "wants a user and a password"),
        (lambda other: {"password": "wrong"}, "does not know this user and password"),
        (lambda other: {"user": "nobody"}, "does not know this user and password"),
        (lambda other: {"prefix": "/forbidden/"}, "permission denied"),
    ],
    ids=[
        "other authority",
        "system's authorities",
        "no certificate",
        "other certificate",
        "no user",
        "password",
        "user",
        "prefix",
    ],
)
async def test_who_may_not_come_in_is_told_why(spec, tmp_path, change, reason):
    store = await open_store(changed(spec, **change(make_certificates(tmp_path))))
    for attempt in (lambda: store.read(""), lambda: store.write([Put("k", b"")]), lambda: anext(store.watch(""))):
        with pytest.raises(UsageError, match=reason) as caught:
            await asyncio.wait_for(attempt(), 2)
        assert caught.value.hint
        assert PASSWORD not in str(caught.value)
    await store.close()


async def test_a_certificate_for_another_host_is_refused(tmp_path):
    wrong = make_certificates(tmp_path, hosts=("192.0.2.1",))
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=server_context(wrong))
    url = "https://localhost:{1}".format(*server.sockets[0].getsockname())
    store = await open_store(EtcdSpec(endpoints=(url,), ca=wrong.ca))
    with pytest.raises(UsageError, match="Hostname mismatch"):
        await store.read("")
    await store.close()
    server.close()


def server_context(certificates):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    return context


async def test_one_wrong_member_among_right_ones_is_passed_over(spec, tmp_path):
    other = make_certificates(tmp_path)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=server_context(other))
    url = "https://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
    store = await open_store(changed(spec, endpoints=(url, *spec.endpoints)))
    await store.write([Put("k", b"1")])
    assert (await store.read("k")).items["k"].value == b"1"
    await store.close()
    server.close()


async def test_a_restarted_member_that_forgot_our_token_is_told_again_who_we_are(cluster, spec):
    store, watcher = await open_store(spec), await open_store(spec)
    watch = watcher.watch("k")
    await anext(watch)
    first = await store.write([Put("k", b"1")])
    assert await asyncio.wait_for(anext(watch), 10) == (Item("k", b"1", first),)
    member = cluster.members[0]
    member.stop()
    await asyncio.to_thread(cluster.restart, member)
    second = await store.write([Put("k", b"2", expect=first)])
    assert await asyncio.wait_for(anext(watch), 10) == (Item("k", b"2", second),)
    await store.close()
    await watcher.close()


async def test_a_user_whose_right_is_taken_away_is_told_so(cluster, spec):
    """And a right that is given back works at once, without a restart."""
    role = {"role": USER, **cluster.span("/allowed/")}
    store = await open_store(spec)
    await store.write([Put("k", b"1")])
    cluster.post("/auth/role/revoke", role)
    with pytest.raises(UsageError, match="permission denied"):
        await store.read("k")
    cluster.post("/auth/role/grant", {"name": USER, "perm": {"permType": 2, **cluster.span("/allowed/")}})
    assert (await store.read("k")).items["k"].value == b"1"
    await store.close()


async def test_a_login_is_no_harm_where_none_is_needed(tmp_path):
    with EtcdCluster(tmp_path) as cluster:
        store = await open_store(EtcdSpec(endpoints=cluster.endpoints, user=USER, password=PASSWORD))
        watch = store.watch("k")
        await anext(watch)
        revision = await store.write([Put("k", b"1")])
        assert await asyncio.wait_for(anext(watch), 10) == (Item("k", b"1", revision),)
        await store.close()
