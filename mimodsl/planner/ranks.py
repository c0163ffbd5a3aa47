"""Rank algebra: ranks as mixed-radix numbers, and the groups that strides cut out of them.

Nothing here walks over the world: whatever is asked about one rank costs as many steps as there are
axes. The first axis varies fastest, as in `order` of megatron-core's `parallel_state.RankGenerator`
and in `HyperCommGrid` (hyper_comm_grid.py).
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from math import prod
from typing import Final

from attrs import field, frozen


@frozen
class Factor:
    """One digit of a rank: `size` values, `stride` ranks apart."""

    size: int
    stride: int


_RUN: Final = 4096
"""Ranks that are listed at once: enough for speed, and few in memory."""


def _spread(ranks: list[int], factor: Factor) -> list[int]:
    """Some ranks, again and again at every digit of a factor."""
    return [digit * factor.stride + rank for digit in range(factor.size) for rank in ranks]


def _proper(factors: Iterable[Factor]) -> tuple[Factor, ...]:
    return tuple(factor for factor in factors if factor.size > 1)


@frozen(kw_only=True)
class Ranks:
    """A lazy sequence of distinct ranks: `start` plus a digit times its stride for every factor.

    The first factor varies fastest. Factors of smaller stride reach less far together than the next
    stride, so that a rank has one spelling; factors of size 1 are dropped.
    """

    start: int
    factors: tuple[Factor, ...] = field(converter=_proper)

    def __len__(self) -> int:
        return prod(factor.size for factor in self.factors)

    def __getitem__(self, position: int) -> int:
        if not 0 <= position < len(self):
            raise IndexError(position)
        rank = self.start
        for factor in self.factors:
            position, digit = divmod(position, factor.size)
            rank += digit * factor.stride
        return rank

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self.runs())

    def runs(self) -> Iterator[list[int]]:
        """The ranks in lists of some thousand: made by addition to a first list, and so quickly."""
        low, high = [0], self.factors
        while high and len(low) * high[0].size <= _RUN:
            low, high = _spread(low, high[0]), high[1:]
        cut, *high = high or (Factor(1, 1),)
        each, digits = len(low), min(cut.size, _RUN // len(low))
        low = _spread(low, Factor(digits, cut.stride))
        for start in Ranks(start=self.start, factors=high) if high else (self.start,):
            for digit in range(0, cut.size, digits):
                first = start + digit * cut.stride
                yield [first + rank for rank in low[: (cut.size - digit) * each]]

    def __contains__(self, rank: object) -> bool:
        return isinstance(rank, int) and self.position(rank) is not None

    @property
    def last(self) -> int:
        return self.start + sum((factor.size - 1) * factor.stride for factor in self.factors)

    def position(self, rank: int) -> int | None:
        """Where a rank stands in the sequence; `None` where it does not."""
        digits = self._digits(rank)
        if digits is None:
            return None
        position = 0
        for factor in reversed(self.factors):
            position = position * factor.size + digits[factor]
        return position

    def _digits(self, rank: int) -> dict[Factor, int] | None:
        rest = rank - self.start
        digits: dict[Factor, int] = {}
        for factor in sorted(self.factors, key=lambda factor: -factor.stride):
            digits[factor], rest = divmod(rest, factor.stride)
            if not 0 <= digits[factor] < factor.size:
                return None
        return digits if rest == 0 else None


@frozen
class Union:
    """Several sequences of ranks, each ascending and all of it before the next one."""

    parts: tuple[Ranks, ...]

    @property
    def start(self) -> int:
        return self.parts[0].start

    @property
    def last(self) -> int:
        return self.parts[-1].last

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self.parts)

    def __contains__(self, rank: object) -> bool:
        return any(rank in part for part in self.parts)


type Members = Ranks | Union
"""The ranks of one group, lazily: `len`, `in` and iteration."""


@frozen(kw_only=True)
class Groups:
    """Disjoint groups of equal size at regular strides, enumerated lazily.

    Ranks of one group differ in the digits of `inner` alone, and groups from each other in those of
    `outer`; in both, the first factor varies fastest.
    """

    start: int
    inner: tuple[Factor, ...] = field(converter=_proper)
    outer: tuple[Factor, ...] = field(converter=_proper)

    @property
    def size(self) -> int:
        """Ranks in every group."""
        return prod(factor.size for factor in self.inner)

    def __len__(self) -> int:
        return prod(factor.size for factor in self.outer)

    def __getitem__(self, index: int) -> Ranks:
        return Ranks(start=self._firsts[index], factors=self.inner)

    def __iter__(self) -> Iterator[Ranks]:
        return (Ranks(start=first, factors=self.inner) for first in self._firsts)

    def of(self, rank: int) -> Ranks | None:
        """The group that a rank is in; `None` where it is in none."""
        index = self.index(rank)
        return None if index is None else self[index]

    def index(self, rank: int) -> int | None:
        """Which group a rank is in, by its place in the enumeration; `None` where it is in none."""
        position = self.members.position(rank)
        return None if position is None else position // self.size

    def includes(self, other: "Groups") -> bool:
        """Whether every group of `other` is among these, member by member."""
        own, others = self.partition, other.partition
        position = Ranks(start=own.start, factors=own.outer).position(others.start)
        if own.inner != others.inner or position is None:
            return False
        moved: list[Factor] = []
        for digit in own.outer:
            position, index = divmod(position, digit.size)
            by = [one for one in others.outer if 1 <= one.stride / digit.stride < digit.size]
            reach = index * digit.stride + sum((one.size - 1) * one.stride for one in by)
            if reach >= digit.size * digit.stride or any(one.stride % digit.stride for one in by):
                return False
            moved += by
        return len(moved) == len(others.outer)

    @property
    def members(self) -> Ranks:
        """The members of all groups, one group after the other."""
        return Ranks(start=self.start, factors=(*self.inner, *self.outer))

    @property
    def _firsts(self) -> Ranks:
        return Ranks(start=self.start, factors=self.outer)

    @property
    def partition(self) -> "Groups":
        """The same groups in canonical form: equal for any two spellings of one partition."""
        return Groups(start=self.start, inner=_merged(self.inner), outer=_merged(self.outer))


def _merged(factors: Iterable[Factor]) -> tuple[Factor, ...]:
    merged: list[Factor] = []
    for factor in sorted(factors, key=lambda factor: factor.stride):
        if merged and merged[-1].size * merged[-1].stride == factor.stride:
            merged[-1] = Factor(merged[-1].size * factor.size, merged[-1].stride)
        else:
            merged.append(factor)
    return tuple(merged)


@frozen(kw_only=True)
class Factorization:
    """A rank span written as a product of axes, the fastest-varying first: `tp:2 * dp:4`."""

    start: int
    axes: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Ranks in the span."""
        return prod(size for _, size in self.axes)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.axes)

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(size for _, size in self.axes)

    def axis(self, name: str) -> int:
        """The size of an axis; 1 where there is none of that name."""
        return next((size for axis, size in self.axes if axis == name), 1)

    def coordinates(self, rank: int) -> dict[str, int]:
        """A rank's index along every axis. `ValueError` outside the span."""
        rest = rank - self.start
        if not 0 <= rest < self.size:
            raise ValueError(f"rank {rank} is not in {self.start}..{self.start + self.size - 1}")
        coordinates: dict[str, int] = {}
        for name, size in self.axes:
            rest, coordinates[name] = divmod(rest, size)
        return coordinates

    def rank(self, coordinates: Mapping[str, int]) -> int:
        """The rank at these coordinates; 0 along every axis that is left out."""
        factors = self._factors()
        return self.start + sum(factors[name].stride * at for name, at in coordinates.items())

    def groups(self, axes: Iterable[str], at: Mapping[str, int] | None = None) -> Groups:
        """The groups along a set of axes: ranks that differ in these coordinates alone.

        `at` keeps only the groups at those coordinates: `groups(("tp",), at={"pp": 0})`. Order, in
        groups and of groups, is that of `HyperCommGrid.get_rank_enum`.
        """
        along, fixed = set(axes), dict(at or {})
        unknown = (along | fixed.keys()) - set(self.names)
        if unknown:
            raise ValueError(f"no axis {', '.join(sorted(unknown))} among {', '.join(self.names)}")
        factors = self._factors()
        return Groups(
            start=self.rank(fixed),
            inner=tuple(factors[name] for name in self.names if name in along),
            outer=tuple(
                factors[name] for name in self.names if name not in along and name not in fixed
            ),
        )

    def line(self, axis: str, at: Mapping[str, int]) -> range:
        """The ranks along one axis, at these coordinates and at 0 elsewhere."""
        first, along = self.rank(at), self._factors()[axis]
        return range(first, first + along.size * along.stride, along.stride)

    def _factors(self) -> dict[str, Factor]:
        factors: dict[str, Factor] = {}
        stride = 1
        for name, size in self.axes:
            factors[name] = Factor(size, stride)
            stride *= size
        return factors
