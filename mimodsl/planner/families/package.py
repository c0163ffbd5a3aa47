"""Kinds of other packages in a plan: one layer, of which nothing is split."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final, NamedTuple, override

from mimodsl.ir.package import CustomEncoder, CustomKind, CustomLanguage, CustomProjector
from mimodsl.planner.families.family import Block, Family, Neighbours, Stage
from mimodsl.planner.module import ModulePlan, Widths
from mimodsl.planner.program import common
from mimodsl.planner.program.names import Name, merged
from mimodsl.planner.program.values import Part


class Claimed(NamedTuple):
    """What a kind of another package says of its module.

    `builder` is the function that builds it, as `package.module:function`, and `called_with` what
    it is called with. `inputs` is the shape of what the module takes of one input, `outputs` the
    tokens that it gives for it and their width, and `weights` the shape of every parameter by name,
    in order.
    """

    keyword: str
    builder: str
    called_with: tuple[Any, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, int]
    weights: dict[str, tuple[int, ...]]


class _PackageFamily[K: CustomKind](Family[K]):
    """Any torch module. Its kind says what goes in, what comes out and what that costs."""

    build: ClassVar[Name]
    """The function of ours that calls the package's own builder."""

    @override
    def blocks(self, kind: K, plan: ModulePlan, stage: Stage) -> Iterator[Block]:
        from mimodsl.planner.layers import CustomLayer

        assert plan.claims is not None
        yield (CustomLayer(claims=plan.claims),)

    @override
    def part(self, kind: K, plan: ModulePlan) -> Part:
        """The config has the fields that bridges, DDP and gradient finalisation read."""
        claims = plan.claims
        assert claims is not None
        config = merged(
            common.COMMON,
            common.precision(plan),
            # It loses gradients that a weight has besides
            # (distributed/distributed_data_parallel.py, "if param.grad is not None and").
            common.kernels(plan, fuse_gradients=False),
            common.NO_EXPERTS,
            common.parallel(plan.declared),
            {"num_layers": 1, "hidden_size": plan.widths.hidden},
            common.no_attention(plan.declared),
        )
        claimed = Claimed(
            keyword=kind.keyword,
            builder=kind.builder,
            called_with=(kind, *claims.place),
            inputs=claims.inputs,
            outputs=claims.outputs,
            weights=claims.weights,
        )
        return common.part(plan, self.build, config, {"claimed": claimed})


class CustomEncoderFamily(_PackageFamily[CustomEncoder]):
    """Encoders of other packages."""

    kinds: ClassVar = (CustomEncoder,)
    build: ClassVar = Name("mimodsl.builder.families.package:encoder_spec")

    @override
    def widths(self, kind: CustomEncoder, near: Neighbours) -> Widths:
        return Widths(hidden=kind.output_width)


class CustomProjectorFamily(_PackageFamily[CustomProjector]):
    """Projectors of other packages."""

    kinds: ClassVar = (CustomProjector,)
    build: ClassVar = Name("mimodsl.builder.families.package:projector_spec")
    takes_any_tokens: ClassVar[bool] = False

    @override
    def widths(self, kind: CustomProjector, near: Neighbours) -> Widths:
        assert near.language is not None
        return Widths(hidden=near.language.hidden)


class CustomLanguageFamily(_PackageFamily[CustomLanguage]):
    """Language models of other packages."""

    kinds: ClassVar = (CustomLanguage,)
    build: ClassVar = Name("mimodsl.builder.families.package:language_spec")
    takes_any_width: ClassVar[bool] = False

    @override
    def widths(self, kind: CustomLanguage, near: Neighbours) -> Widths:
        return Widths(hidden=kind.hidden)


PACKAGE_FAMILIES: Final[tuple[Family[Any], ...]] = (
    CustomEncoderFamily(),
    CustomProjectorFamily(),
    CustomLanguageFamily(),
)
