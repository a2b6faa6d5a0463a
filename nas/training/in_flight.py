"""How far the host may run ahead of the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

MOST_IN_FLIGHT = 2  # one that runs, and one that it finds when it ends


class Mark(Protocol):
    """The end of a launch, as `torch.cuda.Event` is one."""

    def synchronize(self) -> None: ...


class InFlight:
    """Lets at most two launches wait for the device, so that a training can be stopped.

    A launch returns at once, and a driver queues a thousand: without this a whole epoch would be
    launched, and every request to stop be answered, before the device has done its first steps.

    Args:
        mark: makes a mark behind the last launch; None where a launch returns when it is done.
    """

    def __init__(self, mark: Callable[[], Mark] | None) -> None:
        self.mark = mark
        self._marks: deque[Mark] = deque()

    def add(self) -> None:
        """Something was launched; waits for what was launched two before."""
        if self.mark is None:
            return
        self._marks.append(self.mark())
        if len(self._marks) > MOST_IN_FLIGHT:
            self._marks.popleft().synchronize()

    def wait(self) -> None:
        """Wait for all of it, without keeping a core busy as reading a value does."""
        if self.mark is not None:
            self._marks.clear()
            self.mark().synchronize()
