"""What a run shows while it lasts, and what it comes to in the end."""

import io
import json
import threading
from pathlib import Path

import attrs
import pytest
from rich.console import Console

import mimodsl
from mimodsl.planner.device import Device
from mimodsl.runtime.checkpoint.manifest import LoadedCheckpoint, SavedCheckpoint
from mimodsl.runtime.errors import phases_of, rank_list
from mimodsl.runtime.run import Run
from mimodsl.runtime.stack_dumps import innermost_call
from mimodsl.runtime.train import Communicator, RankSummary, Step, tokens_a_step
from mimodsl.show.progress import Progress
from mimodsl.show.run import document, groups, show

SPEC = mimodsl.parse("""
grid all {
  dense = tp:2 * dp:2
}

module language : gpt {
  layers     = 2
  hidden     = 64
  vocabulary = 256
  attention  = { heads = 4 }
}

schedule no_pipelining {
  sequence     = 32
  micro_batch  = 3
  microbatches = 5
}
""")
STEPS = (
    Step(step=1, loss=5.5, grad_norm=2.25, lr=3e-3, tokens_per_s=1234.5, seconds=0.5),
    Step(step=2, loss=4.25, grad_norm=None, lr=2.5e-4, tokens_per_s=12.0, seconds=61.25),
)


def summary(rank: int, parameters: int) -> RankSummary:
    pair = (0, 1) if rank < 2 else (2, 3)
    return RankSummary(
        rank=rank,
        parameters={"language": parameters},
        groups=(
            Communicator(tag="0", names=("default_pg",), ranks=(0, 1, 2, 3)),
            Communicator(tag=f"{pair[0] + 1}", names=("all.tp", "all.tp-cp"), ranks=pair),
        ),
        steps=STEPS,
    )


RUN = Run(
    spec=SPEC,
    device=Device.CPU,
    ranks=tuple(summary(rank, 1000 + rank % 2) for rank in range(4)),
    seconds=7.04,
)


def written(*, terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=80, color_system=None), file


@pytest.mark.parametrize(
    ("ranks", "words"),
    [
        ([3], "rank 3"),
        ([0, 1, 2, 3], "ranks 0-3"),
        ([6, 0, 1, 3], "ranks 0-1, 3, 6"),
        ([2, 4], "ranks 2, 4"),
    ],
)
def test_ranks_in_few_words(ranks, words):
    assert rank_list(ranks) == words


def test_phases_in_few_words():
    assert phases_of({0: "model", 1: "model"}) == "model"
    assert phases_of({0: "model", 2: "model", 1: "grids"}) == "ranks 0, 2: model; rank 1: grids"


def test_off_a_terminal_each_phase_and_step_is_a_line():
    console, file = written(terminal=False)
    progress = Progress(console=console)
    with progress.shown():
        for rank in (0, 1):
            progress.entered(rank, "model")
        progress.entered(0, "step 1")
        progress.reported(0, STEPS[0])
        progress.entered(0, "step 2")
        progress.reported(0, STEPS[1])
        progress.reported(0, "something else")
        progress.tick()
    assert file.getvalue().splitlines() == [
        "model",
        " step       loss  grad norm         lr   tokens/s      time",
        "    1     5.5000     2.2500   3.00e-03      1,234    0.50 s",
        "    2     4.2500   overflow   2.50e-04         12   61.25 s",
    ]


def test_on_a_terminal_phases_move_and_steps_stay():
    console, file = written(terminal=True)
    progress = Progress(console=console)
    with progress.shown():
        progress.entered(0, "model")
        progress.entered(1, "grids")
        progress._drawn = 0.0
        progress.tick()
        progress.reported(0, STEPS[0])
    text = file.getvalue()
    assert "rank 0: model; rank 1: grids" in text
    assert "    1     5.5000     2.2500   3.00e-03      1,234    0.50 s" in text
    assert "\nmodel\n" not in text


