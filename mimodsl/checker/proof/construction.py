"""The calls in which ranks wait for each other while the model is built: groups and barriers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mimodsl.checker.proof.collectives import megatron_modules
from mimodsl.checker.proof.faults import BuildCall, MissedCall
from mimodsl.checker.proof.small_world import SmallWorld
from mimodsl.ir.axes import EDP
from mimodsl.planner.plan import Plan
from mimodsl.planner.sharing import CommunicatorPlan

_OPTIMIZERS = ("dense", "expert")
"""For each of these, megatron-core gathers parameter groups over the world (optimizer/__init__.py,
"torch.distributed.all_gather_object")."""


def prove_groups(world: SmallWorld) -> MissedCall | None:
    """The first call that a rank misses while the model is built, or `None`.

    The members of a group make it together and wait for each other. The whole world makes the
    groups that megatron-core makes itself. The calls of a rank follow from its place on its grids,
    so a few ranks represent all.
    """
    return find_missed_call(construction_calls(world, world.communicators))


def find_missed_call(
    programs: Mapping[int, Sequence[BuildCall]],
) -> MissedCall | None:
    """Run the calls of all ranks; the missed call, or `None` where all ranks reach their end.

    Its two ranks are neighbours in a circle of waits, or the second one has reached its end.
    """
    done = dict.fromkeys(programs, 0)
    waiting: dict[BuildCall, set[int]] = {}
    ready = list(programs)
    while ready:
        rank = ready.pop()
        call = _call_at(programs[rank], done[rank])
        if call is None:
            continue
        arrived = waiting.setdefault(call, set())
        arrived.add(rank)
        if arrived.issuperset(_members(call, programs)):
            ready += waiting.pop(call)
            for member in arrived:
                done[member] += 1
    path = [rank for rank in programs if _call_at(programs[rank], done[rank]) is not None][:1]
    while path:
        call = programs[path[-1]][done[path[-1]]]
        missing = next(rank for rank in _members(call, programs) if rank not in waiting[call])
        ended = _call_at(programs[missing], done[missing]) is None
        if missing in path or ended:
            circle = path[-1:] if ended else path[path.index(missing) :]
            first, second = (*circle, missing)[:2]
            calls = (
                _call_at(programs[first], done[first]),
                _call_at(programs[second], done[second]),
            )
            return MissedCall(ranks=(first, second), calls=calls, position=done[first])
        path.append(missing)
    return None


def _call_at(calls: Sequence[BuildCall], position: int) -> BuildCall | None:
    return calls[position] if position < len(calls) else None


def _members(call: BuildCall, ranks: Iterable[int]) -> Iterable[int]:
    return ranks if call.members is None else call.members


def construction_calls(
    world: SmallWorld, communicators: Iterable[CommunicatorPlan]
) -> dict[int, tuple[BuildCall, ...]]:
    """The calls of every rank in `builder.assembly.assemble`, given the communicators.

    Calls within a group that already exists are left out: the ranks that hold tied embeddings
    make them equal.
    """
    communicators = tuple(communicators)
    own: dict[int, list[BuildCall]] = {rank: [] for rank in world.ranks}
    for communicator in communicators:
        for members in _memberships(communicator, world.ranks):
            for rank in members:
                own[rank].append(BuildCall(communicator.made.name, members))
    return {
        rank: (*own[rank], *_calls_of_the_world(world.plan, communicators, rank))
        for rank in world.ranks
    }


def _memberships(communicator: CommunicatorPlan, ranks: Iterable[int]) -> Iterable[tuple[int, ...]]:
    """Those of the ranks that are in a group of the communicator, group by group."""
    members: dict[int, tuple[int, ...]] = {}
    for rank in ranks:
        group = communicator.of(rank)
        if group is not None:
            members[group.start] = (*members.get(group.start, ()), rank)
    return members.values()


def _calls_of_the_world(
    planned: Plan, communicators: Iterable[CommunicatorPlan], rank: int
) -> Iterator[BuildCall]:
    yield from _groups_of_ddp(planned, communicators, rank)
    for bridge in planned.bridges:
        if not bridge.colocated:
            # See pipeline_parallel/bridge_communicator.py, "dist.barrier()"
            yield BuildCall(f"barrier after {bridge.name}")
    for unit in megatron_modules(planned):
        # A rank without the module takes part, too (builder/optimizer.py).
        for kind in _OPTIMIZERS:
            yield BuildCall(f"{kind} optimizer of {unit.module.name}")


def _groups_of_ddp(
    planned: Plan, communicators: Iterable[CommunicatorPlan], rank: int
) -> Iterator[BuildCall]:
    """DDP makes a group of only its own rank if the grid has no edp group
    (process_groups_config.py, "torch.distributed.new_group"). torch expects the whole world in this
    call, and the other ranks do not make it."""
    names = (name for communicator in communicators for name in communicator.names)
    grids = {name.grid for name in names if name.axes == (EDP,)}
    for unit in megatron_modules(planned):
        if rank in unit.grid.ranks and unit.grid.name not in grids:
            yield BuildCall(f"group of rank {rank} in DDP of {unit.module.name}")
