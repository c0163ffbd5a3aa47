"""A rule for each fault that the proof can find: its diagnostic, and its page."""

from collections.abc import Iterator
from typing import Any, Final

import attrs

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code
from mimodsl.checker.proof.faults import (
    BuildCall,
    Deadlock,
    Fault,
    LoneWait,
    Mismatch,
    MissedCall,
)
from mimodsl.checker.rule import Cost, Finding, Findings, Rule, Scope, rule
from mimodsl.checker.scopes import spans_of
from mimodsl.diagnostics import Diagnostic, Label
from mimodsl.ir import Grid
from mimodsl.ir.draft import Draft

_HELP: Final = ("report this with the spec, since no rule covers it; another layout may avoid it",)

_MOST_SHOWN: Final = 8
"""The most waits of a circle that a diagnostic lists."""


def _faults[F](words: str, _: type[F]) -> Scope[F]:
    """A scope without subjects in the spec: `report` adds the fault that the proof has found."""
    return Scope(words, lambda _: ())


@rule(
    "MIMO801",
    "ranks that make different groups while the model is built",
    scope=_faults("two ranks", MissedCall),
    cost=Cost.HANGS,
    mirrors=(
        'process_groups_config.py, "torch.distributed.new_group"',
        'pipeline_parallel/bridge_communicator.py, "dist.barrier()"',
        'optimizer/__init__.py, "torch.distributed.all_gather_object"',
    ),
)
def missed_call(spec: Context, fault: MissedCall) -> Findings:
    """All ranks follow one list of process groups, and each rank makes the groups that it is in.

    The members of a group wait for each other when they make it. If two ranks made two common
    groups in a different order, they would wait forever. The same happens if one rank skips a call
    that waits for the whole world, such as torch's own way to make groups. The proof covers every
    spec without errors: it writes out what each kind of rank does while the model is built, group
    by group and bridge by bridge, and runs it.
    """
    first, second = fault.ranks
    calls = [_describe(call) for call in fault.calls]
    yield Finding(
        message=f"while the model is built, rank {first} {calls[0]} where rank {second} {calls[1]}",
        primary=_label(spec, second, f"rank {second} is here"),
        secondary=(_label(spec, first, f"rank {first} is here"),),
        notes=(f"rank {first} has finished {fault.position} such calls before",),
        help=_HELP,
    )


@rule(
    "MIMO811",
    "ranks that wait for each other",
    scope=_faults("a deadlock", Deadlock),
    cost=Cost.HANGS,
    mirrors=(
        'pipeline_parallel/schedules.py, "def forward_backward_pipelining_without_interleaving"',
        'pipeline_parallel/multimodule_communicator.py, "def recv_forward"',
    ),
)
def deadlock(spec: Context, fault: Deadlock) -> Findings:
    """Every rank reaches the end of a step: no ranks wait for each other in a circle.

    The proof covers every spec without errors. A few ranks represent the world: some stages of a
    long pipeline or all stages of a short one, a leader and another rank, the ends of the
    data-parallel axis. Their programs (sends and receives over bridges and between stages, the
    groups of each pass, reductions and the optimizer) run on an abstract machine without buffers.
    """
    first, second = fault.circle[0].rank, fault.circle[0].partner
    length = len(fault.circle)
    more = f", in a circle of {length} ranks" if length > 2 else ""
    shown = [str(wait) for wait in fault.circle[:_MOST_SHOWN]]
    yield Finding(
        message=f"rank {first} and rank {second} wait for each other forever{more}",
        primary=_label(spec, first, f"rank {first} is here"),
        secondary=(_label(spec, second, f"rank {second} is here"),),
        notes=(*shown, *(["and so on"] if length > _MOST_SHOWN else [])),
        help=_HELP,
    )


@rule(
    "MIMO812",
    "a message or call without a partner",
    scope=_faults("a lone wait", LoneWait),
    cost=Cost.HANGS,
    mirrors=('pipeline_parallel/bridge_communicator.py, "def recv_forward"',),
)
def lone_wait(spec: Context, fault: LoneWait) -> Findings:
    """Every sent message is received, and every member of a group makes each call over the group.

    The proof of MIMO811 also shows this: no rank waits for a rank that has ended its step.
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
    "ranks that meet for different purposes",
    scope=_faults("two ranks that meet", Mismatch),
    cost=Cost.SILENT,
    mirrors=(
        'pipeline_parallel/schedules.py, "def forward_backward_pipelining_without_interleaving"',
    ),
)
def mismatch(spec: Context, fault: Mismatch) -> Findings:
    """Ranks that meet work on the same microbatch, in the same pass or the same reduction.

    Messages have no names: the next message that is sent is the next one that is received. The same
    holds for calls over a communicator that serves several groups. The proof of MIMO811 also shows
    that both ends of a message or call belong to the same pass and microbatch.
    """
    (first, second), (action, other) = fault.ranks, fault.actions
    yield Finding(
        message=f"rank {first} in {action} meets rank {second} in {other}",
        primary=_label(spec, first, f"rank {first} is here"),
        secondary=(_label(spec, second, f"rank {second} is here"),),
        notes=(str(fault),),
        help=_HELP,
    )


PROVED: Final[tuple[Rule[Any], ...]] = (missed_call, deadlock, lone_wait, mismatch)
"""The rules that the proof checks for every spec without errors."""

_RULES: Final[dict[type[Fault], Rule[Any]]] = {
    MissedCall: missed_call,
    Deadlock: deadlock,
    LoneWait: lone_wait,
    Mismatch: mismatch,
}


def report(spec: Context, fault: Fault) -> Iterator[Diagnostic]:
    """A fault as a diagnostic."""
    fault_rule = _RULES[type(fault)]
    scope = Scope[Fault](fault_rule.scope.words, lambda _: (fault,))
    return attrs.evolve(fault_rule, scope=scope).run(spec)


def _describe(call: BuildCall | None) -> str:
    if call is None:
        return "is done"
    return f"{'waits in' if call.members is None else 'makes'} {code(call.name)}"


def _label(spec: Context, rank: int, text: str) -> Label:
    return spec.label(_grid(spec.draft, rank), "name", text)


def _grid(draft: Draft, rank: int) -> Grid:
    spans = spans_of(draft)
    return next(grid for grid in draft.grids if rank in spans[grid.name])
