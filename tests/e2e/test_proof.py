"""What ranks do with each other while they build and train is what the proof says they do."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import attrs
import pytest
import torch.distributed as dist
from megatron.core.pipeline_parallel import schedules

import mimodsl
from mimodsl.builder.assembly import assemble
from mimodsl.checker.proof.construction import construction_calls
from mimodsl.checker.proof.program import Action, Collective, Exchange, ProcessGroup, Program
from mimodsl.checker.proof.schedule import programs
from mimodsl.checker.proof.small_world import small_world
from mimodsl.ir import Attention, Gpt, Grid, Module, Moe, Spec
from mimodsl.planner.plan import plan
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.e2e import worlds

ROOT = Path(__file__).parents[2]
COLLECTIVES = (
    "all_reduce",
    "all_gather_into_tensor",
    "reduce_scatter_tensor",
    "all_to_all_single",
    "broadcast",
    "barrier",
    "all_gather_object",
)
ALIASES = {
    "megatron.core.tensor_parallel.mappings": ("dist_all_gather_func", "dist_reduce_scatter_func"),
    "megatron.core.tensor_parallel.layers": ("dist_all_gather_func", "dist_reduce_scatter_func"),
    "megatron.core.distributed.param_and_grad_buffer": (
        "dist_all_gather_func",
        "dist_reduce_scatter_func",
    ),
}
"""Where megatron-core took collectives from torch when it was imported."""

type Token = tuple[Any, ...]


class Recorder:
    """Writes down the outermost calls of torch.distributed, and runs them."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self._depth = 0

    def wrap(self, of: Callable[..., Token | None], call: Callable[..., Any]) -> Any:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            token = of(*args, **kwargs) if self._depth == 0 else None
            if token is not None:
                self.tokens.append(token)
            self._depth += 1
            try:
                return call(*args, **kwargs)
            finally:
                self._depth -= 1

        return recorded

    def mark(self, name: str, call: Callable[..., Any]) -> Any:
        """Enclose what a pass does, which is at the outermost level again."""

        def marked(*args: Any, **kwargs: Any) -> Any:
            self.tokens.append((f"<{name}",))
            result = call(*args, **kwargs)
            self.tokens.append((f"{name}>",))
            return result

        return marked

    def patches(self) -> Iterator[Any]:
        c10d = dist.distributed_c10d
        for name in COLLECTIVES:
            yield patch.object(dist, name, self.wrap(_collective, getattr(dist, name)))
        for module, names in ALIASES.items():
            for name in names:
                call = getattr(import_module(module), name)
                yield patch.object(import_module(module), name, self.wrap(_collective, call))
        yield patch.object(dist, "new_group", self.wrap(_made, dist.new_group))
        for name, sends in (("isend", True), ("irecv", False)):
            single = self.wrap(partial(_single, sends), getattr(dist, name))
            yield patch.object(dist, name, single)
            yield patch.object(c10d, name, single)
            yield patch.object(
                dist, name[1:], self.wrap(partial(_single, sends), getattr(dist, name[1:]))
            )
        yield patch.object(dist, "batch_isend_irecv", self.wrap(_batch, dist.batch_isend_irecv))


def _collective(*args: Any, **kwargs: Any) -> Token | None:
    groups = [one for one in (*args, *kwargs.values()) if isinstance(one, dist.ProcessGroup)]
    members = dist.get_process_group_ranks(groups[0] if groups else None)
    name = groups[0].group_desc.partition(" ")[0] if groups else ""
    return ("call", name, *members) if len(members) > 1 else None


def _made(ranks: list[int], *, group_desc: str) -> Token:
    return ("group", group_desc.partition(" ")[0], *ranks)


def _single(sends: bool, tensor: Any, peer: int | None = None, **kwargs: Any) -> Token:
    return ("single", (kwargs.get("dst", kwargs.get("src", peer)), sends))


def _batch(ops: list[Any]) -> Token:
    return ("batch", *sorted((one.peer, one.op is dist.isend) for one in ops))


