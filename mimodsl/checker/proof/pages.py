"""What is reported of each fault that a proof finds, and its page in the rule reference."""

from collections.abc import Iterator
from typing import Any, Final

import attrs

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code
from mimodsl.checker.proof.faults import Crossed, Deadlock, Fault, Parting, Step, Unmet
from mimodsl.checker.rule import Cost, Finding, Findings, Rule, Scope, rule
from mimodsl.checker.scopes import spans_of
from mimodsl.diagnostics import Diagnostic, Label
from mimodsl.ir import Grid
from mimodsl.ir.draft import Draft

_HELP: Final = ("no rule has found this: report it with the spec, which another layout may avoid",)

_SHOWN: Final = 8
"""Waits of a circle that a diagnostic lists."""


def _faults[F](words: str, _: type[F]) -> Scope[F]:
    """Subjects that a proof brings, rather than the spec."""
    return Scope(words, lambda _: ())


@rule(
    "MIMO801",
    "ranks that part while the model is built",
    scope=_faults("two ranks", Parting),
    cost=Cost.HANGS,
    mirrors=(
        "process_groups_config.py:651",
        "pipeline_parallel/bridge_communicator.py:180",
        "optimizer/__init__.py:364",
    ),
)
def parting(spec: Context, fault: Parting) -> Findings:
    """All ranks follow one list of process groups, each making those that it is in.

    The members of a group wait for each other when they make it. Had two ranks two groups in common
    and made them in unequal order, or took one of them no part in a call that waits for the whole
    world, such as torch's own way to make groups, the others would wait for ever. This is proved
    for every spec without errors: what each kind of rank does while the model is built is written
    out, group by group and bridge by bridge, and run.
    """
    first, second = fault.ranks
    steps = [_step(step) for step in fault.steps]
    yield Finding(
        message=f"while the model is built, rank {first} {steps[0]} where rank {second} {steps[1]}",
        primary=_label(spec, second, f"rank {second} is here"),
        secondary=(_label(spec, first, f"rank {first} is here"),),
        notes=(f"rank {first} has gone through {fault.position} steps before",),
        help=_HELP,
    )


@rule(
    "MIMO811",
    "ranks that wait for each other",
    scope=_faults("a deadlock", Deadlock),
    cost=Cost.HANGS,
    mirrors=(
        "pipeline_parallel/schedules.py:2120",
        "pipeline_parallel/multimodule_communicator.py:323",
    ),
)
def deadlock(spec: Context, fault: Deadlock) -> Findings:
    """Every rank comes to the end of a step: no circle of ranks waits for one another.

    This is proved for every spec without errors. A few ranks stand for the world: some stages of a
    long pipeline and all of a short one, a leader and another rank, the ends of the data-parallel
    axis. Their programs (sends and receives over bridges and between stages, the groups of each
    pass, reductions and the optimizer) run on an abstract machine on which nothing is buffered.
    """
    first, second = fault.circle[0].rank, fault.circle[0].partner
    length = len(fault.circle)
    more = f", in a circle of {length} ranks" if length > 2 else ""
    shown = [str(wait) for wait in fault.circle[:_SHOWN]]
    yield Finding(
        message=f"rank {first} and rank {second} wait for each other for ever{more}",
        primary=_label(spec, first, f"rank {first} is here"),
        secondary=(_label(spec, second, f"rank {second} is here"),),
        notes=(*shown, *(["and so on"] if length > _SHOWN else [])),
        help=_HELP,
    )


@rule(
    "MIMO812",
    "a message or call that is never met",
    scope=_faults("a lone wait", Unmet),
    cost=Cost.HANGS,
    mirrors=("pipeline_parallel/bridge_communicator.py:383",),
)
def unmet(spec: Context, fault: Unmet) -> Findings:
    """Every message that is sent is received, and every member of a group makes each call over it.

    Proved with MIMO811: no rank is left waiting for one that has ended its step.
    """
    wait = fault.wait
    yield Finding(
        message=f"rank {wait.rank} waits for rank {wait.partner}, which has ended its step",
        primary=_label(spec, wait.rank, f"rank {wait.rank} is here"),
        secondary=(_label(spec, wait.partner, f"rank {wait.partner} is here"),),
        notes=(str(wait),),
        help=_HELP,
    )


@rule(
    "MIMO813",
    "ranks that meet over different things",
    scope=_faults("two ranks that meet", Crossed),
    cost=Cost.SILENT,
    mirrors=("pipeline_parallel/schedules.py:2120",),
)
def crossed(spec: Context, fault: Crossed) -> Findings:
    """Who meets means the same: this microbatch, this pass, this reduction.

    Messages have no names: the next one sent is the next one received, and so is it with calls over
    a communicator that serves several groups. Proved with MIMO811: each belongs to the same pass
    and microbatch at both of its ends.
    """
    (first, second), (own, other) = fault.ranks, fault.actions
    yield Finding(
        message=f"rank {first} in {own} meets rank {second} in {other}",
        primary=_label(spec, first, f"rank {first} is here"),
        secondary=(_label(spec, second, f"rank {second} is here"),),
        notes=(str(fault),),
        help=_HELP,
    )


PROVED: Final[tuple[Rule[Any], ...]] = (parting, deadlock, unmet, crossed)
"""What is proved of every spec without errors, with the pages of the codes."""

_PAGES: Final[dict[type[Fault], Rule[Any]]] = {
    Parting: parting,
    Deadlock: deadlock,
    Unmet: unmet,
    Crossed: crossed,
}


def report(spec: Context, fault: Fault) -> Iterator[Diagnostic]:
    """A fault as a diagnostic."""
    page = _PAGES[type(fault)]
    subjects = Scope[Fault](page.scope.words, lambda _: (fault,))
    return attrs.evolve(page, scope=subjects).run(spec)


def _step(step: Step | None) -> str:
    if step is None:
        return "is done"
    return f"{'waits in' if step.members is None else 'makes'} {code(step.name)}"


def _label(spec: Context, rank: int, text: str) -> Label:
    return spec.label(_grid(spec.draft, rank), "name", text)


def _grid(draft: Draft, rank: int) -> Grid:
    spans = spans_of(draft)
    return next(grid for grid in draft.grids if rank in spans[grid.name])
