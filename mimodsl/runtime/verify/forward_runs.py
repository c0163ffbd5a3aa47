"""Where forward passes part: at which point, on which samples, and with what in their place."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import isclose

from attrs import field, frozen

from mimodsl.ir.spec import Spec
from mimodsl.runtime.errors import rank_list
from mimodsl.runtime.verify.record import Point, SampleNorm
from mimodsl.runtime.verify.verdict import Cause, Finding

_INPUTS = ("images", "input_ids", "labels")


@frozen(kw_only=True)
class SampleComparison:
    """What a sample was at a point on one rank and in the layout; `ranks` saw it there."""

    sample: int
    alone: float
    layout: float
    ranks: tuple[int, ...]
    disagree: bool

    @property
    def distance(self) -> float:
        if self.alone == self.layout:
            return 0.0
        return abs(self.layout - self.alone) / (abs(self.alone) or 1.0)


@frozen(kw_only=True)
class ForwardRuns:
    """The forward passes of one step in both runs."""

    spec: Spec
    points: Mapping[Point, tuple[SampleComparison, ...]] = field(repr=False)
    tolerance: float

    @property
    def worst(self) -> tuple[float, str]:
        found = (
            (passed.distance, str(point))
            for point, samples in self.points.items()
            for passed in samples
        )
        return max(found, default=(0.0, ""))

    def first(self) -> tuple[Point, Finding] | None:
        """The first point, in forward order, at which samples differ, and why."""
        for point, samples in self.points.items():
            apart = [one for one in samples if not one.distance <= self.tolerance or one.disagree]
            if apart:
                return point, self._finding(point, samples, apart)
        return None

    def _finding(
        self, point: Point, samples: Sequence[SampleComparison], apart: Sequence[SampleComparison]
    ) -> Finding:
        # First: text is much alike, and swapped images make one sample look like another.
        if point.name == "input" and (swapped := self._swapped(apart)):
            return swapped
        if shifted := self._shifted(point, samples, apart):
            return shifted
        far = f"the first by {apart[0].distance:.2g}"
        seen = f"{_samples(apart)} of {len(samples)} differ there, {far}"
        if point.name in _INPUTS:
            return (
                Cause.SHIFTED_SAMPLES,
                f"{point.module} is given other {_words(point.name)} than on one rank",
                (seen,),
            )
        if any(one.disagree for one in apart):
            ranks = rank_list(rank for one in apart for rank in one.ranks)
            return (
                Cause.COMPUTATION,
                f"{ranks} should compute the same there and do not",
                (seen,),
            )
        return (
            Cause.COMPUTATION,
            "everything before it agrees: the split of this very computation over ranks differs",
            (seen,),
        )

    def _shifted(
        self, point: Point, samples: Sequence[SampleComparison], apart: Sequence[SampleComparison]
    ) -> Finding | None:
        """Whether samples passed that were due elsewhere."""
        pairs = [
            (one, other)
            for one in apart
            for other in samples
            if one is not other and _close(one.layout, other.alone)
        ]
        if not pairs:
            return None
        one, other = pairs[0]
        took = f"took the {_words(point.name)} of sample {other.sample}"
        seen = f"{rank_list(one.ranks)} {took} where sample {one.sample} was due"
        return (
            Cause.SHIFTED_SAMPLES,
            f"{point.module} takes another share of the global batch than is due to its ranks",
            (seen, f"{_samples(apart)} of {len(samples)} differ"),
        )

    def _swapped(self, apart: Sequence[SampleComparison]) -> Finding | None:
        """Whether a sample's text stands with another sample's images.

        Squared norms add up over positions: an exchange of images changes the input by exactly the
        difference of what the encoder emits for the two samples.
        """
        for flow in self.spec.flows:
            emitted = Point(module=flow.projector or flow.encoder, name="output")
            images = {one.sample: one.alone for one in self.points.get(emitted, ())}
            for one in apart:
                other = _exchanged(one, images)
                if other is not None:
                    seen = f"the text of sample {one.sample} stands with the images of {other}"
                    return (
                        Cause.SWAPPED_EMBEDDINGS,
                        f"what {emitted.module} emits arrives in another order of samples",
                        (f"{seen} on {rank_list(one.ranks)}",),
                    )
        return None


def _exchanged(one: SampleComparison, images: Mapping[int, float]) -> int | None:
    """The sample whose images, in place of its own, make a sample what it is."""
    change = one.layout - one.alone
    for sample, value in images.items():
        if sample != one.sample and isclose(change, value - images[one.sample], rel_tol=1e-2):
            return sample
    return None


def match_forward_runs(
    spec: Spec, alone: Iterable[SampleNorm], ranks: Iterable[Iterable[SampleNorm]], tolerance: float
) -> ForwardRuns:
    """Both runs' records of one step, matched point by point in the order of the one rank."""
    layout = _by_sample(ranks)
    points: dict[Point, list[SampleComparison]] = {}
    for (point, sample), parts in _by_sample([alone]).items():
        found = layout.get((point, sample), {})
        points.setdefault(point, []).append(
            SampleComparison(
                sample=sample,
                alone=sum(value for values in parts.values() for _, value in values),
                layout=sum(values[0][1] for values in found.values()) if found else float("nan"),
                ranks=tuple(sorted({rank for values in found.values() for rank, _ in values})),
                disagree=any(
                    not _close(value, values[0][1])
                    for values in found.values()
                    for _, value in values
                ),
            )
        )
    return ForwardRuns(
        spec=spec,
        points={point: tuple(samples) for point, samples in points.items()},
        tolerance=tolerance,
    )


type _Parts = dict[tuple[int, ...], list[tuple[int, float]]]


def _by_sample(ranks: Iterable[Iterable[SampleNorm]]) -> dict[tuple[Point, int], _Parts]:
    """By point and sample: the ranks' values, by part."""
    found: defaultdict[tuple[Point, int], _Parts] = defaultdict(dict)
    for rank, seen in enumerate(ranks):
        for one in seen:
            parts = found[one.point, one.sample]
            parts.setdefault(one.part, []).append((rank, one.value))
    return dict(found)


def _close(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=1e-4)


def _samples(apart: Sequence[SampleComparison]) -> str:
    if len(apart) == 1:
        return f"sample {apart[0].sample}"
    return f"{len(apart)} samples"


def _words(name: str) -> str:
    return {"input_ids": "tokens", "images": "images", "labels": "labels"}.get(name, name)