def trace(spec: Spec) -> tuple[list[Token], list[Token]]:
    """What this rank does with others as it is built, and in its first step."""
    build, train = Recorder(), Recorder()
    with ExitStack() as stack:
        for one in build.patches():
            stack.enter_context(one)
        assembly = assemble(spec)
    data = microbatches(SyntheticData(spec=spec), 0, assembly.process_groups)
    with ExitStack() as stack:
        for one in train.patches():
            stack.enter_context(one)
        for name, mark in (
            ("forward_step", "F"),
            ("backward_step", "B"),
            ("backward_step_multimodule", "B"),
        ):
            marked = train.mark(mark, getattr(schedules, name))
            stack.enter_context(patch.object(schedules, name, marked))
        assembly.train_step(data)
    return build.tokens, train.tokens


def _load(name: str) -> Spec:
    return mimodsl.load(ROOT / "specs" / f"{name}.mimo")


def _alone(views: dict[str, dict[str, int | None]], kind: Gpt) -> Spec:
    return attrs.evolve(
        _load("nemotron_vlm"),
        grids=(Grid(name="all", views=views),),
        place="all",
        modules=(Module(name="text", grid="all", kind=kind),),
        flows=(),
    )


SPECS = {
    "demo": _load("nemotron_vlm"),
    "colocated": _load("nemotron_vlm_colocated"),
    "pipeline": _load("nemotron_vlm_pp"),
    "two encoders": mimodsl.parse(
        # gloo gathers no tensors of different sizes, as experts that are split over etp need.
        (ROOT / "tests" / "golden" / "ok" / "two_encoders.mimo")
        .read_text()
        .replace("etp:2 * ep:2", "etp:1 * ep:4")
        .replace("microbatches = 8", "microbatches = 4")
    ),
    "three stages, tied": _alone(
        {"dense": {"dp": 2, "pp": 3}, "expert": {"ep": 2, "pp": None}},
        Gpt(
            hidden=64,
            vocabulary=512,
            layers=3,
            attention=Attention(heads=4),
            moe=Moe(experts=4, topk=2, ffn=64),
            tie_embeddings=True,
        ),
    ),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_ranks_do_what_their_programs_say(spec: Spec) -> None:
    planned = plan(spec)
    whole = small_world(planned, range(planned.world))
    expected = programs(whole)
    building = construction_calls(whole, whole.communicators)
    for rank, (built, trained) in enumerate(worlds.run(spec.world, trace, spec)):
        # Tied embeddings are made equal at once, among the ranks that hold them.
        tied = ("call", f"{spec.language.grid}.embedding")
        assert [token for token in built if token[:2] != tied] == [
            ("call", "", *range(planned.world))
            if step.members is None
            else ("group", step.name, *step.members)
            for step in building[rank]
        ]
        assert list(_summed_up(trained, planned.world)) == list(
            _summed_up(list(_tokens(expected[rank])), planned.world)
        )


def _tokens(program: Program) -> Iterator[Token]:
    for action in program:
        mark = {"the forward pass": "F", "the backward pass": "B"}.get(action.name)
        if mark:
            yield (f"<{mark}",)
        yield from map(_token, _operations(action))
        if mark:
            yield (f"{mark}>",)


def _operations(action: Action) -> Iterator[Collective | Exchange]:
    for operation in action.operations:
        if isinstance(operation, Exchange) or len(operation.group.members) > 1:
            yield operation


def _token(operation: Collective | Exchange) -> Token:
    if isinstance(operation, Collective):
        return ("call", _name(operation.group), *operation.group.members)
    messages = sorted((one.peer, one.sends) for one in operation.messages)
    return ("batch" if operation.batched else "single", *messages)


def _name(group: ProcessGroup) -> str:
    return "" if group.name == "the world" else group.name


def _summed_up(tokens: list[Token], world: int) -> Iterator[Any]:
    """Passes by the groups that they use, what is between them call by call, and what is after them
    by the groups used between any two calls over the world."""
    inside: set[Token] | None = None
    after: dict[Token, None] = {}
    passes_left = sum(token == ("<F",) or token == ("<B",) for token in tokens)
    for token in tokens:
        if token in (("<F",), ("<B",)):
            inside = set()
        elif token in (("F>",), ("B>",)):
            passes_left -= 1
            yield token[0], inside
            inside = None
        elif inside is not None:
            inside.add(token)
        elif passes_left or token[0] != "call":
            yield token
        elif token == ("call", "", *range(world)):
            yield list(after), token
            after = {}
        else:
            after.setdefault(token)
