"""Workers are processes that report, fail, hang and are ended: none of them outlives its run."""

import contextlib
import multiprocessing
import operator
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from attrs import define, field

from mimodsl.runtime.errors import RankFailed, RanksHung
from mimodsl.runtime.workers import Watch, run_workers
from tests.e2e.stillness import Stillness


@define
class Heard:
    """An observer that keeps what it hears."""

    phases: list = field(factory=list)
    values: dict = field(factory=dict)

    def entered(self, rank, phase):
        self.phases.append((rank, phase))

    def reported(self, rank, value):
        self.values[rank] = value

    def tick(self): ...


@pytest.fixture
def alive():
    """A pipe that every worker inherits: reading it ends when the last of them is gone."""
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)

    def gone() -> bool:
        os.close(theirs)
        return os.read(ours, 1) == b""

    yield gone
    os.close(ours)


def wait_for_ever(worker):
    signal.pause()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_values_come_back_by_rank(start):
    assert run_workers(3, operator.attrgetter("rank"), start=start) == (0, 1, 2)


def test_an_observer_hears_phases_and_values():
    def work(worker):
        worker.phase("model")
        worker.report(worker.rank * 10)

    heard = Heard()
    run_workers(2, work, watch=Watch(observer=heard))
    assert sorted(heard.phases) == [(0, "model"), (1, "model")]
    assert heard.values == {0: 0, 1: 10}


@pytest.mark.parametrize("phase", [None, "grids", "model", "step 3"])
def test_a_crash_names_rank_phase_error_and_place(phase, alive):
    def work(worker):
        if phase is not None:
            worker.phase(phase)
        if worker.rank == 2:
            raise ValueError("the heads are odd")
        wait_for_ever(worker)

    with pytest.raises(RankFailed) as raised:
        run_workers(4, work)
    failure = raised.value.failure
    assert (failure.rank, failure.phase) == (2, phase or "starting")
    assert failure.error == "ValueError: the heads are odd"
    assert failure.where.endswith("in work")
    assert "test_launch_workers.py" in failure.where
    assert "raise ValueError" in raised.value.details
    assert f"rank 2 failed ({phase or 'starting'})" in str(raised.value)
    assert alive()


@pytest.mark.parametrize(
    ("leave", "error"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by signal 9 (SIGKILL)"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "killed by signal 11 (SIGSEGV)"),
        (lambda: os._exit(3), "exited with code 3"),
        (lambda: sys.exit(3), "SystemExit: 3"),
    ],
)
def test_a_process_that_ends_before_its_work_has_failed(leave, error, alive):
    def work(worker):
        worker.phase("step 1")
        if worker.rank == 1:
            leave()
        wait_for_ever(worker)

    with pytest.raises(RankFailed) as raised:
        run_workers(3, work)
    assert (raised.value.failure.rank, raised.value.failure.phase) == (1, "step 1")
    assert error in raised.value.failure.error
    assert alive()


def test_a_segmentation_fault_shows_where_python_was():
    def work(worker):
        os.kill(os.getpid(), signal.SIGSEGV)

    with pytest.raises(RankFailed) as raised:
        run_workers(1, work)
    assert raised.value.failure.where.endswith("in work")


def test_the_cause_is_named_not_a_rank_that_fell_over_it():
    ours, theirs = socket.socketpair()

    def work(worker):
        if worker.rank == 1:
            ours.close()
            theirs.recv(1)
            os.kill(os.getpid(), signal.SIGKILL)
        theirs.close()
        ours.send(b"x")
        if ours.recv(1) == b"":
            raise ConnectionError("peer closed")

    def started():
        ours.close()
        theirs.close()

    with pytest.raises(RankFailed) as raised:
        run_workers(2, work, started=started)
    assert raised.value.failure.rank == 1
    assert "SIGKILL" in raised.value.failure.error


def test_a_value_that_does_not_pickle_is_a_failure_of_its_rank():
    with pytest.raises(RankFailed, match="rank 0 failed"):
        run_workers(1, lambda worker: lambda: None)


def test_what_a_rank_started_ends_with_it(alive):
    def work(worker):
        if worker.rank == 0:
            subprocess.Popen(["sleep", "1000"], close_fds=False)
            raise RuntimeError("enough")
        wait_for_ever(worker)

    with pytest.raises(RankFailed):
        run_workers(2, work)
    assert alive()


def test_output_stays_out_of_the_terminal_and_is_shown_after_a_failure(capfd):
    def work(worker):
        for number in range(30):
            print("line", number, flush=True)
        os.write(2, b"and from C\n")
        if worker.rank == 1:
            raise ValueError

    with pytest.raises(RankFailed) as raised:
        run_workers(2, work)
    assert capfd.readouterr() == ("", "")
    shown = str(raised.value).splitlines()
    assert "  and from C" in shown
    assert "  line 29" in shown
    assert "  line 1" not in shown


def test_verbose_output_goes_to_standard_error(capfd):
    run_workers(1, lambda worker: print("chatter"), watch=Watch(verbose=True))
    assert capfd.readouterr() == ("", "chatter\n")


def test_a_hang_says_which_rank_waits_where(alive):
    stillness = Stillness(ranks=3)

    def work(worker):
        worker.phase("step 1" if worker.rank == 1 else "step 2")
        say_and_wait()

    def say_and_wait():
        stillness.say()
        signal.pause()

    with contextlib.closing(stillness), pytest.raises(RanksHung) as raised:
        run_workers(3, work, watch=Watch(timeout=50.0, clock=stillness.clock))
    assert [(at.rank, at.phase) for at in raised.value.waiting] == [
        (0, "step 2"),
        (1, "step 1"),
        (2, "step 2"),
    ]
    assert all(at.where.endswith("in say_and_wait") for at in raised.value.waiting)
    assert "ranks 0, 2 (step 2) at" in str(raised.value)
    assert "no rank moved for 50 s" in str(raised.value)
    assert alive()


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(RankFailed):
        run_workers(2, lambda worker: 1 / 0)
    run_workers(2, operator.attrgetter("rank"))
    assert list(tmp_path.iterdir()) == []


LAUNCHER = """
import signal
from mimodsl.runtime.workers import Watch, run_workers

class Ready:
    ranks = set()
    def entered(self, rank, phase):
        self.ranks.add(rank)
        if len(self.ranks) == 3:
            print("ready", flush=True)
    def tick(self): ...

def work(worker):
    worker.phase("model")
    signal.pause()

run_workers(3, work, watch=Watch(observer=Ready()))
"""


def test_semaphores_of_spawned_ranks_are_tidied_up_in_silence():
    program = (
        "from functools import partial\n"
        "from mimodsl.runtime.workers import run_workers\n"
        "from tests.e2e.test_launch_workers import leave_a_semaphore\n"
        "if __name__ == '__main__':\n"
        "    run_workers(2, leave_a_semaphore, start='spawn')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (ran.stdout, ran.stderr) == (b"", b"")


def leave_a_semaphore(worker):
    leaked.append(multiprocessing.Semaphore())


leaked = []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, -signal.SIGINT),
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGHUP, 128 + signal.SIGHUP),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_signal_ends_launcher_and_ranks(number, code, tmp_path):
    ours, theirs = os.pipe()
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=[theirs],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    os.close(theirs)
    with launcher:
        assert launcher.stdout.readline() == b"ready\n"
        launcher.send_signal(number)
        assert launcher.wait() == code
    assert os.read(ours, 1) == b""  # the last process that had the other end is gone
    os.close(ours)
    if number != signal.SIGKILL:  # which leaves no time to tidy up
        assert list(Path(tmp_path).iterdir()) == []
