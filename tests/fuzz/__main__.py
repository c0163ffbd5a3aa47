"""Fuzzes the front end: `python -m tests.fuzz --texts 100000`. Exits with 1 where a text fails."""

import argparse
import multiprocessing
import os
import resource
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

from tests.fuzz.heavy import TEXTS
from tests.fuzz.texts import text
from tests.fuzz.trial import MEGABYTES, SECONDS, STEPS, format_trial, peak_megabytes, trial
from tests.work import steps

FAILED = Path(".fuzz")
_SHARE = 500
_LEADS = (trial, format_trial)
_ADDRESSES = 2**30  # far more than the memory that is allowed, which the peak tells


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--texts", type=int, default=2_000)
    options.add_argument("--first", type=int, default=0, help="the number of the first text")
    options.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1))
    asked = options.parse_args()
    failures = [*_heavy_failures(asked.jobs), *_failures(asked.first, asked.texts, asked.jobs)]
    for failure in failures:
        print(failure)
    return int(bool(failures))


def _failures(first: int, count: int, jobs: int) -> Iterator[str]:
    """Leads numbered texts through the trial, each within its limits."""
    starts = range(first, first + count, _SHARE)
    shares = [(start, min(start + _SHARE, first + count)) for start in starts]
    codes: Counter[str] = Counter()
    most, largest = 0, 0.0
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=8) as pool:
        for found, taken, megabytes, failures in pool.imap_unordered(_share, shares):
            codes += found
            most, largest = max(most, taken), max(largest, megabytes)
            yield from failures
    print(f"{count:,} texts: {codes.pop('', 0):,} sound, {len(codes)} codes first in the others")
    print(f"at most {most:,} steps a text and {largest:.0f} MB a process")


def _share(numbers: tuple[int, int]) -> tuple[Counter[str], int, float, list[str]]:
    signal.signal(signal.SIGPROF, _out_of_time)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    codes: Counter[str] = Counter()
    failures: list[str] = []
    most = 0
    for number in range(*numbers):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            most = max(most, steps(partial(_lead_through, text(number), codes), STEPS))
        except BaseException:  # noqa: BLE001 - whatever is raised is the finding
            failures.append(_failure(number, traceback.format_exc()))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    megabytes = peak_megabytes()
    if megabytes > MEGABYTES:
        failures.append(f"texts {numbers[0]} to {numbers[1]}: {megabytes:.0f} MB")
    return codes, most, megabytes, failures


def _lead_through(found: str | bytes, codes: Counter[str]) -> None:
    codes[trial(found) or ""] += 1
    format_trial(found)


def _out_of_time(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s of CPU time")


def _failure(number: int, reason: str) -> str:
    FAILED.mkdir(exist_ok=True)
    found = text(number)
    path = FAILED / f"{number}.mimo"
    path.write_bytes(found if isinstance(found, bytes) else found.encode())
    return f"text {number} (in {path}): {reason}"


def _heavy_failures(jobs: int) -> Iterator[str]:
    """Leads each heavy text through the trial in a process of its own, which its limits end."""
    most, largest = (0, ""), (0.0, "")
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for name, status, taken, megabytes in pool.imap(_heavy, product(TEXTS, _LEADS)):
            most, largest = max(most, (taken, name)), max(largest, (megabytes, name))
            if status != 0 or megabytes > MEGABYTES:
                yield f"{name}: status {status}, {taken:,} steps, {megabytes:.0f} MB"
    print(f"{len(TEXTS)} heavy texts: at most {most[0]:,} steps ({most[1]}), ", end="")
    print(f"{largest[0]:.0f} MB ({largest[1]})", flush=True)


def _heavy(one: tuple[str, Callable[[str], object]]) -> tuple[str, int, int, float]:
    """What became of a heavy text: its name, its process's status, steps and megabytes."""
    name, lead = one
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _limited(lead, TEXTS[name], writing)
    os.close(writing)
    with os.fdopen(reading) as told:
        taken = int(told.read() or 0)
    _, status, usage = os.wait4(pid, 0)
    return name, status, taken, usage.ru_maxrss / 1024


def _limited(lead: Callable[[str], object], found: str, writing: int) -> None:
    """Ends the process: with 0, with 1 after a traceback, or by the signal of its limit.

    Writes the steps that it took.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        taken = steps(partial(lead, found), STEPS)
    except BaseException:  # noqa: BLE001 - whatever is raised is the finding
        traceback.print_exc()
        os._exit(1)
    os.write(writing, str(taken).encode())
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
