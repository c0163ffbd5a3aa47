"""Whether all ranks fit into a GPU's memory, and changes that would make them fit."""

import re
from collections.abc import Iterator
from typing import Final

import attrs
from attrs import frozen

from mimodsl.ir.axes import DP
from mimodsl.ir.spec import Spec
from mimodsl.planner.families import family_of
from mimodsl.planner.memory.peak import RoleMemory, peak_memory, role_memories
from mimodsl.planner.plan import Plan, plan

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(i?)B", re.IGNORECASE)
_WORTH: Final = 0.99
"""A change is proposed if it leaves at most this fraction of a rank's memory."""

_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def memory_size(text: str) -> int:
    """Bytes of `80GiB`, `80GB` or `1.5TB`. `ValueError` for a text that is no size."""
    found = _SIZE.fullmatch(text)
    number = float(found[1]) if found else 0.0
    if found is None or number == 0:
        raise ValueError(f"expected a size such as 80GiB or 141GB, found {text!r}")
    return int(number * (1024 if found[3] else 1000) ** _POWERS[found[2].upper()])


@frozen(kw_only=True)
class Remedy:
    """A change of the spec, and the bytes that a role's rank would need with it."""

    change: str
    total: int


@frozen(kw_only=True)
class Misfit:
    """A role that needs more than a GPU has: how much more, and what helps, the most first."""

    role: RoleMemory
    over: int
    remedies: tuple[Remedy, ...]


def misfits(planned: Plan, size: int) -> tuple[Misfit, ...]:
    """The roles whose ranks need more than `size` bytes, CUDA's and NCCL's own memory included."""
    return tuple(
        Misfit(
            role=role,
            over=role.peak.total - size,
            remedies=tuple(sorted(_remedies(planned, role), key=lambda remedy: remedy.total)),
        )
        for role in role_memories(planned)
        if role.peak.total > size
    )


def _remedies(planned: Plan, role: RoleMemory) -> Iterator[Remedy]:
    """Changes that keep the layout, and with which the rank needs less."""
    for change, spec in _changes(planned.spec, planned, role.rank):
        total = peak_memory(plan(spec), role.rank).total
        if total <= _WORTH * role.peak.total:
            yield Remedy(change=change, total=total)


def _changes(spec: Spec, planned: Plan, rank: int) -> Iterator[tuple[str, Spec]]:
    here = {role.name for role in planned.rank(rank).modules}
    for module in spec.modules:
        kind = family_of(module.kind).fully_recomputed(module.kind)
        if module.name in here and kind is not None and kind != module.kind:
            changed = attrs.evolve(module, kind=kind)
            modules = (changed if one is module else one for one in spec.modules)
            what = f"recompute = full in {module.name}"
            yield what, attrs.evolve(spec, modules=tuple(modules))
    micro = spec.schedule.micro_batch
    if micro > 1 and all(_divides(spec, grid.size(DP)) for grid in spec.grids):
        schedule = attrs.evolve(spec.schedule, micro_batch=1, microbatches=_as_many(spec))
        yield (
            f"micro_batch = 1 with microbatches = {_as_many(spec)}",
            attrs.evolve(spec, schedule=schedule),
        )


def _as_many(spec: Spec) -> int:
    """Microbatches of one sample that make the same batch."""
    return spec.schedule.microbatches * spec.schedule.micro_batch


def _divides(spec: Spec, replicas: int) -> bool:
    """Whether a sample of each replica of the language model can be dealt to that many."""
    return spec.grid_of(spec.language).size(DP) % replicas == 0
