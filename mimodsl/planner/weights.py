"""What fixes a module's weights: which there are, their shapes, and where in them each value lies.

Two modules that agree in all of it can take each other's weights, whatever else differs.
"""

from mimodsl.ir.blocks import Attention, Mamba, Moe
from mimodsl.ir.decoder import Gpt
from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.kinds import Activation
from mimodsl.ir.language import Positions, TransformerLanguage
from mimodsl.ir.module import Module
from mimodsl.ir.package import Claims, CustomKind
from mimodsl.ir.projector import LinearProjector, MlpProjector
from mimodsl.ir.schema import schema
from mimodsl.ir.spec import Spec
from mimodsl.ir.vision import Radio, VisionEncoder, Vit

type Fixed = dict[str, object]


def weights_of(spec: Spec, module: Module) -> Fixed:
    """What fixes a module's weights, by the field of its kind that says it, or would.

    Values that follow from others are resolved, so that what is said and what is derived compare.
    """
    kind = module.kind
    fixed: Fixed = {"kind": kind.keyword}
    if isinstance(kind, VisionEncoder):
        return fixed | _encoder(kind)
    if isinstance(kind, LinearProjector):
        return fixed | _projector(spec, module, kind)
    if isinstance(kind, TransformerLanguage):
        return fixed | _language(spec, kind)
    if isinstance(kind, CustomKind):
        return fixed | _custom(spec, module, kind)
    raise TypeError(f"{type(kind).__name__} has no rule for its weights")


def _named(kind: object, *names: str) -> Fixed:
    return {name: getattr(kind, name) for name in names}


def _encoder(kind: VisionEncoder) -> Fixed:
    sizes = _named(kind, "layers", "hidden", "heads", "ffn", "patch", "class_tokens")
    fixed = sizes | _named(kind, "norm", "bias", "qkv_bias") | _gated(kind.activation)
    if isinstance(kind, Radio):
        fixed |= _named(kind, "max_image", "embedder_bias")
    if isinstance(kind, Vit):
        fixed |= _named(kind, "image")  # each of its patches has a learned position
    return fixed


def _custom(spec: Spec, module: Module, kind: CustomKind) -> Fixed:
    """All that a spec says of it, for nobody here knows what of it has no say in its weights."""
    fields = (field.name for field in schema(type(kind)))
    return _named(kind, *fields) | dict(Claims.of(spec, module).weights)


def _projector(spec: Spec, module: Module, kind: LinearProjector) -> Fixed:
    flow = spec.flow_through(module.name)
    fixed = _named(kind, "bias")
    if flow is None:
        return fixed
    fixed |= {
        "input width": spec.encoder(flow).output_width,
        "output width": spec.language_kind.hidden,
    }
    if isinstance(kind, MlpProjector):
        width = spec.encoder(flow).output_width
        fixed |= {
            "ffn": kind.inner_width(width),
            "norm": kind.norm or "none",
        }
        fixed |= _gated(kind.activation)
    return fixed


def _language(spec: Spec, kind: TransformerLanguage) -> Fixed:
    fixed = _named(kind, "hidden", "vocabulary", "norm", "bias", "tie_embeddings")
    if kind.positions is Positions.LEARNED:
        fixed |= {"positions": kind.positions, "sequence": spec.schedule.sequence}
    if isinstance(kind, Gpt):
        return fixed | _gpt(kind)
    if isinstance(kind, Hybrid):
        return fixed | _hybrid(kind)
    return fixed


def _gpt(kind: Gpt) -> Fixed:
    fixed = _named(kind, "layers") | _gated(kind.activation) | _attention(kind.attention, kind)
    if kind.moe:
        fixed |= _named(kind, "moe_every") | _moe(kind.moe)
    if not kind.moe or kind.moe_every > 1:
        fixed |= {"ffn": kind.mlp_width}
    return fixed


def _hybrid(kind: Hybrid) -> Fixed:
    fixed: Fixed = {"pattern": kind.layers}
    blocks: dict[str, Fixed] = {
        "M": _mamba(kind.mamba, kind),
        "*": _attention(kind.attention, kind),
        "-": {"ffn": kind.mlp_width} | _gated(kind.activation),
        "E": _moe(kind.moe) | _gated(kind.activation),
    }
    for symbol, block in blocks.items():
        fixed |= block if symbol in kind.layers else {}
    return fixed


def _gated(activation: Activation) -> Fixed:
    """A gated MLP has two products in one weight."""
    return {"activation": "gated" if activation.gated else "not gated"}


def _attention(block: Attention | None, kind: TransformerLanguage) -> Fixed:
    if block is None:
        return {}
    return _of("attention", _named(block, "heads", "qkv_bias", "qk_norm")) | {
        "attention.kv_groups": block.key_value_groups,
        "attention.head_dim": block.width(kind.hidden),
    }


def _mamba(block: Mamba | None, kind: TransformerLanguage) -> Fixed:
    if block is None:
        return {}
    return _of("mamba", _named(block, "head_dim", "state", "groups")) | {
        "mamba.heads": block.head_count(kind.hidden)
    }


def _moe(block: Moe | None) -> Fixed:
    if block is None:
        return {}
    return _of("moe", _named(block, "experts", "ffn", "shared_ffn", "expert_bias"))


def _of(block: str, fields: Fixed) -> Fixed:
    return {f"{block}.{name}": value for name, value in fields.items()}
