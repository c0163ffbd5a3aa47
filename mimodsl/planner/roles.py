"""Roles: what a rank holds of each module, and which samples it works on."""

from collections.abc import Iterator

from attrs import frozen

from mimodsl.ir.kinds import Kind
from mimodsl.ir.language import LanguageModel
from mimodsl.ir.module import Module
from mimodsl.ir.spec import Spec
from mimodsl.planner.families import Stage, family_of
from mimodsl.planner.grids import GridPlan


@frozen(kw_only=True)
class ModuleRole:
    """One rank's part of one module.

    `layers` are its layers by their index in the whole module, and `symbols` say what these are
    (planner/families/family.py); `pattern` repeats the symbols where the spec writes them. Its
    routed `experts` are the same in every layer that has any. `replica` is its data-parallel index:
    it works on `samples_each` samples of every microbatch.
    """

    module: Module
    stage: int
    stages: int
    layers: range
    pattern: str
    symbols: str
    experts: range
    replica: int
    replicas: int
    samples_each: int

    @property
    def name(self) -> str:
        return self.module.name

    @property
    def first(self) -> bool:
        """Whether this is the module's first stage: the one with the embeddings."""
        return self.stage == 0

    @property
    def last(self) -> bool:
        """Whether this is the module's last stage: the one with the output."""
        return self.stage == self.stages - 1

    @property
    def part(self) -> tuple[str, bool, bool, str]:
        """What is built of the module: the same for two ranks whose layers are alike."""
        return self.name, self.first, self.last, self.symbols

    def samples(self, microbatch: int) -> range:
        """Its samples of a microbatch, by their index in the step's global batch.

        Microbatches lie one after the other, and each is dealt in order to the data-parallel ranks,
        of encoders and of the language model alike: the order in which bridges join and split.
        """
        first = (microbatch * self.replicas + self.replica) * self.samples_each
        return range(first, first + self.samples_each)


def module_roles(spec: Spec, grids: dict[str, GridPlan], rank: int) -> Iterator[ModuleRole]:
    """What a rank holds, in order of the spec's modules."""
    samples = spec.schedule.micro_batch * grids[spec.language.grid].axis("dp")
    for module in spec.modules:
        grid = grids[module.grid]
        if rank in grid.ranks:
            yield _role(module, grid, rank, samples)


def _role(module: Module, grid: GridPlan, rank: int, samples: int) -> ModuleRole:
    at = grid.base.coordinates(rank)
    stage = family_of(module.kind).stage(module.kind, at["pp"], grid.axis("pp"))
    return ModuleRole(
        module=module,
        stage=stage.index,
        stages=stage.count,
        layers=stage.layers,
        pattern=stage.pattern,
        symbols=stage.symbols,
        experts=_experts(module.kind, stage, grid, rank),
        replica=at["dp"],
        replicas=grid.axis("dp"),
        samples_each=samples // grid.axis("dp"),
    )


def _experts(kind: Kind, stage: Stage, grid: GridPlan, rank: int) -> range:
    """As transformer/moe/moe_layer.py:187 divides them; without an expert view, all are here."""
    moe = kind.used.moe if isinstance(kind, LanguageModel) else None
    if moe is None or "E" not in stage.symbols:
        return range(0)
    if grid.expert_implied:
        return range(moe.experts)
    each = moe.experts // grid.expert.axis("ep")
    first = grid.expert.coordinates(rank)["ep"] * each
    return range(first, first + each)
