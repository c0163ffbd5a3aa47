"""Training runs that lose a rank, hang, or are interrupted: one message, and nothing left over."""

import contextlib
import importlib
import itertools
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mimodsl.builder.schedule import MicrobatchSchedule
from mimodsl.cli.main import main
from mimodsl.runtime import workers
from mimodsl.runtime.errors import RankFailed
from mimodsl.runtime.launch import run_ranks
from mimodsl.runtime.signals import ending_signals, temporary_folder
from mimodsl.show.progress import Progress
from tests.e2e.stillness import Stillness

SPECS = Path(__file__).parents[2] / "specs"
SMALL = ("build", str(SPECS / "nemotron_vlm_colocated.mimo"), "--set", "world=2", "--device", "cpu")
KILLED = "  the process was killed by signal 9 (SIGKILL)"


@pytest.fixture(autouse=True)
def outside_a_launcher(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)


@pytest.fixture(scope="module", autouse=True)
def ran_before():
    """What torch opens once, and for good, is open."""
    run_ranks(1, lambda worker: None)


@pytest.fixture(autouse=True)
def leaves_nothing(tmp_path, monkeypatch):
    """Afterwards no process, file, connection or port of a run is there any more."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    before = open_files()
    yield
    assert open_files() == before
    os.close(theirs)
    assert os.read(ours, 1) == b""  # the last process that had the other end is gone
    os.close(ours)
    assert list(tmp_path.iterdir()) == []


def open_files() -> dict[str, str]:
    """What each descriptor of this process stands for."""
    files = {}
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor that lists the folder
            files[path.name] = str(path.readlink())
    return files


def on_rank_1(patch, path: str, act: Callable[[], object], *, call: int = 1, name: str) -> None:
    """Have rank 1 do something when it comes to a function for the `call`-th time."""
    module, _, holder = path.partition(":")
    owner = importlib.import_module(module)
    owner = getattr(owner, holder) if holder else owner
    original, calls = getattr(owner, name), itertools.count(1)

    def hooked(*args, **kwargs):
        if os.environ.get("RANK") == "1" and next(calls) == call:
            act()
        return original(*args, **kwargs)

    patch.setattr(owner, name, hooked)


def send_self(number: int) -> None:
    signal.pthread_kill(threading.get_ident(), number)  # this thread takes it before it goes on


def refused(capfd, *more: str) -> list[str]:
    """The lines that a run ends in."""
    assert main([*SMALL, "--steps", "3", *more]) == 1
    out, err = capfd.readouterr()
    assert "    3  " not in out
    assert "Traceback" not in err
    lines = err.splitlines()
    assert [line for line in lines if line.startswith("error:")] == lines[:1]
    return lines


# A step has one microbatch, and two backward passes: the second is that of the encoder.
@pytest.mark.parametrize(
    ("path", "name", "call", "phase"),
    [
        ("torch.distributed", "init_process_group", 1, "rendezvous"),
        ("mimodsl.builder.assembly", "build_model", 1, "model"),
        ("mimodsl.builder.assembly", "build_optimizer", 1, "optimizer"),
        ("megatron.core.models.mimo:MimoModel", "forward", 2, "step 2, forward"),
        ("torch.autograd", "backward", 3, "step 2, backward"),
        (
            "megatron.core.models.mimo.optimizer:MimoOptimizer",
            "step_with_ready_grads",
            2,
            "step 2, optimizer",
        ),
    ],
    ids=["rendezvous", "model", "build", "forward", "backward", "step"],
)
def test_a_killed_rank_is_named_with_its_phase(path, name, call, phase, capfd, monkeypatch):
    on_rank_1(monkeypatch, path, partial(send_self, signal.SIGKILL), call=call, name=name)
    assert refused(capfd)[:2] == [f"error: rank 1 failed ({phase})", KILLED]


def test_a_rank_that_leaves_processes_behind_is_missed_at_once(monkeypatch):
    def work(worker):
        if worker.rank == 1:
            if os.fork():
                send_self(signal.SIGKILL)
            signal.pause()  # in a process that holds all that rank 1 had open
        signal.pause()

    with pytest.raises(RankFailed, match="rank 1 failed") as raised:
        run_ranks(2, work)
    assert KILLED in str(raised.value)


@pytest.fixture
def stillness(monkeypatch):
    """Both ranks have come to a call for the second time, and wait."""
    with contextlib.closing(Stillness(ranks=2, times=2)) as found:
        monkeypatch.setattr(workers, "Watch", partial(workers.Watch, clock=found.clock))
        yield found


@pytest.mark.parametrize(
    ("act", "stands", "absence"),
    [
        (
            partial(send_self, signal.SIGSTOP),
            # It runs on for a moment before it is ended, and may write its stack then.
            r"stopped at \S+ in \w+",
            "rank 1 did not arrive: stopped by a signal or a debugger",
        ),
        (
            signal.pause,
            r"at \S+ in hooked",
            "rank 1 did not arrive: in no call that waits for other ranks",
        ),
    ],
    ids=["stopped", "blocked"],
)
def test_a_rank_that_falls_silent_is_named(act, stands, absence, stillness, capfd, monkeypatch):
    owner, name = MicrobatchSchedule, "_sum_over_world"
    on_rank_1(monkeypatch, f"{owner.__module__}:{owner.__name__}", act, call=2, name=name)
    hooked = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args: (stillness.say(), hooked(*args))[1])
    lines = refused(capfd, "--timeout", "1")
    place = r"mimodsl/builder/schedule.py:\d+ in _sum_over_world"
    assert lines[0] == "error: no rank moved for 1 s; the ranks still running were waiting:"
    assert re.fullmatch(rf"  rank 0 \(step 2, backward\) in all_reduce at {place}", lines[1])
    assert re.fullmatch(rf"  rank 1 \(step 2, backward\) {stands}", lines[2])
    assert lines[3] == absence


def raise_at_once(*numbers: int) -> None:
    """Have signals come so close together that Python sees all of them at once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        signal.pthread_kill(threading.get_ident(), number)  # no other thread may take it
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([signal.SIGINT], "interrupted\n"),
        ([signal.SIGTERM], "interrupted by SIGTERM\n"),
        ([signal.SIGINT, signal.SIGTERM], "interrupted\n"),
    ],
)
def test_signals_in_training_end_it(numbers, message, capfd, monkeypatch):
    monkeypatch.setattr(Progress, "reported", lambda *_: raise_at_once(*numbers))
    assert main([*SMALL, "--steps", "1000"]) == 1
    assert capfd.readouterr().err == message


