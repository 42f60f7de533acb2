"""What every subject of this room does: write an object into the kernel, change it, remove it, and find it again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from wefted.model.objects import KernelObject

from .reading import Reading
from .transaction import Transaction

T_contra = TypeVar("T_contra", bound=KernelObject, contravariant=True)


class Handler(Protocol[T_contra]):
    """Queues messages for one kind of object; every method may raise `Refused`."""

    def create(self, wanted: T_contra, tx: Transaction) -> None:
        """Make the object."""

    def update(self, old: KernelObject, new: T_contra, tx: Transaction) -> None:
        """Turn what is there into what is wanted."""

    def delete(self, old: T_contra, tx: Transaction) -> None:
        """Remove the object; that it is gone already is no error."""


class Reader(Protocol):
    """Finds what is ours of one subject in a namespace."""

    def __call__(self, reading: Reading) -> Iterable[KernelObject]:
        """Yield the objects that carry our mark."""
