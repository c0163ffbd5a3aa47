"""Builds any single rank of a spec in this process: on the meta device, over a fake world.

Everything that a rank of the real world constructs is constructed, by the same code: grids, groups,
modules, DDP, bridges, optimizer. Tensors have a shape and no memory, groups have members and move
nothing. So a world of any size is tried with no device, no other process, and in a blink.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator

import torch.distributed as dist
from attrs import frozen
from torch.testing._internal.distributed.fake_pg import FakeStore

from mimodsl.builder.assembly import Assembly, assemble
from mimodsl.ir.spec import Spec
from mimodsl.megatron.bridge_groups import forget_bridge_groups
from mimodsl.megatron.meta_device import FAKE
from mimodsl.planner.plan import Plan, plan
from mimodsl.planner.ranks import Ranks
from mimodsl.planner.roles import ModuleRole
from mimodsl.runtime.train import Communicator, joined_communicators, parameters


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
    groups: tuple[Communicator, ...]
    seconds: float

    @property
    def ranks(self) -> int:
        """How many ranks of the world build the same."""
        return sum(map(len, self.alike))


def build_roles(spec: Spec) -> tuple[BuiltRank, ...]:
    """Build one rank of every distinct role of a checked spec. Needs `meta_device.activate`.

    Raises whatever megatron-core refuses the spec with.
    """
    layout = plan(spec)
    return tuple(build_role(layout, alike) for alike in layout.alike())


def build_role(
    layout: Plan, alike: tuple[Ranks, ...], *, on_phase: Callable[[str], None] = lambda _: None
) -> BuiltRank:
    """Build the first of some ranks that are alike. Needs `meta_device.activate`.

    `on_phase` hears of each phase as it begins.
    """
    rank, start = alike[0][0], time.perf_counter()
    with built(layout.spec, rank, on_phase=on_phase) as assembly:
        return BuiltRank(
            rank=rank,
            alike=alike,
            roles=layout.rank(rank).modules,
            parameters=parameters(assembly),
            groups=joined_communicators(),
            seconds=time.perf_counter() - start,
        )


def built_parameters(spec: Spec, rank: int) -> dict[str, int]:
    """Build one rank and count its parameters by module name. Needs `meta_device.activate`."""
    with built(spec, rank) as assembly:
        return parameters(assembly)


@contextlib.contextmanager
def built(
    spec: Spec, rank: int, *, on_phase: Callable[[str], None] = lambda _: None
) -> Generator[Assembly]:
    """The assembly of one rank, with groups that last for the block.

    Needs `meta_device.activate`.
    """
    with fake_world(rank, spec.world):
        yield assemble(spec, on_phase=on_phase)


@contextlib.contextmanager
def fake_world(rank: int, world: int) -> Generator[None]:
    """Make this process one rank of a world that is not there, for the length of a block.

    Whatever is collective returns at once and moves nothing.
    """
    assert not dist.is_initialized(), "this process is a rank of another world"
    excepthook = sys.excepthook
    # HyperCommGrid believes it before the world that is there (hyper_comm_grid.py,
    # "in os.environ").
    launched = os.environ.pop("WORLD_SIZE", None)
    dist.init_process_group(FAKE, rank=rank, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        forget_bridge_groups()
        dist.destroy_process_group()
        # init_process_group puts one around the last for ever (distributed_c10d.py).
        sys.excepthook = excepthook
        if launched is not None:
            os.environ["WORLD_SIZE"] = launched
