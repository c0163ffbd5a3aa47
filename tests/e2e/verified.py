"""A small model of every kind of module, in layouts of few ranks, for tests of verification."""

import attrs

import mimodsl
from mimodsl.ir import Beside, Grid, Spec, Together
from mimodsl.runtime.verify.reference import comparable

type Axes = dict[str, int | None]

TEXT = """
grid encoder {
  dense = dp:1
}

grid llm {
  dense  = dp:1
  expert = edp:1 * pp
}

place encoder & llm

module vision : radio {
  grid      = encoder
  layers    = 2
  hidden    = 32
  heads     = 2
  ffn       = 64
  patch     = 8
  image     = 32x32
  max_image = 64x64
}

module projector : mlp_projector {
  grid = encoder
}

module language : hybrid {
  grid       = llm
  hidden     = 32
  vocabulary = 64
  pattern    = "M*E-"
  mamba      = { heads = 4, head_dim = 16, state = 8, groups = 2 }
  attention  = { heads = 4, kv_groups = 2 }
  moe        = {
    experts     = 4
    topk        = 2
    ffn         = 32
    shared_ffn  = 32
    score       = sigmoid
    expert_bias = true
  }
}

flow vision -> projector -> language {
  token = 63
}

schedule no_pipelining {
  sequence = 16
}

train {
  precision = fp32
  optimizer = adamw { lr = 1e-3 }
}
"""
SAMPLES = 4


def layout(side: type, encoder: Axes, dense: Axes, expert: Axes, pattern: str = "M*E-") -> Spec:
    """The model on other grids, always with the same four samples in a step."""
    spec = mimodsl.parse(TEXT.replace("M*E-", pattern))
    grids = (
        Grid(name="encoder", views={"dense": encoder}),
        Grid(name="llm", views={"dense": dense, "expert": expert | {"pp": None}}),
    )
    each = 2 if (dense.get("dp") or 1) < SAMPLES else 1
    schedule = attrs.evolve(
        spec.schedule,
        kind="1f1b" if side is Beside else "no_pipelining",
        micro_batch=each,
        microbatches=SAMPLES // each // (dense.get("dp") or 1),
    )
    place = side(parts=("encoder", "llm"))
    return comparable(attrs.evolve(spec, grids=grids, place=place, schedule=schedule))


FAN_IN = layout(Together, {"dp": 4}, {"tp": 2, "dp": 2}, {"ep": 2, "edp": 2})
REPLICAS = layout(Together, {"dp": 4}, {"dp": 4}, {"ep": 2, "edp": 2})
SPLIT_ENCODER = layout(Together, {"tp": 2, "dp": 1}, {"tp": 2, "dp": 1}, {"ep": 2, "edp": 1})
BESIDE = layout(Beside, {"dp": 2}, {"tp": 2, "dp": 1}, {"ep": 2, "edp": 1})
