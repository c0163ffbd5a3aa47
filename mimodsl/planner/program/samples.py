"""The batches of a spec, and what its synthetic samples are made from."""

from itertools import islice
from typing import Final

from mimodsl.ir.spec import Spec
from mimodsl.planner.program.values import Batches, Images, Samples

LETTERS: Final = 16
"""How many token ids occur in text."""


def samples(spec: Spec) -> Samples:
    """Text of the first token ids that are no placeholder, and each flow's images."""
    placeholders = {flow.token for flow in spec.flows}
    vocabulary = range(spec.language_kind.vocabulary)
    letters = (token for token in vocabulary if token not in placeholders)
    return Samples(
        seed=spec.train.seed,
        sequence=spec.schedule.sequence,
        letters=list(islice(letters, LETTERS)),
        images={
            flow.encoder: Images(
                token=flow.token,
                inputs=flow.images,
                tokens=spec.image_tokens(flow),
                shape=list(spec.encoder(flow).input_shape),
            )
            for flow in spec.flows
        },
    )


def batches(spec: Spec) -> Batches:
    """How many samples a step has, and how long they are."""
    return Batches(
        microbatches=spec.schedule.microbatches,
        micro_batch=spec.schedule.micro_batch,
        replicas=spec.grid_of(spec.language).size("dp"),
        sequence=spec.schedule.sequence,
    )
