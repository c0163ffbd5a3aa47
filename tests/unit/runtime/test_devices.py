"""What `auto` comes to on machines of all sorts."""

import attrs
import pytest

import mimodsl
from mimodsl.ir import Precision, Spec
from mimodsl.runtime.devices import (
    PROCESS,
    RANKS_A_CORE,
    Chosen,
    DeviceChoice,
    Machine,
    choose,
    held_bytes,
    this_machine,
)
from mimodsl.runtime.errors import NoDevice

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
EXPERTS = 2 * (2 * 64 * 32)
"""Parameters of the two experts that each rank has."""
DENSE = (
    2 * (256 // 2 * 64)  # embedding and output
    + 64 // 2 * (3 * 64) + 64 // 2 * 64  # queries, keys and values, and the projection
    + 8 * 64  # the router
    + 3 * 64  # norms
)  # fmt: skip
ROOMY = Machine(gpus=0, cores=1, memory=held_bytes(SPEC))


def test_fp32_takes_weight_gradient_and_a_share_of_two_moments() -> None:
    dense, experts = 4 + 4 + 8 / 4, 4 + 4 + 8 / 2
    assert padded(held_bytes(SPEC), dense * DENSE + experts * EXPERTS)


def test_bf16_has_a_copy_in_fp32_among_the_shares() -> None:
    spec = SPEC.with_train(precision=Precision.BF16)
    dense, experts = 2 + 4 + 12 / 4, 2 + 4 + 12 / 2
    assert padded(held_bytes(spec), dense * DENSE + experts * EXPERTS)


def padded(held: int, a_rank: float) -> bool:
    """Whether eight ranks hold that much each, and the padding of DDP's buffers."""
    return a_rank < held / 8 - PROCESS < 1.01 * a_rank


def test_frozen_weights_are_weights_alone() -> None:
    (language,) = SPEC.modules
    spec = attrs.evolve(SPEC, modules=(attrs.evolve(language, frozen=True),))
    assert held_bytes(spec) == 8 * (PROCESS + 4 * (DENSE + EXPERTS))


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
        "auto: meta, since there are 4 GPUs for 64 ranks, and as CPU processes they would hold "
        f"{held_bytes(big) / 2**30:.0f} GiB of weights, gradients and optimizer state, of which "
        "24 GiB are free"
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
    assert chosen == Chosen(
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
