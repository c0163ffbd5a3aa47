"""What passes between modules: widths and tokens, which follow from the neighbours."""

from mimodsl.ir.flow import Flow
from mimodsl.ir.language import LanguageModel
from mimodsl.ir.module import Module
from mimodsl.ir.package import Claims, CustomEncoder, CustomProjector
from mimodsl.ir.projector import Between, MlpProjector, Projector
from mimodsl.ir.spec import Spec
from mimodsl.ir.vision import Encoder


def encoder_of(spec: Spec, flow: Flow) -> Encoder:
    """The kind of a flow's first module."""
    kind = spec.module(flow.encoder).kind
    assert isinstance(kind, Encoder)
    return kind


def language_kind(spec: Spec) -> LanguageModel:
    """The kind of the language model."""
    kind = spec.language.kind
    assert isinstance(kind, LanguageModel)
    return kind


def projector_input(spec: Spec, flow: Flow) -> int:
    """The width that a flow's projector takes: what its encoder emits."""
    return encoder_of(spec, flow).output_width


def projector_ffn(spec: Spec, flow: Flow, projector: MlpProjector) -> int:
    """The inner width of a flow's MLP projector."""
    return projector.ffn or 4 * projector_input(spec, flow)


def between(encoder: Encoder, language: LanguageModel) -> Between:
    """What a projector between the two stands between."""
    return Between(tokens=encoder.tokens, width=encoder.output_width, hidden=language.hidden)


def tokens_an_image(spec: Spec, flow: Flow) -> int:
    """Tokens of one image as the language model gets them, each in place of a placeholder."""
    if flow.projector is None:
        return encoder_of(spec, flow).tokens
    projector = spec.module(flow.projector).kind
    assert isinstance(projector, Projector)
    return projector.tokens(between(encoder_of(spec, flow), language_kind(spec)))


def claims(spec: Spec, module: Module) -> Claims:
    """What a module of a kind of another package says of itself in this spec."""
    kind = module.kind
    if isinstance(kind, CustomEncoder):
        return Claims(kind=kind)
    flow = spec.flow_through(module.name)
    assert isinstance(kind, CustomProjector)
    assert flow is not None, "every projector is in a flow"
    return Claims(kind=kind, between=between(encoder_of(spec, flow), language_kind(spec)))


def image_tokens(spec: Spec, flow: Flow) -> int:
    """Placeholder tokens that one sample's images need."""
    return flow.images * tokens_an_image(spec, flow)


def sequence_parallel(spec: Spec, module: Module) -> bool:
    """Whether a module splits its sequence over tp: never in encoders and projectors, whose output
    the bridges send as one replicated tensor (pipeline_parallel/bridge_communicator.py)."""
    kind = module.kind
    if not isinstance(kind, LanguageModel):
        return False
    if kind.sequence_parallel is None:
        return spec.grid_of(module).size("tp") > 1
    return kind.sequence_parallel
