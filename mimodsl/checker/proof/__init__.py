"""The proof that a spec's ranks make the same groups and come to the end of every step.

Rules find what is known to go wrong. This shows that nothing of its kind is left, by writing out
what ranks do and running it. It assumes that megatron-core 0.19.2 does what `communication`,
`passes` and `creation` say (tests compare them with it), that a pass ends where all members of its
groups run it, that one rank stands for those that differ from it along an axis alone (`cut`), and a
few pipeline stages for many (`shortening`).
"""

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from mimodsl.checker.context import Context
from mimodsl.checker.proof.creation import prove_groups
from mimodsl.checker.proof.cut import cut
from mimodsl.checker.proof.pages import PROVED, report
from mimodsl.checker.proof.schedule import prove_step
from mimodsl.checker.proof.shortening import shortened
from mimodsl.diagnostics import Diagnostic
from mimodsl.ir.draft import Draft
from mimodsl.planner.plan import plan

__all__ = ["PROOF", "PROVED", "Proof"]


@frozen
class Proof:
    """Runs as a rule does, over a whole spec in which no rule has found an error."""

    code: str = "proof"
    title: str = "the proof of groups and schedule"

    def run(self, spec: Context) -> Iterator[Diagnostic]:
        """The first fault; nothing where the spec is proved. Takes milliseconds for any world.

        Ranks of a fault are those of the shortened spec.
        """
        whole = spec.draft.whole()
        short = shortened(whole, plan(whole).stages)
        small = cut(plan(short))
        fault = prove_groups(small) or prove_step(small)
        if fault is not None:
            yield from report(Context(Draft.of(short)), fault)


PROOF: Final = Proof()
