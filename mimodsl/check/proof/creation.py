"""What a rank takes part in while its model is built: groups that it makes, and waits for all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mimodsl.check.proof.cut import Cut
from mimodsl.check.proof.faults import Parting, Step
from mimodsl.check.proof.passes import parts
from mimodsl.plan import GroupKind, GroupPlan, Plan

_OPTIMIZERS = ("dense", "expert")
"""For each, megatron-core asks the world for parameter groups (optimizer/__init__.py:364)."""


def prove_groups(cut: Cut) -> Parting | None:
    """Where two ranks part as they are built, or `None`.

    Making a group is collective over the world, and its name comes from a counter in each process
    (torch/distributed/distributed_c10d.py): all ranks make the same groups in the same order. What
    a rank makes follows from which grids it is on, so that a few ranks stand for all.
    """
    planned = tuple(cut.plan.groups())
    return parting({rank: tuple(steps(cut.plan, planned, rank)) for rank in cut.ranks})


def parting(programs: Mapping[int, Sequence[Step]]) -> Parting | None:
    """The first step in which any rank parts from the first one."""
    (first, own), *others = programs.items()
    for rank, steps in others:
        if steps == own:
            continue
        longest = max(len(own), len(steps))
        for position in range(longest):
            pair = _at(own, position), _at(steps, position)
            if pair[0] != pair[1]:
                return Parting(ranks=(first, rank), steps=pair, position=position)
    return None


def _at(steps: Sequence[Step], position: int) -> Step | None:
    return steps[position] if position < len(steps) else None


def steps(planned: Plan, groups: Iterable[GroupPlan], rank: int) -> Iterator[Step]:
    """What a rank does with the world in `build.assembly.assemble`, given the plan's groups.

    What it does within a group of its own is left out: tied embeddings, made equal by the ranks
    that hold them.
    """
    listed = tuple(groups)
    of_grids = [group for group in listed if group.grid and group.kind in _MADE_BY_GRIDS]
    of_bridges = [group for group in listed if group not in of_grids]
    yield from map(_made, of_grids)
    yield from (_made(group) for group in of_bridges if group.kind is GroupKind.GATHER)
    yield from _by_ddp(planned, of_grids, rank)
    for bridge in planned.bridges:
        if not bridge.colocated:
            own = (group for group in of_bridges if group.name.startswith(f"{bridge.name}."))
            yield from map(_made, own)
            yield Step(f"barrier after {bridge.name}")  # bridge_communicator.py:180
    for part in parts(planned):
        # A rank that lacks the module stands by (build/optimizer.py).
        yield from (Step(f"{kind} optimizer of {part.module.name}") for kind in _OPTIMIZERS)


_MADE_BY_GRIDS = (GroupKind.AXES, GroupKind.EMBEDDING)


def _made(group: GroupPlan) -> Step:
    return Step(group.name, frozenset((group.partition, group.joined)))


def _by_ddp(planned: Plan, made: Iterable[GroupPlan], rank: int) -> Iterator[Step]:
    """DDP makes a group of its rank alone where a collection has none for experts over replicas
    (process_groups_config.py:651), so that a grid without one parts its ranks from the others."""
    grids = {group.grid for group in made if group.axes == ("edp",)}
    for part in parts(planned):
        if rank in part.grid.ranks and part.grid.name not in grids:
            yield Step(f"own group in DDP of {part.module.name}", frozenset((rank,)))
