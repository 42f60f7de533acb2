"""The firewall: tables of ours and the elements of their sets and maps, in the host's namespace.

All changes of one `apply` are one transaction: the kernel makes them together or not at all. Whether a table still holds
exactly our text is told from the kernel alone, by a chain whose name is a digest of the text and of nft's listing of it.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wefted.model.firewall import NftElement, NftTable
from wefted.model.objects import HOST, Change, KernelObject, Key

from .fault import Fault
from .foreignfilter import FAMILIES, HEADER, HEADER_SIZE, SUBSYSTEM, forward_filters, iptables_firewalld
from .foreigngate import CLOSED, FIREWALL, LOADING, OPEN, Gate, copy
from .libnftables import MISSING, Libnftables
from .marks import is_our_table
from .netlink import Message, NetlinkSocket, Refused, as_text, attributes
from .netns import Namespaces
from .nftscript import Table, read_table, script, seal
from .transaction import Transaction

NETLINK_NETFILTER = 12
NFT_MSG_GETTABLE, NFT_MSG_NEWGEN, NFT_MSG_GETGEN = 1, 15, 16
NFTA_TABLE_NAME = 1
NFTA_GEN_ID = 1

LOOKS = 10
"""How often another firewall is looked at, while somebody changes something each time, before it counts as being loaded."""

_ERRNOS = {"No such file or directory": errno.ENOENT, "File exists": errno.EEXIST, "Operation not permitted": errno.EPERM}


class NftRefused(Refused):
    """nft's own message, which needs no word before it: it shows the line and points at the place."""

    def explain(self, what: str) -> str:
        return self.text


