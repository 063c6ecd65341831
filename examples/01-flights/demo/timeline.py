"""What the viewer sees: lines as things happen, and the same again as a timeline at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """Something that happened, after so many seconds, on that simulated day (empty: not in one)."""

    seconds: float
    simulated: str
    text: str


@dataclass
class Timeline:
    """Prints while it records. `simulated` tells the current simulated time, if time runs."""

    simulated: Callable[[], str] = lambda: ""
    started: float = field(default_factory=time.monotonic)
    entries: list[Entry] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self.started

    def heading(self, text: str) -> None:
        """A new chapter."""
        print(f"\n\033[1m{text}\033[0m", flush=True)

    def event(self, text: str) -> None:
        """Something worth remembering: printed now, and at the end."""
        self.entries.append(Entry(self.seconds, self.simulated(), text))
        self._print("●", text)

    def line(self, text: str) -> None:
        """Progress: printed now only."""
        self._print(" ", text)

    def _print(self, mark: str, text: str) -> None:
        print(f"  {_clock(self.seconds)} {self.simulated():<16} {mark} {text}", flush=True)

    def table(self) -> list[str]:
        """The timeline."""
        return [f"  {_clock(one.seconds)}  {one.simulated:<16}  {one.text}" for one in self.entries]


def _clock(seconds: float) -> str:
    """Minutes and seconds, right-aligned.

    >>> _clock(83.4)
    ' 1:23'
    """
    return f"{int(seconds) // 60:>2}:{int(seconds) % 60:02}"
