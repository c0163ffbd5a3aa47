"""Compares a layout's records with one rank's, in the order in which a mistake would show."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from math import isclose, sqrt

from attrs import evolve, frozen

from mimodsl.ir.axes import EP, TP
from mimodsl.ir.spec import Spec
from mimodsl.runtime.errors import rank_list
from mimodsl.runtime.verify.forward_runs import ForwardRuns, match_forward_runs
from mimodsl.runtime.verify.gradient_cause import GradientCause, unlike_copies
from mimodsl.runtime.verify.parameters import Parameter, missing, name_of, parameters
from mimodsl.runtime.verify.record import RankRecord, StepRecord
from mimodsl.runtime.verify.verdict import (
    Cause,
    Check,
    Finding,
    FirstDifference,
    ModuleNorm,
    StepVerdict,
    Verdict,
    Worst,
)


def compare(
    spec: Spec, alone: RankRecord, ranks: Sequence[RankRecord], tolerance: float
) -> Verdict:
    """The verdict on the layout of `spec`, whose `ranks` ran beside the one rank `alone`.

    Distances are relative to the reference; up to `tolerance` they count as rounding.
    """
    steps = [
        _StepComparison(spec=spec, number=number, alone=one, ranks=many, tolerance=tolerance)
        for number, (one, *many) in enumerate(
            zip(alone.steps, *(rank.steps for rank in ranks), strict=True), start=1
        )
    ]
    end = _changes(spec, alone, ranks, steps)
    found = [
        *_initial(spec, alone, ranks),
        *(difference for step in steps for difference in step.differences()),
        *_final(end, len(steps), tolerance),
    ]
    return Verdict(
        steps=tuple(step.verdict for step in steps),
        weights=_worst(end),
        parameters=len(end),
        difference=found[0] if found else None,
    )


def _initial(
    spec: Spec, alone: RankRecord, ranks: Sequence[RankRecord]
) -> Iterator[FirstDifference]:
    """Differences before the first step: in the layout's own weights, and in those it loaded."""
    if key := missing(alone.start, [rank.start for rank in ranks]):
        module, name = name_of(spec, key)
        reason = "the pipeline stages leave it out, or a rank holds a wrong part of it"
        yield FirstDifference(
            check=Check.START,
            module=module,
            where=name,
            how=("the shards of all ranks do not cover it",),
            cause=Cause.NOT_HELD,
            reason=reason,
        )
    yield from _fresh(parameters(spec, alone.fresh, [rank.fresh for rank in ranks]))
    start = parameters(spec, alone.start, [rank.start for rank in ranks])
    for one in start:
        if one.distance:
            ranks_apart = rank_list(copy.rank for copy in one.copies if copy.piece.distance)
            reason = "its place in the sharded state dict is not its place in the parameter"
            seen = (f"{ranks_apart} hold something else than what was saved",)
            yield FirstDifference(
                check=Check.START,
                module=one.module,
                where=one.name,
                how=seen,
                cause=Cause.NOT_LOADED,
                reason=reason,
            )


def _fresh(fresh: Sequence[Parameter]) -> Iterator[FirstDifference]:
    """Seeds: copies must start alike, and shards of random weights must not."""
    marks: dict[tuple[str, float], tuple[Parameter, int]] = {}
    for one in fresh:
        if unlike := unlike_copies(one):
            seen = f"{rank_list(copy.rank for copy in unlike)} start with different copies"
            reason = "replicas of a module are to be seeded alike"
            yield FirstDifference(
                check=Check.FRESH,
                module=one.module,
                where=one.name,
                how=(seen,),
                cause=Cause.UNEQUAL_SEEDS,
                reason=reason,
            )
        for copies in one.shards.values():
            piece = copies[0].piece
            if piece.even:
                continue
            first, rank = marks.setdefault((piece.shard.key, piece.mark), (one, copies[0].rank))
            if rank != copies[0].rank:
                seen = (
                    f"{rank_list((rank, copies[0].rank))} start with the same numbers in "
                    f"different shards"
                )
                what = "experts" if piece.shard.expert else "tp shards"
                axis = EP if piece.shard.expert else TP
                reason = f"the seed ought to tell {axis} ranks apart: {what} start as copies"
                yield FirstDifference(
                    check=Check.FRESH,
                    module=first.module,
                    where=first.name,
                    how=(seen,),
                    cause=Cause.EQUAL_SEEDS,
                    reason=reason,
                )


def _changes(
    spec: Spec, alone: RankRecord, ranks: Sequence[RankRecord], steps: "Sequence[_StepComparison]"
) -> list[Parameter]:
    """What all steps did to the weights.

    Adam makes a step of the noise of a gradient that ought to vanish, as that of a bias on keys.
    """
    moved = {(one.module, one.name) for step in steps for one in step.gradients if not one.vanishes}
    return [
        one if (one.module, one.name) in moved else one.among_its_module()
        for one in parameters(spec, alone.end, [rank.end for rank in ranks])
    ]


