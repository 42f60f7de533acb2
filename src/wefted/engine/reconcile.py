"""The one piece of code that makes the kernel match a plan, and the only one that repairs.

It lives in the kernel's worker thread and remembers what it last saw or made in each namespace ("believed"), so that an attach
compares its own few objects with memory and its cost does not grow with the other endpoints. Every pass over a namespace reads
the kernel anew; what is not ours is never in a reading, so it cannot be deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wefted.interfaces import Kernel
from wefted.model.link import LinkState, MovedLink, Veth
from wefted.model.objects import HOST, Change, KernelObject, Key, Netns, Outcome

from .diff import diff

PASSES = 4
"""A pass may reveal more to do (a link that had to be made again lost what hung on it); more than this is a refusal."""


@dataclass(slots=True)
class Report:
    """What a call changed, and which changes the kernel refused."""

    changes: list[Change] = field(default_factory=list)
    failures: list[Outcome] = field(default_factory=list)


class Reconciler:
    """Blocking; all methods are called from the kernel's worker thread."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._believed: dict[Netns, dict[Key, KernelObject]] = {}

    def converge(self, desired: Mapping[Key, KernelObject], namespaces: Iterable[Netns] | None = None) -> Report:
        """Make the kernel match `desired` in these namespaces (None: in all that it names, and those seen before)."""
        wanted = _by_namespace(desired)
        todo = {HOST, *wanted, *self._believed}
        if namespaces is not None:
            todo &= set(namespaces)
        report = Report()
        for _ in range(PASSES):
            changes = [change for ns in _host_first(todo) for change in diff(wanted.get(ns, {}), self._read(ns))]
            if not changes:
                report.failures.clear()
                break
            outcomes = self._apply(changes)
            report.changes += [o.change for o in outcomes if not o.error]
            report.failures = [o for o in outcomes if o.error]
            todo |= {ns for change in changes for ns in _touched(change, desired)}
            if len(report.failures) == len(outcomes):
                break
        return report

    def drift(self, desired: Mapping[Key, KernelObject]) -> list[Change]:
        """Return what `converge` would do first, and change nothing."""
        wanted = _by_namespace(desired)
        return [
            change
            for ns in _host_first({HOST, *wanted, *self._believed})
            for change in diff(wanted.get(ns, {}), self._read(ns))
        ]

    def ensure(self, objects: Mapping[Key, KernelObject], handing: bool = False) -> Report:
        """Create or correct these objects, and leave everything else alone. Memory is tried first, then a fresh reading.

        `handing`: also make the links that are handed over.
        """
        report = self._ensure(objects, handing)
        if report.failures:
            for ns in _host_first({HOST, *(o.ns for o in objects.values())}):
                self._read(ns)
            report = self._ensure(objects, handing)
        return report

    def remove(self, objects: Mapping[Key, KernelObject]) -> Report:
        """Delete these objects where they exist and are ours. Many links of one namespace go in one sweep.

        What is not remembered is looked for: there may be another thing in its place, which belongs to somebody else.
        """
        owned = [item for item in objects.values() if item.owned]
        for ns in {item.ns for item in owned if self._known(item) is None}:
            self._read(ns)
        changes = [Change(known, None) for item in owned if (known := self._known(item)) is not None]
        changes.sort(key=lambda change: -change.subject.rank)
        return _report(self._apply(changes))

    def swap(self, before: Mapping[Key, KernelObject], after: Mapping[Key, KernelObject]) -> Report:
        """Go from one plan to another in one call, what is gone first: the firewall's part of it is one transaction."""
        if HOST not in self._believed:
            self._read(HOST)
        gone = [Change(self._known(item), None) for key, item in before.items() if key not in after and item.owned]
        fresh = {key: item for key, item in after.items() if before.get(key) != item}
        actual = {key: known for key, item in fresh.items() if (known := self._believed.get(item.ns, {}).get(key)) is not None}
        return _report(self._apply([*gone, *diff(fresh, actual)]))

    def look(self, namespaces: Iterable[Netns]) -> None:
        """Read these namespaces, so that the next pass knows of them even if no plan names them."""
        for ns in set(namespaces):
            self._read(ns)

    def forget(self, ns: Netns) -> None:
        """Drop what is believed of a namespace (it went away, or another one took its place)."""
        self._believed.pop(ns, None)

    def _ensure(self, objects: Mapping[Key, KernelObject], handing: bool) -> Report:
        if HOST not in self._believed:
            self._read(HOST)
        actual: dict[Key, KernelObject] = {}
        for key, item in objects.items():
            known = self._believed.get(item.ns, {}).get(key)
            if known is not None:
                actual[key] = known
        return _report(self._apply(diff(objects, actual, handing=handing)))

    def _known(self, item: KernelObject) -> KernelObject | None:
        return self._believed.get(item.ns, {}).get(item.key)

    def _read(self, ns: Netns) -> dict[Key, KernelObject]:
        state = self._kernel.read(ns)
        if not state.exists and ns != HOST:
            self._believed.pop(ns, None)
            return {}
        believed = self._believed[ns] = dict(state.objects)
        return believed

    def _apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if not changes:
            return ()
        outcomes = self._kernel.apply(changes)
        for outcome in outcomes:
            if not outcome.error:
                self._remember(outcome.change)
        return outcomes

    def _remember(self, change: Change) -> None:
        subject = change.subject
        believed = self._believed.setdefault(subject.ns, {})
        if change.new is not None:
            believed[subject.key] = change.new
            return
        believed.pop(subject.key, None)
        if isinstance(subject, Veth) and subject.peer_ns != subject.ns:
            self._believed.pop(subject.peer_ns, None)  # what hung on the far end went with it
        elif isinstance(subject, Veth):
            believed.pop(LinkState(ns=subject.peer_ns, name=subject.peer_name).key, None)


def _by_namespace(objects: Mapping[Key, KernelObject]) -> dict[Netns, dict[Key, KernelObject]]:
    found: dict[Netns, dict[Key, KernelObject]] = {}
    for key, item in objects.items():
        found.setdefault(item.ns, {})[key] = item
    return found


def _host_first(namespaces: Iterable[Netns]) -> list[Netns]:
    """Sort so that the empty name, the host, is the first: it makes the links that the sandboxes then use."""
    return sorted(namespaces)


def _touched(change: Change, desired: Mapping[Key, KernelObject]) -> set[Netns]:
    """Return the namespaces that another look is worth after a change: for a link that came home, where it is wanted."""
    subject = change.subject
    if isinstance(subject, MovedLink) and change.new is None:
        wanted = {o.ns for o in desired.values() if isinstance(o, MovedLink) and o.origin == subject.origin}
        return {subject.ns, HOST, *wanted}
    return {subject.ns, subject.peer_ns} if isinstance(subject, Veth) else {subject.ns}


def _report(outcomes: Sequence[Outcome]) -> Report:
    return Report([o.change for o in outcomes if not o.error], [o for o in outcomes if o.error])
