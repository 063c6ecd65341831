"""A leader that dies, and another replica that stood by and takes its Lease over."""

from __future__ import annotations

from faults.disturbances import Kill, Moment
from faults.operators import Operator
from faults.proxy import Call

LEASE_SECONDS = 30  # one of 15 is lost by accident on a machine that is short of time


class Takeover(Kill):
    """The operator dies, and the one that goes on is another replica.

    It has to wait until the Lease has run out, which one of the same identity has not.
    """

    def __init__(self, operator: Operator, number: int, moment: Moment) -> None:
        super().__init__(operator, number, moment)
        self._first = operator.identity
        self._successor = operator

    def happened(self) -> bool:
        """It did, and the other one saw whom it had to wait for."""
        waited = f"is held by {self._first}" in self._successor.said()
        return super().happened() and waited

    def _at(self, moment: Moment, call: Call) -> bool:
        killed = super()._at(moment, call)
        if killed:
            self._successor.identity = "replica-2"
        return killed
