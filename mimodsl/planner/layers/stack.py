"""The layers of a module, and those of one of its pipeline stages."""

from collections.abc import Iterator

from mimodsl.ir.blocks import Attention
from mimodsl.ir.decoder import Gpt
from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.language import Positions, TransformerLanguage
from mimodsl.ir.module import Module
from mimodsl.ir.package import Claims, CustomKind
from mimodsl.ir.projector import LinearProjector, MlpProjector
from mimodsl.ir.spec import Spec
from mimodsl.ir.vision import VisionEncoder
from mimodsl.planner.layers.attention import AttentionLayer
from mimodsl.planner.layers.custom import CustomLayer
from mimodsl.planner.layers.embedding import TokenEmbedding
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.mamba import MambaLayer
from mimodsl.planner.layers.mlp import MlpLayer
from mimodsl.planner.layers.moe import MoeLayer
from mimodsl.planner.layers.output import OutputLayer
from mimodsl.planner.layers.projector import ProjectorLayer
from mimodsl.planner.layers.vision import PatchEmbedding
from mimodsl.planner.roles import ModuleRole

type Block = tuple[Layer, ...]
"""What is one layer to megatron-core, and recomputed as one: of a `gpt` or an encoder attention and
an MLP or experts, else a single layer."""


def stage_layers(spec: Spec, role: ModuleRole) -> tuple[Layer, ...]:
    """What a rank of that role runs of its module, in order."""
    return tuple(layer for block in stage_blocks(spec, role) for layer in block)


def stage_blocks(spec: Spec, role: ModuleRole) -> tuple[Block, ...]:
    """The same, block by block."""
    kind = role.module.kind
    if isinstance(kind, VisionEncoder):
        return tuple(_encoder(kind))
    if isinstance(kind, CustomKind):
        return ((CustomLayer(claims=Claims.of(spec, role.module)),),)
    if isinstance(kind, LinearProjector):
        return ((_projector(spec, role.module, kind),),)
    assert isinstance(kind, TransformerLanguage)
    return tuple(_language(spec, kind, role))


def module_layers(spec: Spec, module: Module) -> tuple[Layer, ...]:
    """All layers of a module, each weight once: of tied embeddings there is one."""
    kind = module.kind
    count = kind.layers if isinstance(kind, Gpt | Hybrid) else ""
    pattern = count if isinstance(count, str) else ""
    whole = ModuleRole(
        module=module,
        stage=0,
        stages=1,
        layers=range(len(pattern) if isinstance(count, str) else count),
        pattern=pattern,
        symbols=pattern,
        experts=range(0),
        replica=0,
        replicas=1,
        samples_each=0,
    )
    return stage_layers(spec, whole)


def _encoder(kind: VisionEncoder) -> Iterator[Block]:
    yield (PatchEmbedding(kind=kind),)
    attention = AttentionLayer(
        hidden=kind.hidden,
        heads=kind.heads,
        kv_groups=kind.heads,
        head_dim=kind.head_width,
        norm=kind.norm,
        bias=kind.bias,
        qkv_bias=kind.qkv_bias,
    )
    mlp = MlpLayer(
        hidden=kind.hidden,
        ffn=kind.ffn,
        activation=kind.activation,
        norm=kind.norm,
        bias=kind.bias,
    )
    for _ in range(kind.layers):
        yield attention, mlp


def _projector(spec: Spec, module: Module, kind: LinearProjector) -> ProjectorLayer:
    flow = spec.flow_through(module.name)
    assert flow is not None, "every projector is in a flow"
    width, hidden = spec.encoder(flow).output_width, spec.language_kind.hidden
    if not isinstance(kind, MlpProjector):
        return ProjectorLayer(width=width, hidden=hidden, bias=kind.bias)
    return ProjectorLayer(
        width=width,
        hidden=hidden,
        bias=kind.bias,
        ffn=kind.inner_width(spec.encoder(flow).output_width),
        activation=kind.activation,
        norm=kind.norm,
    )


def _language(spec: Spec, kind: TransformerLanguage, role: ModuleRole) -> Iterator[Block]:
    learned = kind.positions is Positions.LEARNED
    if role.first:
        embedding = TokenEmbedding(
            hidden=kind.hidden,
            vocabulary=kind.vocabulary,
            positions=spec.schedule.sequence if learned else 0,
            copied=kind.tie_embeddings and not role.last,
        )
        yield (embedding,)
    if isinstance(kind, Gpt):
        yield from _gpt(kind, role.layers)
    elif isinstance(kind, Hybrid):
        yield from ((_of_symbol(kind, symbol),) for symbol in role.pattern)
    if role.last:
        output = OutputLayer(
            hidden=kind.hidden,
            vocabulary=kind.vocabulary,
            norm=kind.norm,
            norm_name="final_layernorm" if isinstance(kind, Gpt) else "final_norm",
            tied=kind.tie_embeddings,
            copied=kind.tie_embeddings and not role.first,
        )
        yield (output,)


def _gpt(kind: Gpt, layers: range) -> Iterator[Block]:
    attention = _attention(kind, kind.attention)
    for layer in layers:
        has_experts = kind.moe is not None and layer % kind.moe_every == 0
        yield attention, _moe(kind) if has_experts else _mlp(kind)


def _of_symbol(kind: Hybrid, symbol: str) -> Layer:
    match symbol:
        case "M":
            return _mamba(kind)
        case "*":
            assert kind.attention is not None
            return _attention(kind, kind.attention)
        case "E":
            return _moe(kind)
        case _:
            return _mlp(kind)


def _attention(kind: TransformerLanguage, block: Attention) -> AttentionLayer:
    width = block.width(kind.hidden)
    return AttentionLayer(
        hidden=kind.hidden,
        heads=block.heads,
        kv_groups=block.key_value_groups,
        head_dim=width,
        norm=kind.norm,
        bias=kind.bias,
        qkv_bias=block.qkv_bias,
        qk_norm=block.qk_norm,
        rotated=int(width * kind.rope_fraction) if kind.positions is Positions.ROPE else 0,
    )


def _mamba(kind: Hybrid) -> MambaLayer:
    block = kind.mamba
    assert block is not None
    return MambaLayer(
        hidden=kind.hidden,
        heads=block.head_count(kind.hidden),
        head_dim=block.head_dim,
        state=block.state,
        groups=block.groups,
        norm=kind.norm,
    )


def _mlp(kind: TransformerLanguage) -> MlpLayer:
    return MlpLayer(
        hidden=kind.hidden,
        ffn=kind.mlp_width,
        activation=kind.activation,
        norm=kind.norm,
        bias=kind.bias,
    )


def _moe(kind: Gpt | Hybrid) -> MoeLayer:
    assert kind.moe is not None
    return MoeLayer(
        hidden=kind.hidden,
        moe=kind.moe,
        activation=kind.activation,
        norm=kind.norm,
        bias=kind.bias,
    )
