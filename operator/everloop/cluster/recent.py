"""A memory of bounded size."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

Name = TypeVar("Name")
Fact = TypeVar("Fact")


class Recent(OrderedDict[Name, Fact]):
    """A dict that forgets what was set the longest ago.

    >>> memory = Recent[str, int](2)
    >>> for name in "abac":
    ...     memory[name] = 1
    >>> list(memory)
    ['a', 'c']
    """

    def __init__(self, most: int) -> None:
        """`most` is how many entries it keeps."""
        super().__init__()
        self._most = most

    def __setitem__(self, name: Name, fact: Fact) -> None:
        super().__setitem__(name, fact)
        self.move_to_end(name)
        if len(self) > self._most:
            self.popitem(last=False)
