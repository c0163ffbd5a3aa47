"""Which axis of a grid tells ranks apart that differ in some respect."""

from collections.abc import Hashable, Mapping

from attrs import frozen

from mimodsl.planner.grids import GridPlan


@frozen(kw_only=True)
class Axes:
    """A grid's axes as one family of parameters sees them: the experts' view, or the base view."""

    grid: GridPlan
    expert: bool

    def of(self, rank: int) -> dict[str, int]:
        """The coordinates of a rank on the axes that have more than one."""
        view = self.grid.expert if self.expert else self.grid.base
        coordinates = view.coordinates(rank)
        return {name: at for name, at in coordinates.items() if view.axis(name) > 1}

    def separating(self, labels: Mapping[int, Hashable]) -> str | None:
        """The axis along which ranks' labels change while all others leave them alone."""
        if len(set(labels.values())) < 2:
            return None
        at = {rank: self.of(rank) for rank in labels}
        for name in next(iter(at.values())):
            by_place: dict[int, set[Hashable]] = {}
            for rank, label in labels.items():
                by_place.setdefault(at[rank][name], set()).add(label)
            if all(len(found) == 1 for found in by_place.values()):
                return name
        return None

    def between(self, one: int, other: int) -> list[str]:
        """The axes on which two ranks differ."""
        here, there = self.of(one), self.of(other)
        return [name for name in here if here[name] != there[name]]
