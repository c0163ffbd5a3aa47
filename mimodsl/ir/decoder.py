"""The language model `gpt`: a decoder whose layers are all alike."""

from typing import ClassVar

from mimodsl.ir.blocks import Attention, Moe
from mimodsl.ir.language import LanguageModel
from mimodsl.ir.node import AT_LEAST_1, knob, node


@node
class Gpt(LanguageModel):
    """A decoder of like layers, dense or with experts."""

    keyword: ClassVar[str] = "gpt"

    layers: int = knob(check=AT_LEAST_1, doc="transformer layers")
    attention: Attention = knob(doc="self-attention of every layer")
    moe: Moe | None = knob(default=None, doc="experts in place of the MLP; dense if unset")
    moe_every: int = knob(default=1, check=AT_LEAST_1, doc="every how many layers has experts")
