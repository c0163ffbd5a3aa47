"""What `auto` comes to on machines of all sorts."""

import attrs
import pytest

import mimodsl
from mimodsl.ir import Spec
from mimodsl.planner.memory import peak_memory
from mimodsl.runtime.devices import (
    PROCESS,
    RANKS_A_CORE,
    DeviceDecision,
    Machine,
    choose,
    free_memory,
    needed_bytes,
    this_machine,
)
from mimodsl.runtime.errors import NoDevice
from mimodsl.runtime.request import DeviceChoice

SPEC = mimodsl.parse("""
grid all {
  dense  = tp:2  * dp:4
  expert = etp:1 * ep:4 * edp:2 * pp
}

module language : gpt {
  layers     = 1
  hidden     = 64
  vocabulary = 256
  attention  = { heads = 4 }
  moe        = { experts = 8, topk = 2, ffn = 32 }
}

schedule no_pipelining {
  sequence = 32
}

train {
  precision = fp32
}
""")
ROOMY = Machine(gpus=0, cores=1, memory=needed_bytes(SPEC))


def test_memory_is_that_of_every_rank() -> None:
    layout = mimodsl.plan(nano())
    first, stage, last = (peak_memory(layout, rank).allocated for rank in (0, 16, 63))
    assert needed_bytes(nano()) == 64 * PROCESS + 16 * first + 24 * stage + 24 * last


def test_a_gpu_for_each_rank_comes_first() -> None:
    machine = attrs.evolve(ROOMY, gpus=8)
    assert str(choose(SPEC, machine, trains=True)) == (
        "auto: cuda, since there is a GPU for each of 8 ranks"
    )


def test_too_few_gpus_leave_the_cpu() -> None:
    chosen = choose(SPEC, attrs.evolve(ROOMY, gpus=1), trains=True)
    assert str(chosen) == (
        "auto: cpu, since there is 1 GPU for 8 ranks, and this machine has room for them"
    )


def test_memory_decides_by_the_byte() -> None:
    full = attrs.evolve(ROOMY, memory=ROOMY.memory - 1)
    assert choose(SPEC, ROOMY, trains=False).choice is DeviceChoice.CPU
    assert choose(SPEC, full, trains=False).choice is DeviceChoice.META


def test_the_reason_says_how_much_there_would_be_and_how_much_there_is() -> None:
    big = nano()
    machine = Machine(gpus=4, cores=64, memory=24 * 2**30)
    assert str(choose(big, machine, trains=False)) == (
        "auto: meta, since there are 4 GPUs for 64 ranks, and as CPU processes they would take "
        f"{needed_bytes(big) / 2**30:,.0f} GiB of memory, of which 24 GiB are free"
    )


def test_cores_bound_the_ranks() -> None:
    wide = attrs.evolve(
        SPEC,
        grids=mimodsl.parse(
            str(SPEC).replace("dp:4", f"dp:{RANKS_A_CORE}").replace("edp:2", "edp:_")
        ).grids,
    )
    machine = Machine(gpus=0, cores=2, memory=2**40)
    assert choose(wide, machine, trains=False).choice is DeviceChoice.CPU
    chosen = choose(wide, attrs.evolve(machine, cores=1), trains=False)
    assert chosen == DeviceDecision(
        choice=DeviceChoice.META,
        why="there are 0 GPUs for 32 ranks, and as CPU processes they are too many for 1 core",
    )


def test_what_has_to_train_is_refused_where_nothing_can() -> None:
    with pytest.raises(NoDevice, match="too many for 1 core\nhelp: --device meta builds"):
        choose(nano(), ROOMY, trains=True)


def test_this_machine_has_something() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory > 0


def nano() -> Spec:
    return mimodsl.load("specs/nemotron_3_nano_vlm.mimo")


def test_a_container_has_what_its_limit_leaves(tmp_path):
    (tmp_path / "memory.stat").write_text("anon 1000\nfile 5000\n")
    (tmp_path / "memory.max").write_text("4000\n")
    assert free_memory(tmp_path) == 3000
    (tmp_path / "memory.max").write_text("500\n")
    assert free_memory(tmp_path) == 0


@pytest.mark.parametrize("limit", ["max\n", "", None])
def test_without_a_limit_it_is_the_machine_that_counts(tmp_path, limit):
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
    assert free_memory(tmp_path) > 2**20
