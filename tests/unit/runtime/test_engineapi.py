"""The client of the Engine API against a server that says whatever it is told to, and the runtime on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from wefted.errors import NotFound, Unreachable, WeftedError
from wefted.runtime import engineapi
from wefted.runtime.docker import DockerRuntime
from wefted.runtime.engineapi import EngineApi, chosen_version
from wefted.testing.runtime_contract import until, watching

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@pytest.mark.parametrize(
    ("newest", "oldest", "wanted"),
    [
        ("1.41", "1.12", "1.41"),  # Docker 20.10, and podman
        ("1.47", "1.24", "1.47"),  # Docker 27
        ("1.52", "1.44", "1.52"),  # Docker 29
        ("1.60", "1.44", "1.52"),
        ("1.70", "1.55", "1.55"),
        ("1.41", "", "1.41"),
    ],
)
def test_the_newest_version_that_both_know_is_spoken(newest: str, oldest: str, wanted: str) -> None:
    assert chosen_version(newest, oldest) == wanted


@asynccontextmanager
async def served(path: Path, answer: Answer) -> AsyncIterator[None]:
    """Serve a socket: `answer` writes what it likes after the request's target is known."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            await answer(target, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


def whole(value: object, status: str = "200 OK") -> bytes:
    body = json.dumps(value).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


VERSION = whole({"ApiVersion": "1.44", "MinAPIVersion": "1.24"})


def saying(*pieces: bytes) -> Answer:
    """Answer the question for the version, then every other one with these pieces."""

    async def answer(target: str, writer: asyncio.StreamWriter) -> None:
        for piece in (VERSION,) if target == "/version" else pieces:
            writer.write(piece)
            await writer.drain()

    return answer


async def test_a_resource_is_asked_for_in_the_version_and_with_its_filters(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(target: str, writer: asyncio.StreamWriter) -> None:
        asked.append(target)
        writer.write(VERSION if target == "/version" else whole([]))

    async with served(tmp_path / "s", answer):
        api = EngineApi("docker", str(tmp_path / "s"))
        assert await api.get("/containers/json", filters={"name": ["^/?a$"]}) == []
        await api.get("/containers/x/json")
    assert asked[0] == "/version"
    assert urlsplit(asked[1]).path == "/v1.44/containers/json"
    assert json.loads(parse_qs(urlsplit(asked[1]).query)["filters"][0]) == {"name": ["^/?a$"]}
    assert asked[2:] == ["/v1.44/containers/x/json"]


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b'3\r\n{"a\r\n', b'4;x=y\r\n": 1\r\n1\r\n}\r\n0\r\n\r\n'),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n", b'{"a', b'": 1}'),
        (b'HTTP/1.0 200 OK\r\n\r\n{"a": 1}',),
    ],
    ids=["in chunks", "of a known length", "to the end"],
)
async def test_a_body_may_come_in_any_form(tmp_path: Path, pieces: tuple[bytes, ...]) -> None:
    async with served(tmp_path / "s", saying(*pieces)):
        assert await EngineApi("docker", str(tmp_path / "s")).get("/x") == {"a": 1}


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"SSH-2.0-OpenSSH\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{...}",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",),
    ],
    ids=["nothing", "another protocol", "cut off", "too long", "no number", "no JSON", "no length"],
)
async def test_an_odd_answer_is_no_answer(tmp_path: Path, pieces: tuple[bytes, ...]) -> None:
    async with served(tmp_path / "s", saying(*pieces)):
        with pytest.raises(Unreachable, match="docker does not answer on"):
            await EngineApi("docker", str(tmp_path / "s")).get("/x")


async def test_a_refusal_is_told_in_the_engines_words(tmp_path: Path) -> None:
    api = EngineApi("docker", str(tmp_path / "s"))
    async with served(tmp_path / "s", saying(whole({"message": "no such container"}, "404 Not Found"))):
        with pytest.raises(NotFound, match="docker refuses: no such container"):
            await api.get("/x")
    async with served(tmp_path / "s", saying(whole("oh", "500 Internal Server Error"))):
        with pytest.raises(WeftedError, match='docker refuses: "oh"'):
            await api.get("/x")


async def test_nobody_waits_twice_for_an_engine_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engineapi, "PATIENCE", 0.05)
    questions = 0

    async def hang(target: str, writer: asyncio.StreamWriter) -> None:
        nonlocal questions
        questions += 1
        await asyncio.Event().wait()

    async with served(tmp_path / "s", hang):
        api = EngineApi("docker", str(tmp_path / "s"))
        with pytest.raises(Unreachable, match="no answer in"):
            await api.get("/x")
        monkeypatch.setattr(engineapi.time, "monotonic", lambda: 0.0)
        with pytest.raises(Unreachable, match="no answer in"):
            await api.get("/x")
        assert questions == 1


async def test_no_socket_is_no_engine(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no docker engine runs on this host"):
        await DockerRuntime(str(tmp_path / "s")).find("web")
    with pytest.raises(Unreachable, match="does not answer"):
        await EngineApi("docker", str(tmp_path / "s")).get("/x")


class Engine:
    """An engine that lists containers and tells of them, and can inspect none; it can hang up."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.listening: list[asyncio.StreamWriter] = []
        self.connected = asyncio.Event()

    async def answer(self, target: str, writer: asyncio.StreamWriter) -> None:
        path = urlsplit(target).path
        if path == "/version":
            writer.write(VERSION)
        elif path.endswith("/containers/json"):
            writer.write(whole([{"Id": identifier, "Names": [f"/{name}"]} for identifier, name in self.names.items()]))
        elif path.endswith("/events"):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            self.listening.append(writer)
            self.connected.set()
            await asyncio.Event().wait()
        else:
            writer.write(whole({}, "404 Not Found"))

    def tell(self, action: str, identifier: str, **attributes: str) -> None:
        event = json.dumps({"Action": action, "Actor": {"ID": identifier, "Attributes": attributes}}).encode() + b"\n"
        for writer in self.listening:
            for half in (event[:7], event[7:]):
                writer.write(f"{len(half):x}\r\n".encode() + half + b"\r\n")

    def hang_up(self) -> None:
        for writer in self.listening:
            writer.close()
        self.listening.clear()
        self.connected.clear()


async def test_a_watch_waits_for_an_engine_and_for_its_return(tmp_path: Path) -> None:
    """The engine's socket appears after the watch has begun, in a directory that is not there yet; later it goes and comes."""
    path = tmp_path / "run" / "docker.sock"
    engine = Engine()
    async with watching(DockerRuntime(str(path))) as events:
        for word in ("first", "second"):
            await asyncio.sleep(0)
            path.parent.mkdir(exist_ok=True)
            async with asyncio.timeout(5):
                async with served(path, engine.answer):
                    await engine.connected.wait()
                    engine.tell("rename", "f00", name=word, oldName="/old")
                    event = await until(events, lambda e: bool(e.renamed))
                    assert (event.container, event.renamed, event.sandbox) == (f"docker:{word}", "docker:old", None)
                    engine.hang_up()


async def test_containers_that_cannot_be_inspected_do_not_end_a_watch(tmp_path: Path) -> None:
    engine = Engine()
    engine.names["f00"] = "ghost"
    async with served(tmp_path / "s", engine.answer), watching(DockerRuntime(str(tmp_path / "s"))) as events:
        async with asyncio.timeout(5):
            await engine.connected.wait()
        engine.tell("start", "f00", name="ghost")
        engine.tell("rename", "f00", name="new", oldName="/ghost")
        assert (await until(events, lambda e: True)).renamed == "docker:ghost"
        engine.hang_up()
