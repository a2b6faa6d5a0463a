"""Break searches in every way that is known, and count what is lost.

    python benchmarks/faults.py [kill interrupt resume ...] [--count N] [--seed S]

The searches are real but for the training, which is a toy of about 0.1 s a candidate (in earnest
in `workers`). What a search has told, and what its workers had finished when it ended by itself, is
also written to a file beside the database, and a checker compares the two at the end:

lost:    told finished, and not there any more, or with another score
double:  more candidates trained than the study asked for and processes may train beyond it, which
         is one less than there are, or the same candidate twice
zombies: trials that are still called running when nobody runs them
worse:   the best is worse than one that was told
other:   exit codes that say of trouble, the best trial's weights missing, another end in `resume`

kill:      one process, killed without warning at random moments, started again until it is done
interrupt: the same with Ctrl-C and the system's request to end
resume:    one process, cut off once anywhere; must end exactly like one that was not
locked:    another program locks the database for up to 2 s, now and then 8 s, again and again
gone:      the database is moved away during the search, and comes back
together:  eight processes begin at once on a file that is not there yet
churn:     four processes, one of them killed at random again and again
full:      there is no room for the database to grow, until there is again
damaged:   a database is cut off or has bytes changed: it is refused in one line, or searched, and
           then nothing is missing that the damage left
halted:    one of two processes is stopped for a while, and continued
workers:   of two processes that train in earnest one is killed, again and again
watched:   a dashboard polls the study of three processes all the time, and other sites' pages ask
           it to do harm
stopped:   four processes on a server that is stopped in their midst, for up to 30 s

With --server the searches share a PostgreSQL server, which is brought up for them, instead of a
file; `stopped` needs it; `locked`, `gone`, `full`, `damaged`, `workers` and `watched` need a
file.

Each line is so many runs with seeds of their own; the exit code is 1 when anything is not zero.
"""

from __future__ import annotations

import argparse
import contextlib
import sys

import torch
from arena import Arena, postgresql
from database_faults import damaged, full, gone, locked, stopped
from injections import churn, halted, interrupt, kill, resume, together, watched, workers

FAULTS = {"kill": (kill, 200), "interrupt": (interrupt, 50), "resume": (resume, 100),
          "together": (together, 50), "churn": (churn, 200), "locked": (locked, 50),
          "gone": (gone, 50), "full": (full, 50), "damaged": (damaged, 200),
          "halted": (halted, 50), "workers": (workers, 50), "watched": (watched, 200),
          "stopped": (stopped, 10)}  # fmt: skip
ON_A_FILE, ON_A_SERVER = ("locked", "gone", "full", "damaged", "workers", "watched"), ("stopped",)
COLUMNS = ("lost", "double", "zombies", "worse")  # beside `beyond`: how many were beyond, in all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", help=f"of {', '.join(FAULTS)} (default: all)")
    parser.add_argument("--count", type=int, help="injections of each (default: 50 to 200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--server", action="store_true", help="on PostgreSQL instead of files")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [n for n in FAULTS if n not in (ON_A_FILE if options.server else ON_A_SERVER)]
    if set(options.faults) - set(names):
        parser.error(f"of these there are: {', '.join(names)}")
    with postgresql() if options.server else contextlib.nullcontext() as Arena.server:
        sys.exit(run(options.faults or names, options.count, options.seed))


def run(names: list[str], count: int | None, seed: int) -> int:
    """Print the table; returns the exit code."""
    is_good = True
    print(f"| fault | runs | injections | {' | '.join(COLUMNS)} | other | beyond |")
    print("| --- |" + " --- |" * (len(COLUMNS) + 4))
    for name in names:
        inject, default = FAULTS[name]
        score = inject(count or default, seed)
        cells = [str(score.counts[column]) for column in COLUMNS]
        other = {k: v for k, v in score.counts.items() if k not in COLUMNS}
        print(f"| {name} | {score.runs} | {score.injections} | {' | '.join(cells)} | "
              f"{other or 0} | {score.num_beyond} |", flush=True)  # fmt: skip
        for note in score.notes[:20]:
            print(f"# {note}", file=sys.stderr)
        is_good = is_good and not score.counts
    return 0 if is_good else 1


if __name__ == "__main__":
    main()
