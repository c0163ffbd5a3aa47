"""The proof over random layouts: it holds for all, of programs that are megatron-core's own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d
from hypothesis import assume, given
from hypothesis import strategies as st
from megatron.core.hyper_comm_grid import HyperCommGrid
from megatron.core.models.mimo.comm.colocated_communicator import ColocatedBridgeCommunicator
from megatron.core.models.mimo.config.role import ModuleLayout
from megatron.core.pipeline_parallel import schedules
from megatron.core.pipeline_parallel.bridge_communicator import BridgeCommunicator
from megatron.core.process_groups_config import (
    MultiModuleProcessGroupCollection,
    ProcessGroupCollection,
)

from mimodsl.builder.bridges import give_to_bridges, given_to_gathers
from mimodsl.builder.grids import build_grids
from mimodsl.builder.groups import make_groups
from mimodsl.builder.model import mimo_names
from mimodsl.builder.schedule import build_communicator
from mimodsl.checker.proof.construction import construction_calls, prove_groups
from mimodsl.checker.proof.program import Action, Collective, Program
from mimodsl.checker.proof.schedule import programs, prove_step, step_phases
from mimodsl.checker.proof.small_world import SmallWorld, small_world
from mimodsl.ir import Spec
from mimodsl.megatron.cpu import backend
from mimodsl.planner.plan import Layout, Plan, plan
from mimodsl.planner.sharing import communicators
from tests.property.plan_specs import examples, specs

type Token = tuple[Any, ...]
"""An operation as both sides are compared by: its kind, then its messages or its group."""


@examples
@given(specs())
def test_legal_layouts_are_proved(spec: Spec) -> None:
    small = small_world(plan(spec))
    assert prove_groups(small) is None
    assert prove_step(small) is None


@examples
@given(specs())
def test_few_ranks_stand_for_all(spec: Spec) -> None:
    planned = plan(spec)
    assume(planned.world <= 48)
    whole = small_world(planned, range(planned.world))
    assert prove_groups(whole) is None
    assert prove_step(whole) is None


@examples
@given(specs())
def test_parts_of_a_step_make_up_the_whole(spec: Spec) -> None:
    small = small_world(plan(spec))
    parts = list(step_phases(small))
    iterations = spec.schedule.microbatches - small.plan.stages
    for rank, program in programs(small).items():
        lengths = [len(part[rank]) for part in parts]
        if len(lengths) == 1:
            assert iterations < 1
            assert parts[0][rank] == program
        else:
            begin, iteration, end = lengths
            assert begin + iterations * iteration + end == len(program)
            assert (*parts[0][rank], *parts[1][rank]) == program[: begin + iteration]
            assert parts[2][rank] == program[-end:]


class Group:
    """Stands in for a process group, seen from one rank."""

    bound_device_id: int | None = None

    def __init__(self, ranks: list[int], me: int) -> None:
        self.ranks, self.me = ranks, me

    def size(self) -> int:
        return len(self.ranks)

    def rank(self) -> int:
        return self.ranks.index(self.me)


class World:
    """Stands in for torch.distributed on one rank, and writes down what the rank does with it."""

    def __init__(self, size: int, rank: int) -> None:
        self.size, self.rank = size, rank
        self.whole = Group(list(range(size)), rank)
        self.made: list[Any] = []
        self.named: dict[int, tuple[int, ...]] = {}
        self.next_name = 0
        self.done: list[Token] = []

    def new_group(self, ranks: list[int], **_: Any) -> Group:
        assert c10d._group_count not in self.named
        self.made.append(ranks)
        self.named[c10d._group_count] = tuple(ranks)
        c10d._group_count += 1
        return Group(ranks, self.rank)

    def batch_isend_irecv(self, ops: list[Any]) -> list[Any]:
        self.done.append(("batch", *sorted((op.peer, op.op is self.isend) for op in ops)))
        return []

    def isend(self, tensor: Any, dst: int, group: Any = None) -> Any:
        self.done.append(("single", (dst, True), group is self.whole))
        return SimpleNamespace(wait=lambda: None)

    def irecv(self, tensor: Any, src: int, group: Any = None) -> Any:
        self.done.append(("single", (src, False), group is self.whole))
        return SimpleNamespace(wait=lambda: None)

    def broadcast(self, tensor: Any, src: int, group: Group) -> None:
        self.done.append(("broadcast", tuple(group.ranks)))

    @contextmanager
    def entered(self) -> Iterator["World"]:
        # Bound once: the schedule compares operations by identity.
        self.isend, self.irecv = self.isend, self.irecv  # type: ignore[method-assign]
        stand_ins: dict[str, Any] = {
            "get_rank": lambda *_: self.rank,
            "get_world_size": lambda group=None: group.size() if group else self.size,
            "get_global_rank": lambda group, rank: group.ranks[rank],
            "get_group_rank": lambda group, rank: group.ranks.index(rank),
            "get_backend": lambda *_: "nccl",
            "barrier": lambda: self.made.append("barrier"),
            "P2POp": lambda op, tensor, peer, group: SimpleNamespace(op=op, peer=peer),
            "new_group": self.new_group,
            "batch_isend_irecv": self.batch_isend_irecv,
            "isend": self.isend,
            "irecv": self.irecv,
            "send": self.isend,
            "recv": self.irecv,
            "broadcast": self.broadcast,
        }
        with ExitStack() as stack:
            stack.enter_context(patch.dict("os.environ", WORLD_SIZE=str(self.size)))
            stack.enter_context(patch.object(BridgeCommunicator, "_broadcast_pg_cache", {}))
            stack.enter_context(patch.object(BridgeCommunicator, "_bridge_pg_cache", {}))
            stack.enter_context(patch.object(dist, "group", SimpleNamespace(WORLD=self.whole)))
            stack.enter_context(patch.object(c10d, "_group_count", 1))
            for name, stand_in in stand_ins.items():
                stack.enter_context(patch.object(dist, name, stand_in))
            yield self
            self.next_name = c10d._group_count


@examples
@given(specs(), st.booleans())
def test_every_kind_of_rank_makes_the_groups_of_its_steps(spec: Spec, share: bool) -> None:
    small = small_world(plan(spec))
    every = communicators(small.plan, share=share)
    for rank, expected in construction_calls(small, every).items():
        with World(small.plan.world, rank).entered() as world:
            _bridged(small.plan, share=share)
        made = [
            None if one == "barrier" else tuple(member for member in one if member in small.ranks)
            for one in world.made
        ]
        assert made == [one.members for one in expected if "optimizer of" not in one.name]


@examples
@given(specs(), st.booleans())
def test_members_agree_on_the_name_of_every_group(spec: Spec, share: bool) -> None:
    """And all ranks on the next one, of a group that megatron-core or a user makes."""
    planned = plan(spec)
    named: dict[int, tuple[int, ...]] = {}
    for rank in small_world(planned).ranks:
        with World(planned.world, rank).entered() as world:
            make_groups(planned, share=share)
        for name, members in world.named.items():
            assert named.setdefault(name, members) == members
        assert world.next_name == 1 + sum(one.count for one in communicators(planned, share=share))
        assert max(world.named) < world.next_name


@examples
@given(specs(), st.booleans())
def test_all_ranks_make_all_groups_where_torch_takes_all(spec: Spec, share: bool) -> None:
    """As it does where the world is bound to a device, whose communicator all ranks split."""
    planned = plan(spec)
    every = communicators(planned, share=share)
    whole = [tuple(members) for one in every for members in one.made]
    for rank in small_world(planned).ranks:
        with World(planned.world, rank).entered() as world:
            world.whole.bound_device_id = 0
            made = make_groups(planned, share=share)
        assert world.named == dict(enumerate(whole, start=1))
        for one in every:
            for name in one.carries(rank):
                assert made[name] is not None
                assert made[name].ranks == list(one.of(rank) or ())
        assert sum(group is not None for group in made.values()) == sum(
            len(one.carries(rank)) for one in every
        )


def _bridged(planned: Plan, *, share: bool) -> dict[str, HyperCommGrid]:
    """A rank's grids and bridges on the groups that are made for them."""
    made = make_groups(planned, share=share)
    built = {name: one.comm for name, one in build_grids(planned.grids, made).items()}
    give_to_bridges(planned, made)
    with given_to_gathers(planned, made):
        for bridge in planned.bridges:
            ends = built[bridge.source.name], built[bridge.destination.name]
            if bridge.colocated:
                ColocatedBridgeCommunicator(*ends, dim_mapping={"b": 0, "h": 1})
            else:
                BridgeCommunicator(*ends, tensor_ndim=2)
    return built