def _final(end: Sequence[Parameter], steps: int, tolerance: float) -> Iterator[FirstDifference]:
    """What the optimizer made of gradients that agree."""
    apart = [one for one in end if not one.distance <= tolerance]
    if not apart:
        return
    first = apart[0]
    seen = f"after {steps} steps its change is off by {first.distance:.2g} of its norm"
    reason = "gradients and their norms agree: its step, or the gathering after it, does not"
    if unlike := unlike_copies(first):
        reason = (
            f"the updated weight does not reach every replica: "
            f"{rank_list(copy.rank for copy in unlike)} hold different copies"
        )
    elif not first.found:
        reason = "the layout's optimizer leaves it as it was"
    yield FirstDifference(
        check=Check.WEIGHTS,
        step=steps,
        module=first.module,
        where=first.name,
        how=(seen,),
        cause=Cause.OPTIMIZER,
        reason=reason,
        scope=_scope(end, apart),
    )


@frozen(kw_only=True, slots=False)
class _StepComparison:
    """One step of both runs."""

    spec: Spec
    number: int
    alone: StepRecord
    ranks: Sequence[StepRecord]
    tolerance: float

    @cached_property
    def gradients(self) -> list[Parameter]:
        ranks = [rank.gradients for rank in self.ranks]
        return parameters(self.spec, self.alone.gradients, ranks)

    @cached_property
    def forward(self) -> ForwardRuns:
        seen = [rank.seen for rank in self.ranks]
        return match_forward_runs(self.spec, self.alone.seen, seen, self.tolerance)

    @property
    def verdict(self) -> StepVerdict:
        squares: defaultdict[str, float] = defaultdict(float)
        references: defaultdict[str, float] = defaultdict(float)
        for one in self.gradients:
            squares[one.module] += one.found
            references[one.module] += one.expected
        distance, where = self.forward.worst
        return StepVerdict(
            step=self.number,
            loss=(self.alone.loss, self.ranks[0].loss),
            grad_norm=(self.alone.grad_norm, self.ranks[0].grad_norm),
            norms=tuple(
                ModuleNorm(
                    module=module.name,
                    alone=sqrt(references[module.name]),
                    layout=sqrt(squares[module.name]),
                )
                for module in self.spec.modules
                if module.name in references
            ),
            forward=Worst(distance=distance, where=where),
            gradients=_worst(self.gradients),
        )

    def differences(self) -> Iterator[FirstDifference]:
        """What differs in this step, the earliest in the computation first."""
        if found := self.forward.first():
            point, finding = found
            yield self._parting(Check.FORWARD, point.module, point.name, finding)
        if not self._alike(self.alone.loss, self.ranks[0].loss):
            seen = f"{self.ranks[0].loss:.6g}, and {self.alone.loss:.6g} on one rank"
            reason = (
                "the losses of all tokens agree, and their sum does not: it counts some otherwise"
            )
            finding = (Cause.LOSS_COUNT, reason, (seen,))
            yield self._parting(Check.LOSS, self.spec.language.name, "mean loss", finding)
        blame = GradientCause(
            spec=self.spec,
            everything=self.gradients,
            weight=self.alone.weight,
            tolerance=self.tolerance,
        )
        if blamed := blame.first():
            parameter, finding = blamed
            parting = self._parting(Check.GRADIENTS, parameter.module, parameter.name, finding)
            yield evolve(parting, scope=_scope(self.gradients, blame.apart))
        yield from self._norms()

    def _norms(self) -> Iterator[FirstDifference]:
        """The norms that the optimizers take, of gradients that agree."""
        totals = [(f"rank {rank}", one.grad_norm) for rank, one in enumerate(self.ranks)]
        modules = [
            (name, f"rank {rank}", norm, self.alone.norms[name])
            for rank, one in enumerate(self.ranks)
            for name, norm in one.norms.items()
        ]
        whole = [("all modules", rank, norm, self.alone.grad_norm) for rank, norm in totals]
        for name, rank, norm, expected in (*modules, *whole):
            if not self._alike(expected or 0.0, norm or 0.0):
                reason = "its square is to be summed once over the ranks that share the parameters"
                seen = f"{norm or 0.0:.6g} on {rank}, and {expected or 0.0:.6g} on one rank"
                finding = (Cause.NORM_GROUP, reason, (seen,))
                yield self._parting(Check.NORMS, name, "gradient norm", finding)

    def _parting(self, check: Check, module: str, where: str, finding: Finding) -> FirstDifference:
        cause, reason, how = finding
        return FirstDifference(
            check=check,
            step=self.number,
            module=module,
            where=where,
            how=how,
            cause=cause,
            reason=reason,
        )

    def _alike(self, one: float, other: float) -> bool:
        return isclose(one, other, rel_tol=self.tolerance)


def _worst(found: Sequence[Parameter]) -> Worst:
    worst = max(found, key=lambda one: one.distance)
    return Worst(distance=worst.distance, where=f"{worst.module}: {worst.name}")


def _scope(
    everything: Sequence[Parameter], apart: Sequence[Parameter]
) -> dict[str, tuple[int, int]]:
    """By module: how many parameters differ, and how many there are."""
    total = Counter(one.module for one in everything)
    differing = Counter(one.module for one in apart)
    return {module: (differing[module], count) for module, count in total.items()}
