"""The proof that the ranks of a spec make the same groups and reach the end of every step.

Rules find known mistakes. The proof shows that no mistake of this kind is left: it writes out what
ranks do, and runs it. It makes four assumptions. megatron-core does what `communication`,
`collectives` and `construction` say (tests compare them with it). A pass ends if all members of its
groups run it. One rank represents the ranks that differ from it along one axis only
(`small_world`). A few pipeline stages represent many (`shortening`).
"""

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from mimodsl.checker.context import Context
from mimodsl.checker.proof.construction import prove_groups
from mimodsl.checker.proof.fault_rules import PROVED, report
from mimodsl.checker.proof.schedule import prove_step
from mimodsl.checker.proof.shortening import shorten
from mimodsl.checker.proof.small_world import small_world
from mimodsl.diagnostics import Diagnostic
from mimodsl.ir.draft import Draft
from mimodsl.planner.plan import plan

__all__ = ["PROOF", "PROVED", "Proof"]


@frozen
class Proof:
    """Runs like a rule, on a complete spec in which no rule has found an error."""

    code: str = "proof"
    title: str = "the proof of groups and schedule"

    def run(self, spec: Context) -> Iterator[Diagnostic]:
        """The first fault, or nothing. Takes milliseconds for a world of any size.

        The ranks of a fault are ranks of the shortened spec.
        """
        complete = spec.draft.to_spec()
        short = shorten(complete, plan(complete).stages)
        world = small_world(plan(short))
        fault = prove_groups(world) or prove_step(world)
        if fault is not None:
            yield from report(Context(Draft.from_spec(short)), fault)


PROOF: Final = Proof()
