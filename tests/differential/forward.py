"""The first forward pass of every module that a rank holds, by shape alone."""

from typing import Any, Final

import torch
from megatron.core.models.mimo.config.role import MIMO_LANGUAGE_MODULE_KEY
from megatron.core.transformer.moe.moe_logging import destroy_moe_metrics_tracker

from mimodsl.builder.assembly import Assembly
from mimodsl.builder.model import modules_of
from mimodsl.ir import Spec

IMAGES: Final = 2

BEYOND_SHAPES: Final = (
    "Tensor.item() cannot be called on meta tensors",
    "Cannot copy out of meta tensor; no data!",
)
"""What torch says where a number decides the next shape, as a router's does: the pass ends here."""


def run_forward(spec: Spec, assembly: Assembly) -> None:
    """Run this rank's modules on inputs of the shapes that they get in training.

    Raises what they raise, and `ValueError` where the output has another shape than the spec says.
    """
    destroy_moe_metrics_tracker()  # sized by the layers of the last model
    for name, wrapped in modules_of(assembly.model).items():
        if spec.train.ddp.overlap_param_gather:
            wrapped.disable_forward_pre_hook(param_sync=False)  # nobody is there to gather from
        try:
            if name == MIMO_LANGUAGE_MODULE_KEY:
                _run_language(spec, assembly, wrapped.module)
            else:
                _run_modality(spec, name, wrapped.module)
        except (RuntimeError, NotImplementedError) as error:
            if not str(error).startswith(BEYOND_SHAPES):
                raise


def _run_modality(spec: Spec, name: str, modality: Any) -> None:
    """Images to embeddings `[images * tokens, hidden]`."""
    flow = spec.flow_through(name)
    assert flow is not None
    kind = spec.encoder(flow)
    images = torch.zeros(IMAGES, 3, kind.image.height, kind.image.width)
    emitted = modality(encoder_inputs={name: {"x": images}})
    _expect(emitted, (IMAGES * kind.tokens, spec.language_kind.hidden))


def _run_language(spec: Spec, assembly: Assembly, model: Any) -> None:
    """Embeddings `[s, b, h]` of this rank's part of the sequence to a stage's output, or losses."""
    groups = assembly.process_groups[spec.language.name]
    batch, width = spec.schedule.micro_batch, spec.language_kind.hidden
    tokens = spec.schedule.sequence // groups.cp.size()
    split = groups.tp.size() if spec.splits_sequence(spec.language) else 1
    ids = torch.zeros(batch, tokens, dtype=torch.long)
    # Memory that nobody has written may hold NaN, and then experts are chosen at random.
    embedded = torch.zeros(tokens // split, batch, width, dtype=model.config.params_dtype)
    first, last = groups.pp.rank() == 0, groups.pp.rank() == groups.pp.size() - 1
    if not first:
        model.set_input_tensor(embedded)
    from_images = first and bool(spec.flows)
    output = model(
        input_ids=None if from_images else ids,
        position_ids=None if from_images else ids,
        attention_mask=None,
        decoder_input=embedded if from_images else None,
        labels=ids if last else None,
    )
    _expect(output, (batch, tokens) if last else (tokens // split, batch, width))


def _expect(output: torch.Tensor, shape: tuple[int, ...]) -> None:
    if output.shape != shape:
        raise ValueError(f"the output is {tuple(output.shape)}, the spec says {shape}")
