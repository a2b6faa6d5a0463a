"""Leases: which process a running trial belongs to, and what becomes of a trial whose process dies.

Each process that searches has a record in the study, with a heartbeat: a number that the process
raises every 20 s. Each trial names its process. Before a process proposes, it fails the trials of
dead processes and puts their parameters into the queue again. On the same machine a dead process
is known at once; on another machine by a heartbeat that stands still for 2 minutes. No clock of
another machine is ever read. A process that ends its search says so, and looks once more: the last
of them leaves no trial of the dead behind.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nas.storage.counts import count_trials
from nas.storage.internals import begin_trial, fixed_params, set_state
from nas.storage.reasons import Reason, reason_of, was_broken_off
from nas.storage.trials import PROMOTED_FROM

HEARTBEAT_SECONDS = 20.0
LEASE_SECONDS = 120.0  # that a heartbeat may stand still
UNOWNED_SECONDS = 5.0  # that a process may take to put its name on a trial
START_TOLERANCE = 2.0  # by which a start time may be read differently

_OWNER = "owner"  # a trial's
_RETRY_OF = "retry_of"  # a trial's: the number of the one that was broken off
_INDEX = "index"  # a trial's, see `index_of`
_PROCESS = "process"  # a study's, with the owner's name behind it


class Lease:
    """This process, as one that searches in a study."""

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        self.name = secrets.token_hex(8)
        self._heartbeat = 0
        self._next_heartbeat = 0.0
        self._asked: set[int] = set()  # numbers of the trials that it was given
        self._unowned: dict[int, float] = {}  # trials without a name on them, and since when
        self._seen_heartbeats: dict[str, tuple[int, float]] = {}  # and since when
        self._last_look = 0.0  # at the heartbeats
        self.is_in_doubt = False  # at the last look a trial had no name on it, which may come yet

    def keep_alive(self) -> None:
        """Raise the heartbeat, if it is time."""
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_SECONDS
            self._heartbeat += 1
            self.study.set_user_attr(
                f"{_PROCESS}:{self.name}", _this_process() | {"beat": self._heartbeat}
            )

    def leave(self) -> None:
        """End here: this process trains no more, and closes what the dead have left by now.

        The name of a new trial may be missing as its process was killed before it wrote the name,
        or as that process is about to. Whoever has company leaves such a trial to the others, and
        of those who leave together the last one has none.
        """
        key = f"{_PROCESS}:{self.name}"
        if key in self.study.user_attrs:
            self.study.set_user_attr(key, self.study.user_attrs[key] | {"left": True})
        self._next_heartbeat = 0.0  # it is back with the next one
        self._fail_orphans()

    def ask(self) -> optuna.Trial:
        """The next trial: from the queue, or a new one."""
        self.keep_alive()
        trial = self.study.ask()
        trial.set_user_attr(_OWNER, self.name)
        self._take(trial)
        return trial

    def promote(self, stopped: FrozenTrial) -> optuna.Trial:
        """A new trial that goes on with a stopped one, with its parameters."""
        self.keep_alive()
        trials = self.study.get_trials(deepcopy=False)
        mine = [trial for trial in trials if trial.user_attrs.get(PROMOTED_FROM) == stopped.number]
        broken_off = [trial.number for trial in mine if was_broken_off(trial)]
        attrs = {_OWNER: self.name, PROMOTED_FROM: stopped.number}
        if broken_off:
            attrs[_RETRY_OF] = broken_off[0]
        trial = begin_trial(self.study, stopped.params, attrs)
        self._take(trial)
        return trial

    def _take(self, trial: optuna.Trial) -> None:
        self._asked.add(trial.number)
        trials = self.study.get_trials(deepcopy=False)
        trial.set_user_attr(_INDEX, _next_index(trials[trial.number], trials))

    def recover(self) -> list[int]:
        """Queue again what was broken off; returns the numbers of the trials it happened to.

        Trials of live processes are left alone. One whose process died is tried again once: it may
        have been what killed it. What went on with a stopped trial is not queued: that one is taken
        up again. Nor is what another trial has trained, or trains.
        """
        self._fail_orphans()
        trials = self.study.get_trials(deepcopy=False)
        retried = {trial.user_attrs.get(_RETRY_OF) for trial in trials}
        seen = count_trials(self.study).known_fingerprints
        found = []
        for trial in trials:
            root = trial.user_attrs.get(_RETRY_OF, trial.number)
            fingerprint = trial.user_attrs.get("fingerprint")
            params = fixed_params(trial) if fingerprint is None else trial.params
            is_broken_off = was_broken_off(trial) and PROMOTED_FROM not in trial.user_attrs
            # Of two retries that were queued at once, one is a duplicate and says nothing.
            void = (Reason.SURPLUS,) if fingerprint is None else (Reason.SURPLUS, Reason.DUPLICATE)
            is_last = not any(
                other.user_attrs.get(_RETRY_OF) == root
                and other.number > trial.number
                and reason_of(other) not in void
                for other in (trials if root in retried else ())
            )
            is_wanted = is_broken_off and is_last and fingerprint not in seen
            if not params or not is_wanted or _num_lost(trials, root) > 1:
                continue
            self.study.enqueue_trial(params, user_attrs={_RETRY_OF: root})
            found.append(trial.number)
        return found

    def _fail_orphans(self) -> None:
        """Close the running trials of dead processes."""
        now = time.monotonic()
        if now - self._last_look > LEASE_SECONDS / 2:
            # The others may have waited for the database as long as this process has.
            self._seen_heartbeats.clear()
        self._last_look = now
        self.is_in_doubt = False
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            owner = trial.user_attrs.get(_OWNER)
            # One of its own that it was never given was begun twice by a database that broke off.
            if trial.number in self._asked if owner == self.name else self._is_alive(owner):
                continue
            since = self._unowned.setdefault(trial.number, now)
            if owner is None and now - since < UNOWNED_SECONDS and self._has_company():
                self.is_in_doubt = True
                continue
            # Another process may be doing the same, or the trial's own may end it just now: one of
            # them closes it. That it was lost is not written but seen from what is missing.
            with contextlib.suppress(UpdateFinishedTrialError):
                set_state(self.study, trial, TrialState.FAIL)

    def _has_company(self) -> bool:
        """Whether another process lives, which may just have taken a trial without a name on it."""
        prefix = f"{_PROCESS}:"
        names = [
            key.removeprefix(prefix) for key in self.study.user_attrs if key.startswith(prefix)
        ]
        return any(name != self.name and self._is_alive(name) for name in names)

    def _is_alive(self, name: str | None) -> bool:
        process = self.study.user_attrs.get(f"{_PROCESS}:{name}")
        if process is None or process.get("left"):
            return False
        if process["machine"] == _machine():
            return _runs(process["pid"], process["started"])
        beat, since = self._seen_heartbeats.get(str(name), (None, 0.0))
        if beat != process["beat"]:
            self._seen_heartbeats[str(name)] = (process["beat"], time.monotonic())
            return True
        return time.monotonic() - since < LEASE_SECONDS


def is_retry(trial: FrozenTrial) -> bool:
    """Whether it repeats one that was broken off."""
    return _RETRY_OF in trial.user_attrs


def retry_of(user_attrs: Mapping[str, Any]) -> int | None:
    """The trial that one with these attributes repeats."""
    number: int | None = user_attrs.get(_RETRY_OF)
    return number


def index_of(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """The trial's place among those of a search that nothing had broken off.

    Seeds are made of it, so that such a search and one that was broken off end alike: a retry has
    the place of what it repeats, and what was broken off before it was a candidate has none.
    """
    index = trial.user_attrs.get(_INDEX)
    return _next_index(trial, trials) if index is None else int(index)


def _next_index(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """The first place that is free, after one for each trial in front that has none yet."""
    root = trial.user_attrs.get(_RETRY_OF, trial.number)
    if root != trial.number:
        return index_of(trials[root], trials)
    others = [
        other
        for other in trials
        if other.number != root and _RETRY_OF not in other.user_attrs and not _is_void(other)
    ]
    taken = {other.user_attrs.get(_INDEX) for other in others}
    free = (index for index in itertools.count() if index not in taken)
    in_front = [o for o in others if o.number < root and _INDEX not in o.user_attrs]
    return next(itertools.islice(free, len(in_front), None))


def _is_void(trial: FrozenTrial) -> bool:
    has_candidate = "fingerprint" in trial.user_attrs or bool(fixed_params(trial))
    return was_broken_off(trial) and not has_candidate


def _num_lost(trials: Sequence[FrozenTrial], root: int) -> int:
    """How often a process died over a trial and its retries."""
    return sum(
        reason_of(trial) == Reason.LOST and trial.user_attrs.get(_RETRY_OF, trial.number) == root
        for trial in trials
    )


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"machine": _machine(), "pid": pid, "started": _start(pid)}


def _machine() -> str:
    """Where process numbers mean the same: one machine until it starts again, one container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def _start(pid: int) -> float:
    """When a process began.

    Raises:
        psutil.NoSuchProcess: there is none with this number.
    """
    try:
        # Ticks since the machine started: the clock on the wall, which psutil reads, may be set.
        stat = Path(f"/proc/{pid}/stat").read_text()
        return float(stat.rpartition(")")[2].split()[19])
    except FileNotFoundError:
        return float(psutil.Process(pid).create_time())


def _runs(pid: int, started: float) -> bool:
    """Whether that very process is there, and no later one with its number."""
    try:
        is_same = abs(_start(pid) - started) < START_TOLERANCE
        return is_same and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
