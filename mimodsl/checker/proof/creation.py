"""What a rank takes part in while its model is built: groups that it makes, and waits for all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mimodsl.checker.proof.cut import Cut
from mimodsl.checker.proof.faults import Parting, Step
from mimodsl.checker.proof.passes import parts
from mimodsl.planner.plan import Plan
from mimodsl.planner.sharing import CommunicatorPlan

_OPTIMIZERS = ("dense", "expert")
"""For each, megatron-core asks the world for parameter groups (optimizer/__init__.py:364)."""


def prove_groups(cut: Cut) -> Parting | None:
    """Where ranks part as they are built, or `None`.

    A group is made by its members, which wait for each other, and whatever megatron-core makes
    itself by the whole world. What a rank makes follows from where it is on which grids, so that a
    few ranks stand for all.
    """
    return parting(steps(cut, cut.communicators))


def parting(programs: Mapping[int, Sequence[Step]]) -> Parting | None:
    """Run what ranks do. Where that ends too early: two next to each other in a circle of waits, or
    a rank that waits for one that is done."""
    done = dict.fromkeys(programs, 0)
    waiting: dict[Step, set[int]] = {}
    ready = list(programs)
    while ready:
        rank = ready.pop()
        step = _at(programs[rank], done[rank])
        if step is None:
            continue
        there = waiting.setdefault(step, set())
        there.add(rank)
        if there.issuperset(_members(step, programs)):
            ready += waiting.pop(step)
            for member in there:
                done[member] += 1
    path = [rank for rank in programs if _at(programs[rank], done[rank]) is not None][:1]
    while path:
        step = programs[path[-1]][done[path[-1]]]
        missing = next(one for one in _members(step, programs) if one not in waiting[step])
        ended = _at(programs[missing], done[missing]) is None
        if missing in path or ended:
            circle = path[-1:] if ended else path[path.index(missing) :]
            first, second = (*circle, missing)[:2]
            steps = _at(programs[first], done[first]), _at(programs[second], done[second])
            return Parting(ranks=(first, second), steps=steps, position=done[first])
        path.append(missing)
    return None


def _at(steps: Sequence[Step], position: int) -> Step | None:
    return steps[position] if position < len(steps) else None


def _members(step: Step, ranks: Iterable[int]) -> Iterable[int]:
    return ranks if step.members is None else step.members


def steps(cut: Cut, made: Iterable[CommunicatorPlan]) -> dict[int, tuple[Step, ...]]:
    """What every rank does with others in `build.assembly.assemble`, given the communicators.

    What it does within a group of its own is left out: tied embeddings, made equal by the ranks
    that hold them.
    """
    listed = tuple(made)
    own: dict[int, list[Step]] = {rank: [] for rank in cut.ranks}
    for communicator in listed:
        for members in _together(communicator, cut.ranks):
            for rank in members:
                own[rank].append(Step(communicator.made.name, members))
    return {rank: (*own[rank], *_with_the_world(cut.plan, listed, rank)) for rank in cut.ranks}


def _together(made: CommunicatorPlan, ranks: Iterable[int]) -> Iterable[tuple[int, ...]]:
    """The ranks by the communicator that they are in."""
    members: dict[int, tuple[int, ...]] = {}
    for rank in ranks:
        group = made.of(rank)
        if group is not None:
            members[group.start] = (*members.get(group.start, ()), rank)
    return members.values()


def _with_the_world(planned: Plan, made: Iterable[CommunicatorPlan], rank: int) -> Iterator[Step]:
    yield from _by_ddp(planned, made, rank)
    for bridge in planned.bridges:
        if not bridge.colocated:
            yield Step(f"barrier after {bridge.name}")  # bridge_communicator.py:180
    for part in parts(planned):
        # A rank that lacks the module stands by (build/optimizer.py).
        yield from (Step(f"{kind} optimizer of {part.module.name}") for kind in _OPTIMIZERS)


def _by_ddp(planned: Plan, made: Iterable[CommunicatorPlan], rank: int) -> Iterator[Step]:
    """DDP makes a group of its rank alone where a collection has none for experts over replicas
    (process_groups_config.py:651): in torch's way for a whole world, which others don't follow."""
    grids = {name.grid for one in made for name in one.names if name.axes == ("edp",)}
    for part in parts(planned):
        if rank in part.grid.ranks and part.grid.name not in grids:
            yield Step(f"group of rank {rank} in DDP of {part.module.name}")