@pytest.mark.parametrize(
    ("owner", "name"),
    [(workers, "_kill"), (tempfile.TemporaryDirectory, "cleanup")],
    ids=["ranks", "files"],
)
def test_ctrl_c_again_does_not_break_off_the_cleanup(owner, name, capfd, monkeypatch):
    original, sent = getattr(owner, name), []

    def send(where: str) -> None:
        sent.append(where)
        send_self(signal.SIGINT)

    def impatient(*args):
        if sent:
            send(name)
        return original(*args)

    monkeypatch.setattr(owner, name, impatient)
    monkeypatch.setattr(Progress, "reported", lambda *_: send("training"))
    assert main([*SMALL, "--steps", "1000"]) == 1
    assert capfd.readouterr().err == "interrupted\n"
    assert set(sent) == {"training", name}


def test_ctrl_c_while_a_temporary_folder_is_removed_waits_for_that(monkeypatch):
    original = tempfile.TemporaryDirectory.cleanup
    interrupted = lambda one: (send_self(signal.SIGINT), original(one))  # noqa: E731
    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", interrupted)
    with pytest.raises(KeyboardInterrupt), temporary_folder() as folder:
        (folder / "output").touch()


def test_ctrl_c_after_a_failure_leaves_its_message(capfd, monkeypatch):
    original = workers._kill
    monkeypatch.setattr(workers, "_kill", lambda one: (send_self(signal.SIGINT), original(one)))
    path = "mimodsl.builder.assembly"
    on_rank_1(monkeypatch, path, partial(send_self, signal.SIGKILL), name="build_model")
    assert refused(capfd)[0] == "error: rank 1 failed (model)"


@pytest.mark.parametrize(
    ("number", "message"),
    [(signal.SIGINT, "interrupted\n"), (signal.SIGTERM, "interrupted by SIGTERM\n")],
)
def test_a_signal_from_outside_sent_twice_ends_the_process(number, message):
    """The command line as a process, forked from this one, which has loaded megatron-core."""
    shown, show = os.pipe()

    def command() -> None:
        sys.stdout = sys.stderr = os.fdopen(show, "w")
        sys.argv[1:] = [*SMALL, "--steps", "1000"]
        sys.exit(main())

    process = multiprocessing.get_context("fork").Process(target=command)
    process.start()
    os.close(show)
    with os.fdopen(shown) as lines:
        assert any(line.split()[:1] == ["1"] for line in lines)
        for _ in range(2):
            os.kill(process.pid, number)
        assert list(lines)[-1] == message
    process.join()
    assert process.exitcode == 1
    process.close()


def test_a_rank_of_torchrun_leaves_signals_alone(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with ending_signals():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


AT_EXIT = """
import atexit, signal, sys
from mimodsl.cli import build, main

atexit.register(signal.raise_signal, signal.SIGINT)
build._run = lambda args: exec("signal.raise_signal(signal.SIGINT)")
sys.exit(main.main())
"""


def test_ctrl_c_in_any_code_and_again_at_exit_ends_in_a_word_and_1(tmp_path_factory):
    folder = tmp_path_factory.mktemp("module")
    (folder / "command.py").write_text(AT_EXIT)
    ended = subprocess.run(
        [sys.executable, "-m", "command", *SMALL],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "interrupted\n")