CONFIG: dict[str, Any] = {
    "overlap_p2p_comm": False,
    "variable_seq_lengths": True,
    "batch_p2p_comm": False,
    "use_ring_exchange_p2p": False,
    "mtp_standalone": False,
    "virtual_pipeline_model_parallel_size": None,
    "pipeline_dtype": torch.float32,
    "finalize_model_grads_func": None,
    "timers": None,
    "no_sync_func": None,
    "grad_sync_func": None,
    "num_microbatches_with_partial_activation_checkpoints": None,
    "deallocate_pipeline_outputs": False,
    "calculate_per_token_loss": True,
    "overlap_moe_expert_parallel_comm": False,
}


@examples
@given(specs())
def test_ranks_exchange_what_megatron_exchanges(spec: Spec) -> None:
    planned = plan(spec)
    assume(planned.layout is not Layout.COLOCATED and planned.stages > 1)
    small = small_world(planned)
    expected = programs(small)
    for rank in small.ranks:
        recorded = [_within(small, token) for token in _recorded(spec, planned.world, rank)]
        assert [token for token in recorded if token != ("batch",) and token] == list(
            _tokens(small, expected[rank])
        )


def _within(small: SmallWorld, token: Token) -> Token:
    """A token without the messages to ranks that others stand for."""
    match token:
        case ("batch", *messages):
            return ("batch", *(one for one in messages if one[0] in small.ranks))
        case ("single", (peer, _), _) if peer not in small.ranks:
            return ()
        case ("broadcast", members):
            return ("broadcast",) if len(set(members) & set(small.ranks)) > 1 else ()
        case _:
            return token


