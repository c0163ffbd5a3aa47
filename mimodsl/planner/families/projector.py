"""Projectors of linear layers in a plan."""

from collections.abc import Iterator
from typing import ClassVar, Final, override

from attrs import evolve

from mimodsl.ir.axes import TP
from mimodsl.ir.megatron_fields import megatron_fields
from mimodsl.ir.projector import AffineProjector, LinearProjector, MlpProjector
from mimodsl.planner.families.family import Block, Family, Neighbours, Room, Split, Stage
from mimodsl.planner.families.small import HIDDEN, WIDEST, narrower
from mimodsl.planner.module import ModulePlan, Widths
from mimodsl.planner.program import common
from mimodsl.planner.program.names import Fields, Name, merged
from mimodsl.planner.program.values import Part

_BUILDER: Final = "mimodsl.builder.families.projector"


class MlpFamily(Family[MlpProjector]):
    """A norm and an MLP of two layers."""

    kinds: ClassVar = (MlpProjector,)

    @override
    def widths(self, kind: MlpProjector, near: Neighbours) -> Widths:
        assert near.encoder is not None
        assert near.language is not None
        return Widths(hidden=near.language.hidden, ffn=kind.inner_width(near.encoder.output_width))

    @override
    def blocks(self, kind: MlpProjector, plan: ModulePlan, stage: Stage) -> Iterator[Block]:
        from mimodsl.planner.layers import ProjectorLayer

        layer = ProjectorLayer(
            width=plan.inputs[-1],
            hidden=plan.widths.hidden,
            bias=kind.bias,
            ffn=plan.widths.ffn,
            activation=kind.activation,
            norm=kind.norm,
        )
        yield (layer,)

    @override
    def part(self, kind: MlpProjector, plan: ModulePlan) -> Part:
        config = merged(
            _config(kind, plan),
            {} if kind.norm is None else {"normalization": kind.norm.megatron},
            common.activation(kind.activation),
            {"ffn_hidden_size": plan.widths.ffn},
        )
        arguments: Fields = {"input_size": plan.inputs[-1], "norm": kind.norm is not None}
        return common.part(plan, Name(f"{_BUILDER}:mlp_spec"), config, arguments)

    @override
    def splits(self, kind: MlpProjector, near: Neighbours) -> Iterator[Split]:
        if kind.ffn is not None:
            yield Split(kind, "ffn", "ffn", kind.ffn, free=True)
        elif near.encoder is not None:
            width = kind.inner_width(near.encoder.output_width)
            yield Split(kind, "ffn", "ffn", width, free=True)

    @override
    def small(self, kind: MlpProjector, room: Room) -> MlpProjector:
        """As wide inside as the small widths of its neighbours suggest."""
        if kind.ffn is None or kind.ffn <= 4 * WIDEST:
            return kind
        return evolve(kind, ffn=narrower(kind.ffn, 2 * HIDDEN, room.grid.size(TP)))


class AffineFamily(Family[AffineProjector]):
    """One linear layer, whose output tp ranks gather."""

    kinds: ClassVar = (AffineProjector,)

    @override
    def widths(self, kind: AffineProjector, near: Neighbours) -> Widths:
        assert near.language is not None
        return Widths(hidden=near.language.hidden)

    @override
    def blocks(self, kind: AffineProjector, plan: ModulePlan, stage: Stage) -> Iterator[Block]:
        from mimodsl.planner.layers import ProjectorLayer

        layer = ProjectorLayer(width=plan.inputs[-1], hidden=plan.widths.hidden, bias=kind.bias)
        yield (layer,)

    @override
    def part(self, kind: AffineProjector, plan: ModulePlan) -> Part:
        arguments: Fields = {"input_size": plan.inputs[-1]}
        return common.part(plan, Name(f"{_BUILDER}:affine_spec"), _config(kind, plan), arguments)

    @override
    def splits(self, kind: AffineProjector, near: Neighbours) -> Iterator[Split]:
        """The output, which is as wide as the language model."""
        if near.language is not None:
            yield Split(near.language, "hidden", "hidden", near.language.hidden)


def _config(kind: LinearProjector, plan: ModulePlan) -> Fields:
    """A TransformerConfig of one layer, as wide as the language model."""
    return merged(
        common.COMMON,
        common.precision(plan),
        common.kernels(plan),
        common.NO_EXPERTS,
        common.parallel(plan.declared),
        {"num_layers": 1, "hidden_size": plan.widths.hidden},
        megatron_fields(kind),
        common.no_attention(plan.declared),
    )