def test_checkpoints_are_lines_that_say_where_they_are():
    console, file = written(terminal=False)
    progress = Progress(console=console)
    folder = Path("run") / ("long-" * 20)
    progress.reported(0, LoadedCheckpoint(step=2, folder=folder, left_out=(), anew=()))
    progress.reported(
        0, LoadedCheckpoint(step=2, folder=folder, left_out=("vision",), anew=("a", "b"))
    )
    progress.reported(0, SavedCheckpoint(step=4, folder=folder, size=2_500_000, seconds=0.24))
    assert file.getvalue().splitlines() == [
        f"loaded step 2 from {folder}",
        f"loaded step 2 from {folder}, left out: vision, optimizer anew: a, b",
        f"saved step 4 in {folder} (2.5 MB, 0.2 s)",
    ]


def test_the_summary_says_how_to_go_on():
    console, file = written(terminal=False)
    saved = SavedCheckpoint(step=2, folder=Path("run/step-00000002"), size=1, seconds=0.5)
    run = attrs.evolve(RUN, ranks=[attrs.evolve(rank, saved=(saved,)) for rank in RUN.ranks])
    show(run, console)
    assert file.getvalue().endswith("\ngo on with --load run/step-00000002\n")
    values = json.loads(json.dumps(document(run, "spec.mimo")))
    assert values["start"] is None
    assert values["saved"] == [
        {"step": 2, "folder": "run/step-00000002", "size": 1, "seconds": 0.5}
    ]


def test_the_summary():
    console, file = written(terminal=False)
    show(RUN, console)
    text = file.getvalue()
    assert "language  0-3       1,000 to 1,001              4,002" in text
    assert "4 ranks on cpu over gloo, 3 process groups, 7.0 s" in text
    assert "loss 5.5000 → 4.2500 over 2 steps" in text
    once = [attrs.evolve(rank, steps=rank.steps[:1]) for rank in RUN.ranks]
    show(attrs.evolve(RUN, ranks=once), console)
    assert "loss 5.5000\n" in file.getvalue()


def test_the_document():
    values = json.loads(json.dumps(document(RUN, "spec.mimo")))
    assert values["world"] == 4
    assert values["plan"]["world"] == 4
    assert values["groups"][1:] == [
        {"names": ["all.tp", "all.tp-cp"], "ranks": [0, 1]},
        {"names": ["all.tp", "all.tp-cp"], "ranks": [2, 3]},
    ]
    assert values["parameters"] == {"language": {"0": 1000, "1": 1001, "2": 1000, "3": 1001}}
    assert values["steps"][1] == {
        "step": 2,
        "loss": 4.25,
        "grad_norm": None,
        "lr": 2.5e-4,
        "tokens_per_s": 12.0,
        "seconds": 61.25,
    }


def test_the_document_of_a_run_that_diverged_is_json():
    diverged = attrs.evolve(STEPS[0], loss=float("nan"), grad_norm=float("inf"))
    run = attrs.evolve(RUN, ranks=(attrs.evolve(RUN.ranks[0], steps=(diverged,)),))
    (step,) = json.loads(json.dumps(document(run, "spec.mimo"), allow_nan=False))["steps"]
    assert (step["loss"], step["grad_norm"]) == (None, None)


def test_a_group_counts_once_however_many_ranks_are_in_it():
    assert [group.tag for group in groups(RUN)] == ["0", "1", "3"]


def test_tokens_are_those_of_the_global_batch():
    assert tokens_a_step(SPEC) == 32 * 3 * 5 * 2


DUMP = f"""Fatal Python error: Aborted

Thread 0x00007f0000000001 (most recent call first):
  File "{threading.__file__}", line 331 in wait
  File "/somewhere/helper.py", line 3 in watch

Current thread 0x00007f0000000002 (most recent call first):
  File "/somewhere/site/torch/distributed/distributed_c10d.py", line 2501 in all_reduce
  File "/somewhere/site/mimodsl/megatron/cpu/device.py", line 88 in __torch_function__
  File "/somewhere/site/megatron/core/pipeline_parallel/schedules.py", line 42 in forward_step
  File "/somewhere/site/mimodsl/runtime/train.py", line 90 in _train
"""


def test_a_stack_is_told_by_its_innermost_frame_outside_of_torch(monkeypatch):
    monkeypatch.syspath_prepend("/somewhere/site")
    where = "megatron/core/pipeline_parallel/schedules.py:42 in forward_step"
    assert innermost_call(DUMP) == where
    assert innermost_call("Fatal Python error: Aborted\n") == ""
    others, _, _ = DUMP.partition("Current thread")
    assert innermost_call(others) == "/somewhere/helper.py:3 in watch"
