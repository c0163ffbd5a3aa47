"""Runs processes as users do, and says what they took and where."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
MIMODSL: Final = str(Path(sys.executable).with_name("mimodsl"))


class Measured(NamedTuple):
    """What a process took: seconds on the clock and on a core, and bytes in memory at its peak."""

    wall: float
    cpu: float
    memory: int


def measured(command: Sequence[str]) -> Measured:
    """Run a process to its end. Raises `CalledProcessError` where it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment()
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def by_turns(commands: Mapping[str, Sequence[str]], runs: int) -> dict[str, list[Measured]]:
    """Every process `runs` times, by turns, so that whatever else the machine does falls on all of
    them alike. One run more comes first and fills caches."""
    taken: dict[str, list[Measured]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            one = measured(command)
            if run:
                taken[name].append(one)
    return taken


def _environment() -> dict[str, str]:
    """As users have it: with compiled modules kept."""
    return {key: one for key, one in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def where() -> str:
    """The machine, the date and the commit."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    load = os.getloadavg()[0]
    python = f"Python {platform.python_version()}"
    machine = f"{names[0]}, {len(names)} cores, load {load:.0f}, {python}"
    return f"{machine}, {datetime.now(UTC):%Y-%m-%d}, commit {_commit()}."


def _commit() -> str:
    """COMMIT, where this is a copy of the files beside another history; or else what git says."""
    if told := os.environ.get("COMMIT"):
        return told
    command = ("git", "rev-parse", "--short", "HEAD")
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout[:-1]
