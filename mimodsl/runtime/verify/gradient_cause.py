"""From gradients that differ to the likely cause: what scales them, and which ranks disagree."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from math import isclose, isfinite

from attrs import frozen

from mimodsl.ir.axes import CP, DP, EDP, EP, ETP, TP
from mimodsl.ir.kinds import Role
from mimodsl.ir.spec import Spec
from mimodsl.planner.grids import grid_plans
from mimodsl.runtime.errors import rank_list
from mimodsl.runtime.verify.parameters import Copy, Parameter
from mimodsl.runtime.verify.separating_axis import Axes
from mimodsl.runtime.verify.verdict import Cause, Finding

_CLOSE = 1e-3


@frozen(kw_only=True)
class GradientCause:
    """Names the cause of a difference in the gradients of one step.

    `everything` are all parameters in forward order, `weight` is what the global batch's gradients
    are divided by.
    """

    spec: Spec
    everything: Sequence[Parameter]
    weight: float
    tolerance: float

    def first(self) -> tuple[Parameter, Finding] | None:
        """The parameter at which gradients part, and why; `None` where they don't."""
        apart = self.apart
        if not apart:
            return None
        if upstream := self._upstream(apart):
            return upstream
        parameter = apart[0]
        looks = (self._normalisation, self._untrained, self._groups, self._scale, self._unknown)
        findings = (look(parameter) for look in looks)
        return parameter, next(finding for finding in findings if finding)

    @property
    def apart(self) -> list[Parameter]:
        return [one for one in self.everything if self.differs(one)]

    def differs(self, parameter: Parameter) -> bool:
        """Whether a parameter is farther from the reference than the tolerance, or no number."""
        return not parameter.distance <= self.tolerance

    def _normalisation(self, parameter: Parameter) -> Finding | None:
        """One factor on every gradient of every module."""
        ratio = self._common_factor(self.everything)
        modules = {one.module for one in self.everything if one.expected}
        if ratio is None or (len(modules) == 1 and self._sizes(parameter, ratio)):
            return None
        size = self._token_count(ratio) or "no size of the layout"
        return (
            Cause.TOKEN_NORMALISATION,
            (
                "every gradient of every module has the same factor, and only the division by the "
                "tokens of the global batch touches all of them"
            ),
            (f"every gradient is {ratio:.6g} times what it is on one rank ({size})",),
        )

    def _untrained(self, parameter: Parameter) -> Finding | None:
        if parameter.found or not parameter.expected:
            return None
        frozen_here = not any(copy.piece.trained for copy in parameter.copies)
        why = "it is frozen in the layout" if frozen_here else "no gradient reaches it"
        return (
            Cause.NOT_TRAINED,
            f"{why}; on one rank it has a gradient",
            ("its gradient is zero in the layout",),
        )

    def _groups(self, parameter: Parameter) -> Finding | None:
        """Copies that disagree, and shards that agree, tell over which ranks a sum ran."""
        apart, parts = self._disagreement(parameter)
        merged = self._merged(parameter)
        family = "expert" if parameter.expert else "dense"
        if apart and merged:
            return (
                Cause.WRONG_GROUP,
                f"the sum of {family} gradients runs over {merged[0]} in place of {apart[0]}",
                (apart[1], merged[1]),
            )
        if merged:
            right = EDP if parameter.expert else DP
            wrong = f"{right} and {merged[0]}"
            if parameter.expert and merged[0] == EP:
                wrong = "dp, which joins ranks of different experts"
            return (
                Cause.WRONG_GROUP,
                f"the sum of {family} gradients runs over {wrong}, not over {right} alone",
                (merged[1],),
            )
        return self._unreduced(parameter, *apart, parts=parts) if apart else None

    def _unreduced(self, parameter: Parameter, axis: str, seen: str, *, parts: bool) -> Finding:
        found = (seen, f"the parts of all ranks along {axis} add up to it") if parts else (seen,)
        if axis != TP:
            return Cause.MISSING_REDUCTION, f"its gradient is not summed over {axis}", found
        if self.spec.splits_sequence(self.spec.module(parameter.module)):
            reason = (
                "each tp rank has the gradient of its own tokens and nothing adds them up: the "
                "weight lacks its `sequence_parallel` mark, or the sum over tp leaves it out"
            )
            return Cause.SEQUENCE_PARALLEL, reason, found
        reason = (
            "its module does not split the sequence, so every tp rank ought to have all of it: the "
            "layer behind does not sum over tp the gradient that it passes on"
        )
        return Cause.BACKWARD, reason, found

    def _scale(self, parameter: Parameter) -> Finding | None:
        """One factor on the gradients of a module or of its experts."""
        alike = [
            one
            for one in self.everything
            if one.expert is parameter.expert and self._grid(one) == self._grid(parameter)
        ]
        ratio = self._common_factor(alike) or self._common_factor([parameter])
        if ratio is None:
            return None
        of_all = self._common_factor(alike) is not None
        whose = "every such gradient of its grid" if of_all else "its gradient"
        seen = (f"{whose} is {ratio:.6g} times what it is on one rank",)
        for cause, name in self._sizes(parameter, ratio):
            return cause, f"the factor is {name}", seen
        if count := self._token_count(ratio):
            return Cause.TOKEN_NORMALISATION, f"the factor is {count}", seen
        return Cause.SCALE, "no size of the layout explains the factor", seen

    def _upstream(self, apart: list[Parameter]) -> tuple[Parameter, Finding] | None:
        """The parameter up to which all differ, in the midst of a module, and from which none do.

        Gradients flow backward: a layer whose input gradient is wrong spoils all before it.
        """
        last = apart[-1]
        place = self.everything.index(last)
        behind = [one for one in self.everything[place:] if one.module == last.module]
        before = [
            one
            for one in self.everything[:place]
            if not one.vanishes and _submodule(one) != _submodule(last)
        ]
        if len(behind) == 1 or len(before) < 2 or not all(map(self.differs, before)):
            return None
        return last, (
            Cause.BACKWARD,
            (
                "every gradient before it in the forward pass differs and none behind it: the "
                "gradient that it passes on is wrong, perhaps for want of a sum over tp"
            ),
            (self._far(last),),
        )

    def _unknown(self, parameter: Parameter) -> Finding:
        own = EDP if parameter.expert else DP
        return (
            Cause.WRONG_GROUP,
            f"its sum leaves ranks out or takes others in; it should run over {own}",
            (self._far(parameter), *self._bad_shards(parameter)),
        )

    def _far(self, parameter: Parameter) -> str:
        ratio = parameter.ratio
        return (
            f"its gradient is off by {parameter.distance:.2g} of its norm, by no constant factor"
            + (f" (the nearest is {ratio:.4g})" if ratio is not None and isfinite(ratio) else "")
        )

    def _bad_shards(self, parameter: Parameter) -> Iterator[str]:
        bad = {copy.rank: parameter.apart(copy) > self.tolerance for copy in parameter.copies}
        if all(bad.values()):
            return
        axis = self._axes(parameter).separating(bad)
        along = f", told apart by their place on {axis}" if axis else ""
        yield f"only {rank_list(rank for rank, wrong in bad.items() if wrong)} differ{along}"

    def _common_factor(self, alike: Sequence[Parameter]) -> float | None:
        """The factor by which all of these differ, where there is one."""
        known = [one for one in alike if not one.vanishes]
        ratios = [one.ratio or 0.0 for one in known]
        if not ratios or not all(isfinite(ratio) and ratio for ratio in ratios):
            return None
        if any(one.residual > _CLOSE * 3 for one in known) or isclose(ratios[0], 1, rel_tol=_CLOSE):
            return None
        alike_all = all(isclose(ratio, ratios[0], rel_tol=_CLOSE) for ratio in ratios)
        return ratios[0] if alike_all else None

    def _token_count(self, ratio: float) -> str | None:
        schedule = self.spec.schedule
        replicas = self.spec.grid_of(self.spec.language).size(DP)
        counts = {
            "the weight of the global batch, which nothing divides by": self.weight,
            "one over the weight of the global batch, which divides twice": 1 / self.weight,
            "microbatches times dp: divided by a microbatch's tokens": replicas
            * schedule.microbatches,
        }
        return _named(ratio, counts)

    def _sizes(self, parameter: Parameter, ratio: float) -> list[tuple[Cause, str]]:
        """Ratios of the layout's sizes that a factor may be, the likeliest first."""
        language = self.spec.grid_of(self.spec.language)
        grid = self.spec.grid(self._grid(parameter))
        found: list[tuple[Cause, str, float]] = []
        for module in self.spec.modules:
            if module.role is Role.ENCODER and module.grid == grid.name:
                up = grid.size(DP) / language.size(DP)
                found.append((Cause.DP_RATIO, f"dp of {grid.name} / dp of {language.name}", up))
                found.append((Cause.DP_RATIO, f"dp of {language.name} / dp of {grid.name}", 1 / up))
        if parameter.expert:
            up = grid.size(DP) * grid.size(CP) / grid.size(EDP)
            found.append((Cause.DP_RATIO, "dp / edp", up))
            found.append((Cause.DP_RATIO, "edp / dp", 1 / up))
        for axis in (EDP,) if parameter.expert else (DP,):
            size = grid.size(axis)
            found.append((Cause.DP_RATIO, f"1 / {axis}: averaged, not summed", 1 / size))
            found.append((Cause.DP_RATIO, f"{axis}: summed, not averaged, or twice", float(size)))
        for axis in (TP, CP, EP, ETP):
            size = grid.size(axis)
            found.append((Cause.WRONG_GROUP, f"{axis}: summed over {axis} too", float(size)))
            found.append((Cause.WRONG_GROUP, f"1 / {axis}: a part of {axis}'s sum", 1 / size))
        found.append((Cause.SCALE, "the number of microbatches", self.spec.schedule.microbatches))
        return [
            (cause, name)
            for cause, name, size in found
            if size != 1 and isclose(ratio, size, rel_tol=_CLOSE)
        ]

    def _disagreement(self, parameter: Parameter) -> tuple[tuple[str, str] | None, bool]:
        """The axis along which copies of a shard disagree, and whether these are parts of a sum."""
        for copies in parameter.shards.values():
            labels = _labels(copies, lambda copy: copy.piece.mark)
            if len(set(labels.values())) < 2:
                continue
            axis = self._axes(parameter).separating(labels) or "its replicas"
            own = {labels[copy.rank]: copy.piece for copy in copies}
            expected = copies[0].piece.expected
            total = sum(piece.dot for piece in own.values())
            ranks = rank_list(labels)
            seen = f"copies on {ranks} disagree, told apart by their place on {axis}"
            return (axis, seen), bool(expected) and isclose(total, expected, rel_tol=10 * _CLOSE)
        return None, False

    def _merged(self, parameter: Parameter) -> tuple[str, str] | None:
        """The axis along which shards agree that ought to differ: their gradients were added."""
        key = parameter.copies[0].piece.shard.key
        alike = [
            copy
            for one in self.everything
            for copy in one.copies
            if copy.piece.shard.key == key and copy.piece.found and not copy.piece.even
        ]
        here = [copy for copy in parameter.copies if copy.piece.found and not copy.piece.even]
        for one in here:
            for other in alike:
                if one.piece.shard != other.piece.shard and one.piece.mark == other.piece.mark:
                    axes = self._axes(parameter).between(one.rank, other.rank)
                    ranks = rank_list((one.rank, other.rank))
                    if axes:
                        return axes[0], f"{ranks} hold different shards with equal gradients"
        return None

    def _grid(self, parameter: Parameter) -> str:
        return self.spec.module(parameter.module).grid

    def _axes(self, parameter: Parameter) -> Axes:
        plans = {plan.name: plan for plan in grid_plans(self.spec)}
        return Axes(grid=plans[self._grid(parameter)], expert=parameter.expert)


