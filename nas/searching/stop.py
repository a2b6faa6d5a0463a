"""Ask a running search to stop: Ctrl-C, the system's signals, or the time limit."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType

from nas.storage.reasons import Reason

_SIGNALS = tuple(getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n))


class StopRequest:
    """Is true from the first signal, or from the time limit, on.

    Within its `with` block a signal only sets a flag, so that nothing is torn in the middle of a
    write; a second one acts at once, as if there were no handler.

    Args:
        timeout_seconds: time limit from now on; None for no limit.
    """

    def __init__(self, timeout_seconds: float | None = None) -> None:
        self.timeout_seconds = timeout_seconds
        self.signal_number: int | None = None
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._last_deadline = self._deadline
        self._before: dict[int, object] = {}

    def __call__(self) -> bool:
        return self.reason is not None

    @property
    def reason(self) -> Reason | None:
        if self.signal_number is not None:
            return Reason.INTERRUPTED
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return Reason.TIME_LIMIT
        return None

    @property
    def seconds_left(self) -> float | None:
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def allot(self, num_parts: int) -> None:
        """Set the time limit to one of so many equal parts of all the time that is left."""
        if self._last_deadline is not None:
            now = time.monotonic()
            self.timeout_seconds = max(self._last_deadline - now, 0.0) / num_parts
            self._deadline = now + self.timeout_seconds

    @property
    def exit_code(self) -> int:
        """As shells count: 128 and the signal's number, 130 for Ctrl-C; 0 without a signal."""
        return 0 if self.signal_number is None else 128 + self.signal_number

    def __enter__(self) -> StopRequest:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