class Firewall:
    """Handler and reader of nft tables and elements."""

    def __init__(self, spaces: Namespaces, fault: Fault) -> None:
        self._spaces = spaces
        self._fault = fault
        self._library: Libnftables | None = None
        self._socket: NetlinkSocket | None = None
        self._cache: tuple[int, tuple[NftTable | NftElement, ...]] | None = None
        self._gates: tuple[int, Gate | None] | None = None
        self._uncopied = ""
        self._own: deque[int] = deque(maxlen=1024)
        self._runs = 0
        self.lock = threading.Lock()
        """Held while we change something, so that the watch can tell our changes from others'."""

    def create(self, wanted: NftTable | NftElement, tx: Transaction) -> None:
        """Leave it to `commit`."""
        if wanted.ns != HOST:
            raise Refused(errno.EOPNOTSUPP, "nft tables are made in the host's namespace only")
        tx.defer()

    def update(self, old: KernelObject, new: NftTable | NftElement, tx: Transaction) -> None:
        self.create(new, tx)

    def delete(self, old: NftTable | NftElement, tx: Transaction) -> None:
        self.create(old, tx)

    def commit(self, tx: Transaction) -> None:
        """Make what was left to us, in one transaction; note in `tx` what was refused."""
        if not tx.deferred:
            return
        with self.lock:
            try:
                refusals = self._commit(tx.deferred)
            except Refused as nothing:
                refusals = dict.fromkeys(tx.deferred, nothing)
        for number, refused in refusals.items():
            tx.refuse(refused, number)

    def read(self) -> Iterator[NftTable | NftElement]:
        """Yield our tables and their elements; nothing where there is no nft. The listing is kept while nobody changes it."""
        try:
            generation = self.generation()
            if self._cache is None or self._cache[0] != generation:
                self._cache = (generation, tuple(self._list()))
        except Refused:
            return
        yield from self._cache[1]

    def generation(self) -> int:
        """Return the number of the last transaction in this namespace, whosoever's. Raises `Refused` without nftables."""
        body = self._netfilter().ask(Message(SUBSYSTEM | NFT_MSG_GETGEN, 0, HEADER.pack(0, 0, 0)))[0]
        return int.from_bytes(attributes(body, HEADER_SIZE)[NFTA_GEN_ID], "big")

    def is_own(self, generation: int) -> bool:
        """Tell whether a transaction was ours; waits until the one that is under way is over."""
        with self.lock:
            return generation in self._own

    def missing(self) -> str:
        """Return "" or the reason why there can be no firewall."""
        try:
            self.generation()
        except Refused as refused:
            return f"this kernel has no nftables ({refused.explain('nfnetlink')})"
        try:
            self._nft()
        except Refused:
            return MISSING
        return ""

    def foreign_filters(self) -> tuple[str, ...]:
        """Return the chains of other programs that drop what is forwarded and what they do not know."""
        try:
            return forward_filters(self._netfilter())
        except Refused:
            return ()

    def gate(self) -> Gate | None:
        """Return what another firewall says of packets to this host; None while that is just being loaded."""
        try:
            gate = self._gate()
        except Refused:
            return OPEN
        if gate is not None and gate.digest == self._uncopied:
            return replace(gate, unfollowed=("all of it, for nft refuses the copy",))
        return gate

    def unread(self) -> str:
        """Return the firewall of this host that published ports cannot follow: firewalld where its rules are iptables'."""
        try:
            return iptables_firewalld(self._netfilter())
        except Refused:
            return ""

    def close(self) -> None:
        """Release the library and the socket."""
        if self._library is not None:
            self._library.close()
        if self._socket is not None:
            self._socket.close()

    def _commit(self, changes: Mapping[int, Change]) -> dict[int, Refused]:
        before, self._runs = self.generation(), 0
        refusals: dict[int, Refused] = {}
        gate = (self._gate() or CLOSED) if any(map(_has_gate, changes.values())) else OPEN
        if self._run(list(changes.values()), gate):
            actual: dict[Key, KernelObject] = {item.key: item for item in self.read()}
            refusals = self._piecewise({n: c for n, c in changes.items() if not _is_done(c, actual)}, gate)
        self._seal([c.new for n, c in changes.items() if isinstance(c.new, NftTable) and n not in refusals], gate)
        after = self.generation()
        if after - before == self._runs:
            self._own.extend(range(before + 1, after + 1))
            if self._gates is not None and self._gates[0] == before:
                self._gates = (after, self._gates[1])  # nobody else has changed anything
        return refusals

    def _piecewise(self, changes: Mapping[int, Change], gate: Gate) -> dict[int, Refused]:
        """Make what can be made: halve until what is refused stands alone."""
        error = self._run(list(changes.values()), gate) if changes else ""
        if not error:
            return {}
        if len(changes) == 1:
            return dict.fromkeys(changes, NftRefused(_number(error), f"nft: {error}"))
        numbers = list(changes)
        half = len(numbers) // 2
        halves = ({n: changes[n] for n in part} for part in (numbers[:half], numbers[half:]))
        return {n: refused for part in halves for n, refused in self._piecewise(part, gate).items()}

    def _seal(self, tables: Sequence[NftTable], gate: Gate) -> None:
        """Mark freshly loaded tables. A crash before it costs no more than loading them once again."""
        if tables:
            with self._spaces.inside(self._spaces.home_fd):
                commands = "".join(seal(t, self._nft().list_table(t.family, t.name), gate) for t in tables)
            self._execute(commands)

    def _run(self, changes: Sequence[Change], gate: Gate) -> str:
        """Make all changes or none; with a gate that nobody passes, where nft does not take this one."""
        error = self._execute(script(changes, gate))
        if error and gate not in (OPEN, CLOSED) and any(map(_has_gate, changes)):
            error = self._execute(script(changes, CLOSED))
            self._uncopied = "" if error else gate.digest
        return error

    def _execute(self, commands: str) -> str:
        nft = self._nft()
        with self._spaces.inside(self._spaces.home_fd):
            error = nft.run(commands)
        if not error:
            self._runs += 1
            self._fault.changed()
        return error

    def _list(self) -> Iterator[NftTable | NftElement]:
        ours = [table for table in self._tables() if is_our_table(table[1])]
        gate = self._gate() if ours else OPEN
        for table in ours:
            listing = self._list_table(table)
            if listing:
                yield from read_table(table, listing, gate)

    def _gate(self) -> Gate | None:
        """Return the gate of this moment. What is kept is as old as somebody else's last transaction, so it is not old."""
        generation = self.generation()
        if self._gates is None or self._gates[0] != generation:
            self._gates = self._read_gate(generation)
        return self._gates[1] if self._gates is not None else None

    def _read_gate(self, generation: int) -> tuple[int, Gate | None] | None:
        """Return it with its generation. A look during which somebody changed something counts for nothing.

        Begun before firewalld loads its rules and ended while it does, it would show half of them, and an open door.
        """
        for _ in range(LOOKS):
            tables = self._tables()
            asked = FIREWALL in tables and LOADING not in tables
            present = None if LOADING in tables else OPEN
            gate = copy(self._list_table(FIREWALL)) if asked else present
            before, generation = generation, self.generation()
            if before == generation:
                return generation, gate
        return None

    def _list_table(self, table: Table) -> list[dict[str, Any]]:
        nft = self._nft()
        with self._spaces.inside(self._spaces.home_fd):
            return nft.list_table(*table)

    def _tables(self) -> list[Table]:
        """Return the tables of this host; asked without libnftables, so that a host without a table of ours never loads it."""
        bodies = self._netfilter().dump(SUBSYSTEM | NFT_MSG_GETTABLE, HEADER.pack(0, 0, 0))
        found = [(FAMILIES.get(body[0], ""), as_text(attributes(body, HEADER_SIZE).get(NFTA_TABLE_NAME))) for body in bodies]
        return [table for table in found if table[0]]

    def _nft(self) -> Libnftables:
        if self._library is None:
            with self._spaces.inside(self._spaces.home_fd):
                self._library = Libnftables()
        return self._library

    def _netfilter(self) -> NetlinkSocket:
        if self._socket is None:
            try:
                self._socket = self._spaces.socket(self._spaces.home_fd, NETLINK_NETFILTER)
            except OSError as error:
                raise Refused(error.errno or errno.EIO, "no netfilter netlink") from None
        return self._socket


def _has_gate(change: Change) -> bool:
    return isinstance(change.new, NftTable) and change.new.gate != ""


def _is_done(change: Change, actual: Mapping[Key, KernelObject]) -> bool:
    found = actual.get(change.subject.key)
    return found is None if change.new is None else found is not None and change.new.satisfied_by(found)


def _number(error: str) -> int:
    return next((number for text, number in _ERRNOS.items() if text in error), errno.EINVAL)
