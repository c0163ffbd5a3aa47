"""What a plan predicts of memory against what training allocates on real ranks."""

import pytest

from mimodsl import Spec, parse
from mimodsl.builder.assembly import assemble
from mimodsl.planner.memory import peak_memory
from mimodsl.planner.memory.peak import WORKSPACE
from mimodsl.planner.plan import plan
from mimodsl.runtime.data import SyntheticData, microbatches
from mimodsl.runtime.launch import run_ranks
from mimodsl.runtime.peak_allocation import peak_allocated

WITHIN = 0.05

# A LayerNorm and as many keys as queries, which a CPU keeps as a GPU does.
LANGUAGE = """
module language : gpt {
  grid       = llm
  hidden     = 128
  layers     = 4
  vocabulary = 1024
  norm       = layernorm
  recompute  = RECOMPUTE
  attention  = { heads = 4 }
  moe        = { experts = 8, topk = 2, ffn = 256, shared_ffn = 128 }
  moe_every  = 2
}
train {
  precision = bf16
  kernels   = local
}
"""
BATCH = "{ sequence = 384, micro_batch = 2, microbatches = 3 }"
LAYOUTS = {
    "tp 2, ep 2": (
        "grid llm { dense = tp:2\n expert = ep:2 * pp }\nschedule no_pipelining " + BATCH,
        "none",
    ),
    "pp 2": ("grid llm { dense = pp:2\n expert = ep:1 * pp }\nschedule 1f1b " + BATCH, "full"),
    "a frozen encoder beside": (
        "grid eyes { dense = dp:1 }\ngrid llm { dense = dp:1\n expert = ep:1 * pp }\n"
        "place eyes | llm\n"
        "module vision : vit { grid = eyes, layers = 2, hidden = 128, heads = 4, ffn = 256,"
        " image = 128x128, frozen = true }\n"
        "module projector : mlp_projector { grid = eyes, norm = layernorm }\n"
        "flow vision -> projector -> language { token = 1 }\nschedule 1f1b " + BATCH,
        "selective",
    ),
}


def train(spec: Spec) -> None:
    """Two steps reach the peak: the optimizer makes its state in the first."""
    assembly, data = assemble(spec), SyntheticData(spec=spec)
    for step in range(2):
        assembly.train_step(list(microbatches(data, step, assembly.process_groups)))


@pytest.mark.parametrize("name", LAYOUTS)
def test_training_allocates_what_was_predicted(name: str) -> None:
    grids, recompute = LAYOUTS[name]
    spec = parse(grids + LANGUAGE.replace("RECOMPUTE", recompute))
    whole = plan(spec)
    peaks = run_ranks(spec.world, lambda _: peak_allocated(lambda: train(spec))[0])
    for rank, measured in enumerate(peaks):
        predicted = peak_memory(whole, rank).allocated - WORKSPACE  # cuBLAS's, not there
        assert abs(predicted / measured - 1) < WITHIN, (rank, predicted, measured)
