"""What holds for every driver, so that a new one is tested by being in the registry."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from wefted.drivers import DRIVERS
from wefted.model.link import Link, LinkState
from wefted.model.objects import HOST, KernelObject, Netns

from .samples import FAMILIES, OPTIONS, endpoint, network, segment

EVERY = pytest.mark.parametrize("driver", sorted(DRIVERS))
FAMILY = pytest.mark.parametrize("versions", FAMILIES, ids=["v4", "v6", "dual"])
INTERNAL = pytest.mark.parametrize("internal", [False, True], ids=["open", "internal"])


def plan(driver: str, versions: tuple[int, ...], internal: bool, numbers: list[int]) -> list[KernelObject]:
    chosen = network(driver, versions, internal=internal)
    DRIVERS[driver].validate(chosen)
    return list(DRIVERS[driver].plan(segment(chosen), [endpoint(chosen, n) for n in numbers]))


def test_the_samples_cover_the_registry() -> None:
    assert set(OPTIONS) == set(DRIVERS)
    assert all(DRIVERS[name].name == name for name in DRIVERS)


@EVERY
def test_every_option_has_a_line_of_help(driver: str) -> None:
    assert all(key and text and "\n" not in text for key, text in DRIVERS[driver].options.items())
    assert set(OPTIONS[driver]) <= set(DRIVERS[driver].options)


@EVERY
@FAMILY
@INTERNAL
def test_one_key_stands_for_one_object(driver: str, versions: tuple[int, ...], internal: bool) -> None:
    objects: dict[object, KernelObject] = {}
    for item in plan(driver, versions, internal, [1, 2, 3]):
        assert objects.setdefault(item.key, item) == item


@EVERY
@FAMILY
def test_names_fit_the_kernel(driver: str, versions: tuple[int, ...]) -> None:
    names = [o.name for o in plan(driver, versions, False, [1, 2]) if isinstance(o, Link | LinkState)]
    assert all(0 < len(name) <= 15 for name in names)


@EVERY
@FAMILY
@INTERNAL
def test_the_order_of_containers_does_not_matter(driver: str, versions: tuple[int, ...], internal: bool) -> None:
    numbers = list(range(1, 9))
    expected = {o.key: o for o in plan(driver, versions, internal, numbers)}
    for seed in range(5):
        random.Random(seed).shuffle(numbers)
        assert {o.key: o for o in plan(driver, versions, internal, numbers)} == expected


@EVERY
@FAMILY
@INTERNAL
def test_a_container_has_its_own_objects_and_changes_no_other(driver: str, versions: tuple[int, ...], internal: bool) -> None:
    chosen = network(driver, versions, internal=internal)
    before = {o.key: o for o in plan(driver, versions, internal, [1, 2])}
    after = {o.key: o for o in plan(driver, versions, internal, [1, 2, 3])}
    assert {key: after.get(key) for key in before} == before
    new = endpoint(chosen, 3)
    own = [str(o) for key, o in after.items() if key not in before]
    addresses = [str(a.ip) for a in new.addresses]
    assert all(new.ns in line or new.link in line or any(a in line for a in addresses) for line in own)


@EVERY
@FAMILY
def test_without_containers_only_the_network_is_there(driver: str, versions: tuple[int, ...]) -> None:
    chosen = network(driver, versions)
    alone = list(DRIVERS[driver].plan(segment(chosen), []))
    gone = [replace(endpoint(chosen, n), ns=HOST) for n in (1, 2)]
    assert list(DRIVERS[driver].plan(segment(chosen), gone)) == alone
    assert all(o.ns == HOST for o in alone)


@EVERY
@FAMILY
def test_a_container_under_another_path_gets_the_same(driver: str, versions: tuple[int, ...]) -> None:
    chosen = network(driver, versions)
    first = DRIVERS[driver].plan(segment(chosen), [endpoint(chosen)])
    second = DRIVERS[driver].plan(segment(chosen), [endpoint(chosen, ns=Netns("x"))])
    assert [str(o).replace("netns c1", "netns x") for o in first] == [str(o) for o in second]
