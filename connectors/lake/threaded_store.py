"""A store whose calls block: each runs in a thread, and what goes wrong with it is a value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from connectors.lake.base import (
    Content,
    Created,
    Deleted,
    Exists,
    Missing,
    Names,
    Objects,
    Unavailable,
)

_T = TypeVar("_T")


class ThreadedStore(ABC):
    """An ObjectStore and KeepersStore over calls that block."""

    async def put_new(self, key: str, data: bytes) -> Created | Exists | Unavailable:
        """Under a name that is not taken."""
        return await self._call(self._put_new, key, data)

    async def get(self, key: str) -> Content | Missing | Unavailable:
        """The whole object."""
        return await self._call(self._read, key, None)

    async def tail(self, key: str, size: int) -> Content | Missing | Unavailable:
        """The end of it."""
        return await self._call(self._read, key, size)

    async def list_after(self, prefix: str, after: str) -> Names | Unavailable:
        """One page, in the order of names."""
        return await self._call(self._list_after, prefix, after)

    async def delete(self, key: str) -> Deleted | Unavailable:
        """Whether it was there or not."""
        return await self._call(self._delete, key)

    async def objects(self, prefix: str, after: str) -> Objects | Unavailable:
        """One page, in the order of names."""
        return await self._call(self._objects, prefix, after)

    @abstractmethod
    async def _call(self, function: Callable[..., _T], *arguments: object) -> _T | Unavailable:
        """`function` in a thread; Unavailable where the store is not to be had."""

    @abstractmethod
    def _put_new(self, key: str, data: bytes) -> Created | Exists: ...

    @abstractmethod
    def _read(self, key: str, size: int | None) -> Content | Missing:
        """The last `size` bytes, or all."""

    @abstractmethod
    def _list_after(self, prefix: str, after: str) -> Names: ...

    @abstractmethod
    def _delete(self, key: str) -> Deleted: ...

    @abstractmethod
    def _objects(self, prefix: str, after: str) -> Objects: ...
