"""Experts in one grouped product train on several ranks as those that a loop goes through."""

import pytest
import torch

import mimodsl
from mimodsl.builder.assembly import StepResult, assemble
from mimodsl.ir import Spec
from mimodsl.megatron.local_experts import GroupedMLP
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.e2e import worlds

SPEC = """
grid llm {{
  {views}
}}

module language : gpt {{
  layers     = 2
  hidden     = 32
  vocabulary = 64
  activation = swiglu
  recompute  = {recompute}
  attention  = {{ heads = 2 }}
  moe        = {{ experts = 6, topk = 2, ffn = 48, shared_ffn = 32, grouped_gemm = {grouped} }}
}}

schedule no_pipelining {{
  sequence     = 24
  microbatches = 2
}}

train {{
  kernels   = local
  optimizer = adamw {{ lr = 1e-2 }}
  ddp       = {{ overlap_grad_reduce = {overlap}, overlap_param_gather = {overlap}{bucket} }}
}}
"""
CASES = {
    "ep": {"views": "dense = dp:2\n expert = ep:2 * edp:1 * pp", "overlap": "false"},
    "etp, recomputed": {"views": "dense = tp:2\n expert = etp:2 * pp", "recompute": "full"},
    # With a bucket for some experts alone, whose weights nothing else waits for.
    "gathered late": {
        "views": "dense = dp:2\n expert = ep:1 * edp:2 * pp",
        "overlap": "true",
        "bucket": ", bucket = 4000",
    },
}
STEPS = 3


def train(spec: Spec) -> list[StepResult]:
    torch.set_num_threads(1)
    assembly, data = assemble(spec), SyntheticData(spec=spec)
    moe = spec.language.kind.moe
    grouped = sum(isinstance(part, GroupedMLP) for part in assembly.model.modules())
    assert grouped == (2 if moe.grouped_gemm else 0)
    return [
        assembly.train_step(microbatches(data, step, assembly.process_groups))
        for step in range(STEPS)
    ]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_they_train_as_those_of_the_loop(case: dict[str, str]) -> None:
    words = {"recompute": "none", "overlap": "false", "bucket": ""} | case
    grouped, loop = (
        mimodsl.parse(SPEC.format(grouped=grouped, **words)) for grouped in ("true", "false")
    )
    found, wanted = (worlds.run(spec.world, train, spec)[0] for spec in (grouped, loop))
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-3)
        assert mine.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-2)
    assert found[-1].loss < found[0].loss