def _tokens(small: SmallWorld, program: Program) -> Iterator[Token]:
    for action in program:
        if action.name in ("the forward pass", "the backward pass"):
            yield (str(action.sends),)
        elif action.sends or action.receives:
            yield from _operations(small, action)


def _operations(small: SmallWorld, action: Action) -> Iterator[Token]:
    for one in action.operations:
        if isinstance(one, Collective):
            yield ("broadcast",)
        elif one.batched:
            yield ("batch", *sorted((message.peer, message.sends) for message in one.messages))
        else:
            (message,) = one.messages
            yield ("single", (message.peer, message.sends), one.group is small.everyone)


def _recorded(spec: Spec, size: int, rank: int) -> list[Token]:
    """What megatron-core's schedule and communicator do on a rank, the model left out."""
    config = SimpleNamespace(**CONFIG)
    tensors = {
        key: torch.zeros(2, 2, 2) if key == "language" else torch.zeros(2, 2)
        for key in mimo_names(spec).values()
    }
    due: list[int] = []
    with ExitStack() as stack:
        stack.enter_context(backend.activate())
        world = stack.enter_context(World(size, rank).entered())

        def forward_step(*_: Any, current_microbatch: int, **__: Any) -> tuple[Any, int]:
            world.done.append((f"F{current_microbatch}",))
            due.append(current_microbatch)
            return tensors, 0

        def backward_step(*_: Any, **__: Any) -> Any:
            world.done.append((f"B{due.pop(0)}",))
            return tensors

        stack.enter_context(patch.object(schedules, "forward_step", forward_step))
        stack.enter_context(patch.object(schedules, "backward_step_multimodule", backward_step))
        # A received shape of zeros is a shape, too.
        stack.enter_context(patch.object(torch, "empty", torch.zeros))
        _run(spec, config)
    return world.done


def _run(spec: Spec, config: SimpleNamespace) -> None:
    planned = plan(spec)
    made = make_groups(planned, share=True)
    built = {name: one.comm for name, one in build_grids(planned.grids, made).items()}
    give_to_bridges(planned, made)
    keys = mimo_names(spec)
    model: Any = SimpleNamespace(
        role=SimpleNamespace(mode=ModuleLayout.NON_COLOCATED),
        mimo_config=SimpleNamespace(
            module_to_grid_map={key: built[spec.module(name).grid] for name, key in keys.items()}
        ),
        config=config,
        model_type=None,
    )
    one = SimpleNamespace(size=lambda: 1, rank=lambda: 0)
    groups = ProcessGroupCollection(tp=one, cp=one, pp=one, dp=one, dp_cp=one, embd=None)
    run: Callable[..., Any] = schedules.forward_backward_pipelining_without_interleaving
    run(
        forward_step_func=None,
        data_iterator=None,
        model=model,
        num_microbatches=spec.schedule.microbatches,
        seq_length=1,
        micro_batch_size=1,
        p2p_communicator=build_communicator(model),
        pg_collection=MultiModuleProcessGroupCollection({"language": groups}, "language"),
    )
