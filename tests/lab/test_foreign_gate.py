"""What firewalld says of packets to the host is read as of one moment, also while it loads its rules."""

from __future__ import annotations

import pytest

from wefted.kernel.foreigngate import Listing
from wefted.kernel.nft import LOOKS, Firewall
from wefted.kernel.nftscript import Table

from .conftest import LabHost

WHOLE = "table inet firewalld { chain filter_INPUT { type filter hook input priority 10; tcp dport 22 accept; reject; }; }"
BEGIN = "add table inet firewalld_policy_drop; flush chain inet firewalld filter_INPUT"
END = "add rule inet firewalld filter_INPUT tcp dport 22 accept; add rule inet firewalld filter_INPUT reject"
DONE = "delete table inet firewalld_policy_drop"


@pytest.fixture
def firewall(host: LabHost) -> Firewall:
    host.run("nft", WHOLE)
    return host.kernel._firewall


def test_a_look_during_which_rules_are_loaded_counts_for_nothing(
    host: LabHost, firewall: Firewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the rules are a door that the whole of them closes: who reads them then lets everybody in."""
    host.run("nft", "add table inet another")
    list_now = firewall._list_table
    whole = firewall.gate()
    assert whole is not None
    assert "22" in whole.text

    def list_late(table: Table) -> Listing:
        monkeypatch.undo()
        host.run("nft", BEGIN)
        return list_now(table)

    host.run("nft", "delete table inet another")
    monkeypatch.setattr(firewall, "_list_table", list_late)
    assert firewall.gate() is None, "it is being loaded"
    host.run("nft", END)
    assert firewall.gate() is None
    host.run("nft", DONE)
    assert firewall.gate() == whole


def test_what_never_holds_still_is_looked_at_again_later(
    host: LabHost, firewall: Firewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_now, looks = firewall._list_table, 0

    def list_late(table: Table) -> Listing:
        nonlocal looks
        looks += 1
        host.run("nft", f"add table inet more{looks}")
        return list_now(table)

    monkeypatch.setattr(firewall, "_list_table", list_late)
    assert (firewall.gate(), looks) == (None, LOOKS)
    monkeypatch.undo()
    assert firewall.gate() is not None
