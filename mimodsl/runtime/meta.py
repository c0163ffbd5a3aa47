"""Builds any single rank of a spec in this process: on the meta device, over a fake world.

Everything that a rank of the real world constructs is constructed, by the same code: grids, groups,
modules, DDP, bridges, optimizer. Tensors have a shape and no memory, groups have members and move
nothing. So a world of any size is tried with no device, no other process, and in a blink.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, Final

import torch
import torch.distributed as dist
from attrs import frozen
from megatron.core.pipeline_parallel.bridge_communicator import BridgeCommunicator
from torch.distributed import distributed_c10d
from torch.overrides import TorchFunctionMode
from torch.testing._internal.distributed.fake_pg import FakeStore

from mimodsl.builder.assembly import Assembly, assemble
from mimodsl.ir.spec import Spec
from mimodsl.megatron import cpu
from mimodsl.megatron.cpu import Patch, applied
from mimodsl.megatron.guard import no_parallel_state
from mimodsl.planner.plan import Plan, plan
from mimodsl.planner.ranks import Ranks
from mimodsl.planner.roles import ModuleRole
from mimodsl.runtime.train import Group, groups_joined, parameters

META: Final = torch.device("meta")
FAKE: Final = "fake"


@frozen(kw_only=True)
class BuiltRank:
    """One rank that was built, and what came of it.

    `alike` are all ranks of the world that build the same, this one first; `parameters` are by
    module name, as `mimodsl.runtime.train.parameters` counts them; `groups` are all that the rank
    is in, the world's included.
    """

    rank: int
    alike: tuple[Ranks, ...]
    roles: tuple[ModuleRole, ...]
    parameters: dict[str, int]
    groups: tuple[Group, ...]
    seconds: float

    @property
    def ranks(self) -> int:
        """How many ranks of the world build the same."""
        return sum(map(len, self.alike))


def build_roles(spec: Spec) -> tuple[BuiltRank, ...]:
    """Build one rank of every distinct role of a checked spec. Needs `activate`.

    Raises whatever megatron-core refuses the spec with.
    """
    layout = plan(spec)
    return tuple(build_role(layout, alike) for alike in layout.alike())


def build_role(
    layout: Plan, alike: tuple[Ranks, ...], *, on_phase: Callable[[str], None] = lambda _: None
) -> BuiltRank:
    """Build the first of some ranks that are alike. Needs `activate`.

    `on_phase` hears of each phase as it begins.
    """
    rank, start = alike[0][0], time.perf_counter()
    with built(layout.spec, rank, on_phase=on_phase) as assembly:
        return BuiltRank(
            rank=rank,
            alike=alike,
            roles=layout.rank(rank).modules,
            parameters=parameters(assembly),
            groups=groups_joined(),
            seconds=time.perf_counter() - start,
        )


def built_parameters(spec: Spec, rank: int) -> dict[str, int]:
    """Build one rank and count its parameters by module name. Needs `activate`."""
    with built(spec, rank) as assembly:
        return parameters(assembly)


@contextlib.contextmanager
def built(
    spec: Spec, rank: int, *, on_phase: Callable[[str], None] = lambda _: None
) -> Generator[Assembly]:
    """The assembly of one rank, whose groups last as long as the block. Needs `activate`."""
    with fake_world(rank, spec.world):
        yield assemble(spec, on_phase=on_phase)


@contextlib.contextmanager
def fake_world(rank: int, world: int) -> Generator[None]:
    """Make this process one rank of a world that is not there, for the length of a block.

    Whatever is collective returns at once and moves nothing.
    """
    assert not dist.is_initialized(), "this process is a rank of another world"
    excepthook = sys.excepthook
    # HyperCommGrid believes it before the world that is there (hyper_comm_grid.py:110).
    launched = os.environ.pop("WORLD_SIZE", None)
    dist.init_process_group(FAKE, rank=rank, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        _forget_bridges()
        dist.destroy_process_group()
        # init_process_group puts one around the last for ever (distributed_c10d.py).
        sys.excepthook = excepthook
        if launched is not None:
            os.environ["WORLD_SIZE"] = launched


def activate() -> contextlib.ExitStack:
    """Make megatron-core 0.19.2 take the meta device for CUDA, and fake groups for NCCL's.

    As `cpu.activate`: once a process, or as a context manager that takes everything back. Any read
    of megatron-core's global topology raises meanwhile (`mimodsl.megatron.guard`).
    """
    with contextlib.ExitStack() as undo:
        undo.enter_context(cpu.activate())
        undo.enter_context(applied(PATCHES))
        undo.enter_context(no_parallel_state())
        undo.enter_context(META)
        undo.enter_context(_CudaMeansMeta())
        return undo.pop_all()


class _CudaMeansMeta(TorchFunctionMode):
    """Gives what a call or a tensor method says about its device a meaning without memory."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:
            return func(*args).replace("torch.cuda.meta.", "torch.cuda.")
        if func is torch.Tensor.cuda:
            return args[0].to(META)
        if "device" in kwargs:
            kwargs = {**kwargs, "device": _on_meta(kwargs["device"])}
        return func(*args, **kwargs)


def _on_meta(value: Any) -> Any:
    """The meta device where `value` names a CUDA device, else `value` itself."""
    return META if str(value).partition(":")[0] == "cuda" else value


def _faked(new_group: Callable[..., Any]) -> Callable[..., Any]:
    """`new_group` that makes a fake group whatever backend is named, without options for it."""

    def new_fake_group(*args: Any, **kwargs: Any) -> Any:
        return new_group(*args, **(kwargs | {"backend": FAKE, "pg_options": None}))

    return new_fake_group


def _forget_bridges() -> None:
    """Drop the groups that megatron-core 0.19.2 keeps on a class, by their ranks alone
    (pipeline_parallel/bridge_communicator.py:50): the next world's would be taken for them."""
    bridges: Any = BridgeCommunicator
    bridges._broadcast_pg_cache.clear()  # noqa: SLF001
    bridges._bridge_pg_cache.clear()  # noqa: SLF001


PATCHES: Final = (
    Patch(
        owner="torch.cuda",
        name="current_device",
        make=lambda _: lambda: META,
        why="the device of most of Megatron's allocations",
    ),
    *(
        Patch(
            owner=owner,
            name="new_group",
            make=_faked,
            why="a group of the fake world is as fake",
        )
        for owner in (distributed_c10d.__name__, "torch.distributed")
    ),
)
"""On top of the CPU's: what has another meaning without memory."""
