"""Many trials: side by side, and what is asked for next while the last ones come to rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, TypeVar

import pytest

log = logging.getLogger("trials")
T = TypeVar("T")
K = TypeVar("K")
ENOUGH = 5  # failures that are told in full


class TrialsError(AssertionError):
    """Some of many did, and each has been told of."""


async def many(trials: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Run trials side by side; TrialsError with what those that failed say."""
    ends = await asyncio.gather(*map(_told_of, trials), return_exceptions=True)
    failures = [str(end) for end in ends if isinstance(end, AssertionError)]
    if failures:
        count = f"{len(failures)} of {len(ends)} failed"
        raise TrialsError(f"{count}:\n" + "\n\n".join(failures[:ENOUGH]))
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return [end for end in ends if not isinstance(end, BaseException)]


async def _told_of(trial: Coroutine[None, None, T]) -> T:
    """What fails is told of at once: whoever cuts the rest short still learns why."""
    try:
        return await trial
    except AssertionError as failure:
        if not isinstance(failure, TrialsError):
            log.error("%s", failure)
        raise


class Ahead(Generic[K, T]):
    """What tests ask for one after the other, found out once; that of the next ones meanwhile.

    Else the machine would have little to do whenever the last trials of a test come to rest.
    """

    def __init__(
        self, order: Sequence[K], find: Callable[[K], Coroutine[None, None, T]], next_ones: int = 1
    ) -> None:
        """`order` is that in which they will be asked for."""
        self._order = order
        self._find = find
        self._next_ones = next_ones
        self._found: dict[K, asyncio.Task[T]] = {}

    async def get(self, key: K) -> T:
        at = self._order.index(key) if key in self._order else len(self._order)
        for item in (key, *self._order[at + 1 : at + 1 + self._next_ones]):
            if item not in self._found:
                self._found[item] = asyncio.create_task(self._find(item))
        return await self._found[key]


def asked(request: pytest.FixtureRequest, parameter: str) -> list[Any]:
    """Values of a parameter in the order of the session's tests, each once."""
    specs = (getattr(item, "callspec", None) for item in request.session.items)
    values = (spec.params.get(parameter) for spec in specs if spec is not None)
    return [*dict.fromkeys(value for value in values if value is not None)]
