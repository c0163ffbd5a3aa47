"""Flows: the path of one modality into the language model."""

from mimodsl.ir.facts import FUNCTION, TRAINING, Facts, unnamed
from mimodsl.ir.node import AT_LEAST_0, Node, knob, node


@node
class Flow(Node):
    """From an encoder, perhaps through a projector, into the language model."""

    path: tuple[str, ...] = knob(
        doc="module names, from the encoder to the language model",
        facts=unnamed(FUNCTION),
    )
    token: int = knob(
        check=AT_LEAST_0,
        doc="the placeholder id in the input ids",
        facts=Facts(
            FUNCTION,
            megatron=None,
            flag="image-token-id",
            hf="image_token_id image_token_index",
            also="special_token_id",
        ),
    )
    images: int = knob(
        default=1,
        check=AT_LEAST_0,
        unit="images",
        doc="images a sample",
        facts=unnamed(TRAINING),
    )

    @property
    def encoder(self) -> str:
        return self.path[0]

    @property
    def language(self) -> str:
        return self.path[-1]

    @property
    def projector(self) -> str | None:
        return self.path[1] if len(self.path) == 3 else None
