"""The story of a search: ask, gate, train, tell. Read this file first.

ask the sampler for a trial -> the space makes a candidate of it -> count -> gate
    -> train, reporting each epoch -> tell the study -> keep the weights of the best
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from nas.candidates.candidate import Candidate
from nas.candidates.recipe import Recipe
from nas.data import Dataset
from nas.errors import InvalidCandidateError, SearchError, count, one_line, option
from nas.searching.events import Callback, Note, PlanMade, SearchEnded, SearchStarted, TrialEnded
from nas.searching.gate import Rejected, gate
from nas.searching.ledger import STORAGE_FAILURES, Ledger, Params
from nas.searching.planning import TimePlan
from nas.searching.probe import candidates, probe
from nas.searching.runner import MAX_ERRORS_IN_A_ROW, TrialRunner
from nas.searching.stop import StopRequest
from nas.searching.timetable import Timetable
from nas.spaces.draws import used_params
from nas.spaces.loader import SearchSpace
from nas.spaces.task import Task
from nas.storage.reasons import Reason
from nas.training.pool import POLL_SECONDS, WorkerPool


class Search:
    """One search in one study.

    Args:
        ledger: holds the study, and what the search was asked for.
        space: makes a candidate of a trial.
        task: the images' shape and the limits.
        data: train and validation images.
        pool: the workers that train on those images.
        callback: told of everything that happens.
        stop: asked before each proposal and each step.
    """

    def __init__(
        self,
        ledger: Ledger,
        space: SearchSpace,
        task: Task,
        data: Dataset,
        pool: WorkerPool,
        callback: Callback,
        stop: StopRequest,
    ) -> None:
        self.ledger = ledger
        self.space = space
        self.task = task
        self.data = data
        self.pool = pool
        self.callback = callback
        self.stop = stop
        self.config = ledger.config
        self.runner = TrialRunner(ledger, pool, callback, stop)
        self.first_proposals = space.first_proposals(task)
        # A search that was broken off in a row of rejections goes on with it; one that had ended
        # with them tries again.
        before = ledger.num_rejected_last
        self.num_rejected = before if before < self.config.max_rejected else 0  # in a row

    def begin_with(self, proposals: list[Params]) -> None:
        """Propose these parameter values next, unless the study has had or awaits them already."""
        # Of two, one may hold what the space does not ask for on these images.
        before = [used_params(self.space, self.task, params) for params in self.ledger.enqueued()]
        for params in proposals:
            mine = used_params(self.space, self.task, params)
            if mine not in before:
                self.ledger.enqueue(params)
                before.append(mine)

    def run(self) -> SearchEnded:
        """Search until there are enough trained candidates, or a limit is reached.

        Raises:
            SpaceError: the space file raised an error, or returned no candidate.
            SearchError: several candidates in a row could not be trained.
        """
        self._tell_start()
        if others := self.ledger.other_versions():
            # Scores of other versions compare, but are not equal to the last digit.
            self.callback(
                Note(
                    f"parts of this study were made with {', '.join(others)}: it goes on with "
                    "others, and does not end quite as it would have"
                )
            )
        for number in self.ledger.results.tidy_up():
            self.callback(Note(f"trial {number} was finished before: it is stored now"))
        self._sync()
        self.begin_with(self.first_proposals)
        self._plan()
        try:
            while (why := self._why_end()) is None or self.runner.running:
                self._sync()
                if why is None and self.pool.num_idle and self.ledger.wants_more:
                    self._propose()
                    continue
                if self.stop():
                    self.pool.stop()
                if not self.runner.is_busy:  # others train what is still missing
                    time.sleep(POLL_SECONDS)
                    continue
                self.runner.poll()
        except STORAGE_FAILURES:
            self.runner.save_finished()
            raise
        finally:  # on an error, or the second Ctrl-C: close what is still in work
            self.runner.close_all()
        self.ledger.leave()
        return self._tell_end(why)

    def _tell_start(self) -> None:
        best, budget = self.ledger.best(), self.task.budget
        self.callback(
            SearchStarted(
                study=self.ledger.study.study_name,
                space=self.space.name,
                dataset=self.data.name,
                num_train=self.pool.num_train,
                num_valid=self.pool.num_valid,
                device=self.runner.device,
                workers=self.pool.num_workers,
                max_params=None if budget.is_flash_alone else budget.max_params,
                budget=budget.summary(),
                trials=self.config.trials,
                epochs=self.task.epochs,
                counts=self.ledger.counts,
                best_trial=best.number if best else None,
                best_accuracy=best.valid_accuracy if best else None,
                seconds_left=self.stop.seconds_left,
                largest_share=self.data.largest_share,
            )
        )

    def _tell_end(self, why: str) -> SearchEnded:
        best = self.ledger.best()
        is_timed = self.ledger.timetable is not None and why == self._no_time
        ended = SearchEnded(
            study=self.ledger.study.study_name,
            reason=self.stop.reason or (Reason.TIME_LIMIT if is_timed else None),
            why=why,
            counts=self.ledger.counts,
            best_trial=best.number if best else None,
            best_accuracy=best.valid_accuracy if best else None,
            best_num_params=best.num_params if best else None,
            best_schedule=best.schedule_text if best and best.is_short else "",
            seconds_needed=self._seconds_needed
            if best is None and not self.stop.signal_number
            else None,
        )
        self.callback(ended)
        return ended

    def _plan(self) -> None:
        """With a time limit: measure how fast this machine is, and say what will fit."""
        if self.stop.seconds_left is None:
            return
        num_train, pace, why = self.pool.num_train, self.runner.pace, ""
        batch_size = Recipe.batch_size
        tried = candidates(self.space, self.task, self.first_proposals)
        for candidate in islice(tried, MAX_ERRORS_IN_A_ROW):
            why = probe(self.pool, candidate, num_train, pace, self.stop)
            if not why or self.stop():
                batch_size = candidate.recipe.batch_size
                break
        left, image_seconds = self.stop.seconds_left, pace.image_seconds
        if image_seconds is None:
            if why and not self.stop():
                raise SearchError(f"{MAX_ERRORS_IN_A_ROW} candidates in a row failed: {why}")
            return  # stopped meanwhile; or random draws find nothing, as the gate will say
        plan = TimePlan(
            left, num_train, self.pool.num_valid, self.task.epochs, batch_size,
            with_rungs=not self.ledger.pruner.reports_every_epoch,
        )  # fmt: skip
        table = Timetable(plan, pace, self.stop, has_start=bool(self.first_proposals))
        self.ledger.timetable = table
        self.ledger.refresh()
        outlook = table.outlook(self.pool.num_workers, self.ledger.num_missing)
        self.callback(
            PlanMade(
                left, outlook.num_candidates, outlook.epochs, self.task.epochs,
                plan.seconds(1, image_seconds), table.least_seconds,
            )
        )  # fmt: skip

    def _sync(self) -> None:
        for number in self.ledger.sync():
            self.callback(Note(f"trial {number} was broken off: it is tried again"))

    def _propose(self) -> None:
        """Ask for one proposal, or promote a stopped one, and gate it; train what fits."""
        step, table = self.ledger.step, self.ledger.timetable
        trial = self.ledger.ask()
        try:
            candidate = self._admitted(trial)
            if candidate is None:
                return
            if step is not None and table is not None:
                step = table.fitted(step, candidate)
                if step is None:
                    self._give_up(trial, candidate)
                    return
            self.runner.start(trial, candidate, step)
        except UpdateFinishedTrialError:
            self.runner.drop(trial.number)

    def _admitted(self, trial: optuna.Trial) -> Candidate | None:
        """The trial's candidate, or None where it was turned away and the trial closed.

        Raises:
            SpaceError: the space file raised an error, or returned no candidate.
        """
        before = self.ledger.promoted_from(trial)
        try:
            candidate = self.space.propose(trial, self.task)
        except InvalidCandidateError as error:
            self._reject(trial, Rejected(Reason.INVALID, str(error)))
            return None
        except (UpdateFinishedTrialError, *STORAGE_FAILURES):
            raise  # the storage's: the trial cannot be closed, or is
        except BaseException as error:  # the search cannot go on, but the trial is closed
            is_interrupt = isinstance(error, KeyboardInterrupt)
            reason = Reason.INTERRUPTED if is_interrupt else Reason.ERROR
            self.ledger.fail(trial, reason, one_line(error))
            raise
        if before is not None and before.candidate is not None:
            candidate = before.candidate  # whatever the space makes of it by now
        verdict = gate(candidate, self.task.budget, self.ledger.known_besides(trial))
        self.ledger.record_excess(trial, verdict.excess)
        if isinstance(verdict, Rejected):
            self._reject(trial, verdict)
            return None
        if before is None:
            self.num_rejected = 0
        return candidate

    def _reject(self, trial: optuna.Trial, verdict: Rejected) -> None:
        """Turn a proposal away before training."""
        score = self.ledger.reject(trial, verdict)
        self.num_rejected += 1
        reason, detail, num_params = verdict.reason, verdict.detail, verdict.num_params
        self.callback(TrialEnded(trial.number, reason, detail, num_params, score, None, False))

    def _give_up(self, trial: optuna.Trial, candidate: Candidate) -> None:
        """Close a trial whose candidate is too slow to be trained in the time that is left."""
        detail = "no schedule of it would end in time"
        self.ledger.fail(trial, Reason.TIME_LIMIT, detail)
        num_params = candidate.architecture.num_params
        self.callback(
            TrialEnded(trial.number, Reason.TIME_LIMIT, detail, num_params, None, None, False)
        )

    @property
    def _no_time(self) -> str:
        """Why the search ends where the timetable has nothing more to train."""
        return (
            f"nothing that could still win would end within the {self.stop.timeout_seconds:,.0f} s "
            f"of {option('timeout')}"
        )

    @property
    def _seconds_needed(self) -> float | None:
        """A time limit that suffices, where this one was too short to train anything."""
        limit, table = self.stop.timeout_seconds, self.ledger.timetable
        if limit is None:
            return None
        return 2 * max(limit, table.least_seconds if table else 0)

    def _why_end(self) -> str | None:
        """Why the search ends here, in a sentence, or None to go on."""
        ledger = self.ledger
        if self.stop.reason == Reason.INTERRUPTED:
            return "interrupted"
        if self.stop.reason == Reason.TIME_LIMIT:
            return f"the time limit of {self.stop.timeout_seconds:,.0f} s is reached"
        if ledger.timetable is not None and ledger.wants_more:
            return self._why_exhausted()
        if not ledger.num_missing and ledger.promotion is None:
            return (
                f"the study holds {count(ledger.num_trained, 'trained candidate')}, as asked with "
                f"{option('trials')}"
            )
        if (why := self._why_exhausted()) is not None:
            return why
        return self._no_time if ledger.timetable is not None else None

    def _why_exhausted(self) -> str | None:
        """Why there are no more proposals, if that is so and nothing is to be promoted either."""
        if self.num_rejected < self.config.max_rejected:
            return None
        self.ledger.exhaust()
        if self.ledger.promotion is not None:
            return None
        return (
            f"{self.num_rejected} proposals in a row were turned away before training: "
            f"{self._why_rejected()}, or try for longer with {option('max_rejected')}"
        )

    def _why_rejected(self) -> str:
        """What most of the last proposals have in common, and what to do."""
        last = self.ledger.last_rejections(self.config.max_rejected)
        ((reason, count),) = Counter(reason for reason, _ in last).most_common(1)
        if reason == Reason.OVER_BUDGET:
            budget = self.task.budget
            larger = option("max_flash" if budget.is_flash_alone else "budget")
            return (
                f"{count} did not fit {budget.summary()}; give a larger {larger}, or change the "
                "space so that more of it fits"
            )
        if reason == Reason.DUPLICATE:
            return f"{count} had been trained before; make the space larger"
        *_, why = (detail for other, detail in last if other == reason)
        return f"{count} cannot be built, the last because: {why}; change the space"
