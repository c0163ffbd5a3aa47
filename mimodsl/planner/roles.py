"""Roles: what a rank holds of each module, and which samples it works on."""

from collections.abc import Iterator

from attrs import frozen

from mimodsl.ir.decoder import Gpt
from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.kinds import Kind
from mimodsl.ir.module import Module
from mimodsl.ir.spec import Spec
from mimodsl.ir.vision import VisionEncoder
from mimodsl.planner.grids import GridPlan


@frozen(kw_only=True)
class ModuleRole:
    """One rank's part of one module.

    `layers` are its layers by their index in the whole module and `pattern` their symbols, where
    the kind has some; `experts` are its routed experts in every layer that has any. `replica` is
    its data-parallel index: it works on `samples_each` samples of every microbatch.
    """

    module: Module
    stage: int
    stages: int
    layers: range
    pattern: str
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
        """What is built of the module: the same for two ranks whose layers are alike.

        Layers count by their symbols; those of a kind without symbols by whether they have experts.
        """
        return self.name, self.first, self.last, self.pattern or self._like_layers

    @property
    def _like_layers(self) -> str:
        kind = self.module.kind
        if not isinstance(kind, Gpt) or kind.moe is None:
            return "-" * len(self.layers)
        return "".join("-" if layer % kind.moe_every else "E" for layer in self.layers)

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
    stage, stages = at["pp"], grid.axis("pp")
    layers, pattern = _layers(module.kind, stage, stages)
    return ModuleRole(
        module=module,
        stage=stage,
        stages=stages,
        layers=layers,
        pattern=pattern,
        experts=_experts(module.kind, pattern, grid, rank),
        replica=at["dp"],
        replicas=grid.axis("dp"),
        samples_each=samples // grid.axis("dp"),
    )


def _layers(kind: Kind, stage: int, stages: int) -> tuple[range, str]:
    """As megatron-core divides them: a hybrid model by its pattern (models/hybrid/
    hybrid_layer_allocation.py:368), others evenly (transformer/transformer_block.py)."""
    if isinstance(kind, Hybrid):
        segments = kind.stages(stages)
        first = sum(map(len, segments[:stage]))
        return range(first, first + len(segments[stage])), segments[stage]
    if isinstance(kind, Gpt):
        each = kind.layers // stages
        return range(stage * each, (stage + 1) * each), ""
    return range(kind.layers if isinstance(kind, VisionEncoder) else 0), ""


def _experts(kind: Kind, pattern: str, grid: GridPlan, rank: int) -> range:
    """As transformer/moe/moe_layer.py:187 divides them; without an expert view, all are here."""
    moe = kind.moe if isinstance(kind, Gpt | Hybrid) else None
    if moe is None or (isinstance(kind, Hybrid) and "E" not in pattern):
        return range(0)
    if grid.expert_implied:
        return range(moe.experts)
    each = moe.experts // grid.expert.axis("ep")
    first = grid.expert.coordinates(rank)["ep"] * each
    return range(first, first + each)
