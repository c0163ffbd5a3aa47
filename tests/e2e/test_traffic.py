"""What ranks compute and move in a real step is what the plan says."""

from collections import Counter
from pathlib import Path

import attrs
import pytest
import torch

import mimodsl
from mimodsl.builder.assembly import assemble
from mimodsl.ir import Recompute, Spec
from mimodsl.planner.calls import Purpose
from mimodsl.planner.plan import Plan, plan
from mimodsl.planner.traffic.step import rank_traffic
from mimodsl.planner.work.module import module_work
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.e2e import worlds
from tests.e2e.recorder import Moved, Recorder, flop_counter

ROOT = Path(__file__).parents[2]


def _load(name: str) -> Spec:
    """A shipped spec with more tokens than a chunk of the scan, a part of whose gradients autograd
    leaves out where there is one chunk alone; in two microbatches at most."""
    spec = mimodsl.load(ROOT / "specs" / f"{name}.mimo")
    few = min(spec.schedule.microbatches, 2)
    return attrs.evolve(spec, schedule=attrs.evolve(spec.schedule, sequence=192, microbatches=few))


SPECS = {
    "demo": _load("nemotron_vlm"),
    "colocated": _load("nemotron_vlm_colocated"),
    "pipeline": _load("nemotron_vlm_pp"),
    "gpt_moe": _load("gpt_moe"),
}


def step(spec: Spec) -> tuple[Moved, int]:
    """The message bytes and the operations of this rank's first step."""
    torch.set_num_threads(1)
    assembly = assemble(spec)
    data = list(microbatches(SyntheticData(spec=spec), 0, assembly.process_groups))
    recorder = Recorder()
    with recorder.recording(), flop_counter() as flops:
        assembly.train_step(data)
    return recorder.moved, flops.get_total_flops()


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_step_moves_and_computes_what_the_plan_says(spec: Spec) -> None:
    compare(spec, worlds.run(spec.world, step, spec))


def compare(spec: Spec, ranks: list[tuple[Moved, int]]) -> None:
    planned = plan(spec)
    expected = [_expected(planned, rank) for rank in range(spec.world)]
    for rank, (moved, _) in enumerate(ranks):
        assert _settled(moved, expected[rank][1]) == _settled(expected[rank][0], expected[rank][1])
    # Which rank hears of how many tokens is the router's choice; their number is not.
    moved, planned_moves = Counter[object](), Counter[object]()
    for (found, _), (wanted, routed) in zip(ranks, expected, strict=True):
        for total, one in ((moved, found), (planned_moves, wanted)):
            for (members, kind), size in one.items():
                if members in routed:
                    total[len(members), kind] += size
    assert moved == planned_moves
    assert sum(flops for _, flops in ranks) == sum(
        counted_by_torch(planned, rank) for rank in range(spec.world)
    )


def _expected(planned: Plan, rank: int) -> tuple[Moved, set[tuple[int, ...]]]:
    """What a rank moves, by the members of groups, and the groups that routed tokens go over."""
    members = {group.name: tuple(own) for group, own in planned.rank(rank).groups}
    members["world"] = tuple(range(planned.world))
    moved: Moved = Counter()
    routed: set[tuple[int, ...]] = set()
    for call in rank_traffic(planned, rank).calls:
        moved[members[call.group.name], call.kind] += call.bytes
        if call.group.purpose is Purpose.EXPERTS:
            routed.add(members[call.group.name])
    return moved, routed


def _settled(moved: Moved, routed: set[tuple[int, ...]]) -> Moved:
    return Counter({key: size for key, size in moved.items() if key[0] not in routed})


def counted_by_torch(planned: Plan, rank: int) -> int:
    """A rank's operations as torch's counter sees the CPU's: masked halves are computed, too, and
    the plain scan keeps what the kernels compute again."""
    total = 0
    for role in planned.rank(rank).modules:
        full = getattr(role.module.kind, "recompute", None) is Recompute.FULL
        for one in module_work(role).operations:
            flops, scan = one.flops, one.name == "mamba scan"
            extra = flops.forward * (full and flops.backward > 0) if scan else flops.extra
            total += (flops.model + extra) * (2 if one.causal else 1)
    return total * planned.spec.schedule.microbatches