def _labels(copies: Sequence[Copy], value: Callable[[Copy], float]) -> dict[int, int]:
    """Ranks by which of the distinct values they have, rounding aside."""
    distinct: list[float] = []
    labels: dict[int, int] = {}
    for copy in copies:
        scale = copy.piece.found**0.5
        for place, known in enumerate(distinct):
            if isclose(value(copy), known, rel_tol=_CLOSE, abs_tol=_CLOSE * scale):
                labels[copy.rank] = place
                break
        else:
            labels[copy.rank] = len(distinct)
            distinct.append(value(copy))
    return labels


def _submodule(parameter: Parameter) -> tuple[str, str]:
    return parameter.module, parameter.name.rpartition(".")[0]


def _named(ratio: float, sizes: Mapping[str, float]) -> str | None:
    for name, size in sizes.items():
        if size != 1 and isclose(ratio, size, rel_tol=_CLOSE):
            return name
    return None


def unlike_copies(parameter: Parameter) -> tuple[Copy, Copy] | None:
    """Two ranks whose copies of a shard are not the same."""
    for copies in parameter.shards.values():
        labels = _labels(copies, lambda copy: copy.piece.mark)
        for one, other in combinations(copies, 2):
            if labels[one.rank] != labels[other.rank]:
                return one, other
    return None
