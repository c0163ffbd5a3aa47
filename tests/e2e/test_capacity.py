"""What experts with a capacity compute, save and send on real ranks is what the plan says."""

from typing import Any, Final

import pytest
import torch
from attrs import frozen
from megatron.core.transformer.moe.moe_logging import destroy_moe_metrics_tracker

from mimodsl.builder.assembly import assemble
from mimodsl.ir import (
    Attention,
    Gpt,
    Grid,
    Module,
    Moe,
    Precision,
    Schedule,
    ScheduleKind,
    Spec,
    Train,
)
from mimodsl.planner.layers import MoeLayer
from mimodsl.planner.plan import plan
from mimodsl.planner.stack import stage_layers
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.differential.balance import balanced_routers
from tests.e2e import worlds
from tests.e2e.recorder import Moved, Recorder, flop_counter
from tests.e2e.test_traffic import compare

type Case = tuple[float | None, bool]
"""A capacity factor, and whether experts are padded to the capacity."""

MEASURED: Final[dict[tuple[int, int], dict[Case, tuple[int, int]]]] = {
    (1, 1): {
        (None, False): (256, 263_168),
        (0.5, False): (128, 131_584),
        (0.5, True): (128, 131_584),
        (1.0, False): (256, 263_168),
        (1.0, True): (256, 263_168),
        (1.3, False): (256, 263_168),
        (1.3, True): (336, 345_408),
    },
    (1, 2): {
        (None, False): (128, 131_584),
        (0.5, False): (64, 65_792),
        (0.5, True): (64, 65_792),
        (1.0, False): (128, 131_584),
        (1.0, True): (128, 131_584),
        (1.3, False): (128, 131_584),
        (1.3, True): (168, 172_704),
    },
    (2, 2): {
        (None, False): (256, 164_864),
        (0.5, False): (128, 82_432),
        (0.5, True): (128, 82_432),
        (1.0, False): (256, 164_864),
        (1.0, True): (256, 164_864),
        (1.3, False): (256, 164_864),
        (1.3, True): (336, 216_384),
    },
}
"""Rows that the experts of a rank compute and bytes that they save, by etp and ep, and by case.

megatron-core 0.19.2, 8 experts, top 2, 128 tokens on a rank of etp 1 and ep 1 and 64 on the others,
balanced routers.
"""

SAVED_BY_EXPERTS: Final = (
    "routed rows",
    "routed probabilities",
    "before the activation",
    "activated",
    "weighted",
)


@frozen
class Experts:
    """What a rank's experts do in one microbatch, and what the whole rank moves and computes."""

    rows: int
    saved: int
    step: tuple[Moved, int]


@pytest.mark.parametrize(("etp", "ep"), MEASURED)
def test_experts_with_a_capacity_do_what_the_plan_says(etp: int, ep: int) -> None:
    cases = MEASURED[etp, ep]
    specs = [_spec(etp, ep, case) for case in cases]
    ranks = worlds.run(etp * ep, run, specs)
    for index, (spec, expected) in enumerate(zip(specs, cases.values(), strict=True)):
        experts: list[Experts] = [results[index] for results in ranks]
        assert {(each.rows, each.saved) for each in experts} == {expected}
        assert planned(spec) == expected
        compare(spec, [each.step for each in experts])


def _spec(etp: int, ep: int, case: Case) -> Spec:
    factor, is_padded = case
    tp = 2 if ep > 1 else 1
    moe = Moe(experts=8, topk=2, ffn=64, capacity_factor=factor, pad_to_capacity=is_padded)
    kind = Gpt(layers=1, hidden=64, vocabulary=512, attention=Attention(heads=4), moe=moe)
    views: dict[str, dict[str, int | None]] = {
        "dense": {"tp": tp, "dp": etp * ep // tp},
        "expert": {"etp": etp, "ep": ep},
    }
    return Spec(
        grids=(Grid(name="llm", views=views),),
        modules=(Module(name="language", grid="llm", kind=kind),),
        schedule=Schedule(kind=ScheduleKind.NO_PIPELINING, sequence=64, micro_batch=2),
        train=Train(precision=Precision.FP32),
    )


def planned(spec: Spec) -> tuple[int, int]:
    """The rows and the bytes that the plan states for the experts of every rank."""
    layout = plan(spec)
    (role,) = layout.rank(0).modules
    share = role.share
    (layer,) = (layer for layer in stage_layers(role) if isinstance(layer, MoeLayer))
    saved = sum(tensor.size for tensor in layer.saved(share) if tensor.name in SAVED_BY_EXPERTS)
    return layer.expert_rows(share), saved


def run(specs: list[Spec]) -> list[Experts]:
    """A step of each spec on this rank, one after the other."""
    torch.set_num_threads(1)
    return [_step(spec) for spec in specs]


def _step(spec: Spec) -> Experts:
    destroy_moe_metrics_tracker()
    assembly = assemble(spec)
    data = list(microbatches(SyntheticData(spec=spec), 0, assembly.process_groups))
    watch, recorder = _Watch(assembly.model), Recorder()
    hooks = torch.autograd.graph.saved_tensors_hooks(watch.pack, lambda tensor: tensor)
    with balanced_routers(), recorder.recording(), flop_counter() as flops, hooks:
        assembly.train_step(data)
    step = recorder.moved, flops.get_total_flops()
    return Experts(sum(watch.rows), sum(watch.storages.values()), step)


class _Watch:
    """Counts the rows that experts get, and the storages that autograd saves inside of them."""

    def __init__(self, model: Any) -> None:
        self.rows: list[int] = []
        self.storages: dict[int, int] = {}
        self._weights = {
            tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())
        }
        self._held: list[Any] = []  # a storage that is freed would give its address to another
        self._is_inside = False
        for name, module in model.named_modules():
            if name.endswith("mlp.experts"):
                module.register_forward_pre_hook(self._enter)
                module.register_forward_hook(self._leave)

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if self._is_inside and storage._cdata not in self._weights:
            self._held.append(storage)
            self.storages[storage._cdata] = storage.nbytes()
        return tensor

    def _enter(self, _: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        self.rows.append(inputs[0].shape[0])
        self._is_inside = True

    def _leave(self, *_: Any) -> None:
        self._is_inside = False
