"""What fixes a module's weights: which it has, their shapes, and where each value lies in them.

Two modules that agree in all of it can take each other's weights, whatever else differs.
"""

from mimodsl.ir.blocks import Attention, Mamba
from mimodsl.ir.facts import SHAPES
from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.kinds import Activation, Kind
from mimodsl.ir.language import LanguageModel, Positions, TransformerLanguage
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node
from mimodsl.ir.package import CustomKind, CustomModule
from mimodsl.ir.projector import LinearProjector, MlpProjector
from mimodsl.ir.schema import schema
from mimodsl.ir.spec import Spec
from mimodsl.ir.vision import VisionEncoder, Vit

type Fixed = dict[str, object]


def weights_of(spec: Spec, module: Module) -> Fixed:
    """What fixes a module's weights, by field; fields of blocks by their path, `moe.experts`.

    Values that follow from others are derived, so that a stated value and a derived one compare.
    """
    kind = module.kind.in_use()
    fixed: Fixed = {"kind": kind.keyword}
    if isinstance(kind, CustomKind):
        return fixed | _shapes(kind, kind) | CustomModule.in_spec(spec, module).weights
    around = _surroundings(spec, module, kind)
    # The surroundings come first, since they explain other differences; their values count.
    return fixed | around | _shapes(kind, kind) | around


def _surroundings(spec: Spec, module: Module, kind: Kind) -> Fixed:
    """What the rest of the spec decides about the weights."""
    if isinstance(kind, LanguageModel) and kind.learns_positions:
        return {"sequence": spec.schedule.sequence}
    flow = spec.flow_through(module.name)
    if not isinstance(kind, LinearProjector) or flow is None:
        return {}
    width = spec.encoder(flow).output_width
    widths: Fixed = {"input width": width, "output width": spec.language_kind.hidden}
    return widths | ({"ffn": kind.inner_width(width)} if isinstance(kind, MlpProjector) else {})


def _shapes(node: Node, kind: Kind) -> Fixed:
    """The fields of a node that shape weights, of those that have an effect in this kind."""
    derived = _derived(node, kind)
    fixed: Fixed = {}
    for field in schema(type(node)):
        needs = field.facts.needs if field.facts else None
        if field.changes is not SHAPES or (needs and not needs.met(node)):
            continue
        value = getattr(node, field.name)
        if isinstance(value, Node):
            fixed |= {f"{field.name}.{name}": one for name, one in _shapes(value, kind).items()}
        elif not field.blocks:
            fixed[field.name] = derived.get(field.name, value)
    return fixed


def _derived(node: Node, kind: Kind) -> Fixed:
    """The values that follow from other fields, and those of which only a part shapes weights."""
    match node:
        case Attention() if isinstance(kind, TransformerLanguage):
            return {"kv_groups": node.key_value_groups, "head_dim": node.width(kind.hidden)}
        case Mamba() if isinstance(kind, TransformerLanguage):
            return {"heads": node.head_count(kind.hidden)}
        case VisionEncoder():
            # A plain ViT has a learned position for each patch of its images.
            image = node.image if isinstance(node, Vit) else None
            return {"activation": _gated(node.activation), "image": image}
        case MlpProjector():
            return {"activation": _gated(node.activation)}
        case TransformerLanguage():
            has_mlp = node.has_dense_mlp or node.used.moe
            derived: Fixed = {
                "ffn": node.mlp_width,
                "activation": _gated(node.activation) if has_mlp else None,
                "positions": Positions.LEARNED if node.learns_positions else None,
            }
            return derived | ({"pattern": node.layers} if isinstance(node, Hybrid) else {})
        case _:
            return {}


def _gated(activation: Activation) -> str:
    """A gated MLP has two products in one weight."""
    return "gated" if activation.gated else "not gated"
