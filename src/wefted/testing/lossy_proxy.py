"""A TCP proxy that loses a request, or the answer to it, when a test says so."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal, Self

Loss = Literal["request", "answer"]


class LossyProxy:
    """Forwards connections to `port` of the loopback address; an async context manager. It listens on `url`.

    Each entry of `losses` is spent on the next request whose text holds `marker`: it is not forwarded, or it is and its answer
    is dropped; then the connection is closed, as by a member that dies.
    """

    def __init__(self, port: int, marker: bytes) -> None:
        self.losses: deque[Loss] = deque()
        self.url = ""
        self._port = port
        self._marker = marker
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = "http://127.0.0.1:{1}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            beyond = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                await self._serve(reader, writer, *beyond)
            finally:
                beyond[1].close()
        finally:
            writer.close()
            self._connections.discard(task)

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        beyond: asyncio.StreamReader,
        beyond_writer: asyncio.StreamWriter,
    ) -> None:
        answers = asyncio.ensure_future(_copy(beyond, writer))
        try:
            while request := await reader.read(2**16):
                loss = self.losses.popleft() if self.losses and self._marker in request else None
                if loss == "request":
                    return
                if loss == "answer":
                    answers.cancel()
                beyond_writer.write(request)
                if loss == "answer":
                    await beyond.read(1)
                    return
        finally:
            answers.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(2**16):
        writer.write(chunk)
    writer.close()
