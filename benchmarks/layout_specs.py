"""The layouts whose memory and time are measured: their specs, at the sizes of a GPU or a CPU."""

from typing import Final, NamedTuple

import attrs

from mimodsl import Spec, check, parse
from mimodsl.diagnostics import Severity
from mimodsl.ir.train import Kernels

LANGUAGE: Final = """\
module language : hybrid {{
  grid       = llm
  hidden     = {hidden}
  vocabulary = {vocabulary}
  norm       = {norm}
  pattern    = "{pattern}"
  recompute  = {recompute}
  mamba      = {{ heads = {heads}, head_dim = 64, state = 128, groups = 8 }}
  attention  = {{ heads = {heads}, head_dim = 64 }}
  moe        = {{
    experts = {experts}, topk = 2, ffn = {hidden}, shared_ffn = {hidden}, score = sigmoid,
    expert_bias = true, balance = seq_aux_loss, aux_loss = 1e-4, router_dtype = fp32
  }}
}}
schedule {schedule} {{
  sequence     = {sequence}
  micro_batch  = {micro_batch}
  microbatches = {microbatches}
}}
train {{
  precision = bf16
  kernels   = {kernels}
}}
"""

VISION: Final = """\
module vision : radio {{
  grid       = encoder
  layers     = {vision_layers}
  hidden     = {vision_hidden}
  heads      = 8
  ffn        = {vision_ffn}
  image      = 256x256
  max_image  = 512x512
  activation = gelu
  frozen     = {frozen}
}}
module projector : mlp_projector {{
  grid       = encoder
  norm       = {norm}
  activation = squared_relu
}}
flow vision -> projector -> language {{
  token  = 1
  images = 2
}}
"""

# Mamba's and RMSNorm's kernels of a GPU have stand-ins on a CPU that keep other tensors.
CPU: Final[dict[str, object]] = {
    "hidden": 256, "vocabulary": 4096, "norm": "layernorm", "pattern": "*E-*E-*E-*E-", "heads": 4,
    "experts": 8, "sequence": 768, "micro_batch": 2, "microbatches": 1, "recompute": "none",
    "schedule": "no_pipelining", "kernels": "local", "vision_layers": 4, "vision_hidden": 128,
    "vision_ffn": 512, "frozen": "false",
}  # fmt: skip
GPU: Final = CPU | {
    "hidden": 2048, "vocabulary": 131072, "norm": "rmsnorm", "pattern": "MEM*EMEM*EME", "heads": 64,
    "experts": 16, "sequence": 4096, "vision_layers": 24, "vision_hidden": 1024,
    "vision_ffn": 4096, "kernels": "auto",
}  # fmt: skip


class Layout(NamedTuple):
    """A layout: its grids and whether it sees, and the values in which it differs."""

    name: str
    grids: str
    sees: bool = False
    values: dict[str, object] = {}  # noqa: RUF012 - never changed


LAYOUTS: Final = (
    Layout("one rank", "grid llm { dense = dp:1\n expert = ep:1 * pp }"),
    Layout(
        "one rank, recompute full",
        "grid llm { dense = dp:1\n expert = ep:1 * pp }",
        values={"recompute": "full"},
    ),
    Layout("tp 2, ep 2", "grid llm { dense = tp:2\n expert = ep:2 * pp }"),
    Layout("dp 2, ep 1", "grid llm { dense = dp:2\n expert = ep:1 * edp:2 * pp }"),
    Layout(
        "pp 2",
        "grid llm { dense = pp:2\n expert = ep:1 * pp }",
        values={"schedule": "1f1b", "microbatches": 4},
    ),
    Layout(
        "colocated, one rank",
        "grid encoder { dense = dp:1 }\ngrid llm { dense = dp:1\n expert = ep:1 * pp }\n"
        "place encoder & llm",
        sees=True,
    ),
    Layout(
        "colocated, encoder frozen",
        "grid encoder { dense = dp:1 }\ngrid llm { dense = dp:1\n expert = ep:1 * pp }\n"
        "place encoder & llm",
        sees=True,
        values={"frozen": "true"},
    ),
    Layout(
        "non-colocated, 1 + 1",
        "grid encoder { dense = dp:1 }\ngrid llm { dense = dp:1\n expert = ep:1 * pp }\n"
        "place encoder | llm",
        sees=True,
        values={"schedule": "1f1b", "microbatches": 3},
    ),
)


def spec_of(layout: Layout, *, cpu: bool, kernels: str | None = None) -> Spec:
    """The checked spec of a layout at the sizes of a CPU or a GPU."""
    values = (CPU if cpu else GPU) | layout.values
    text = LANGUAGE.format(**values)
    if layout.sees:
        text = VISION.format(**values) + text
    spec = parse(f"{layout.grids}\n{text}")
    if kernels:
        spec = attrs.evolve(spec, train=attrs.evolve(spec.train, kernels=Kernels(kernels)))
    errors = [one.message for one in check(spec) if one.severity is Severity.ERROR]
    assert not errors, errors
    return spec
