"""A layer's local experts on one device: all in one grouped product, against one by one.

    python benchmarks/experts.py                                      # of the production model
    python benchmarks/experts.py --device cpu --hidden 256 --ffn 128 --rows 512

Forward and backward, by turns, with the same weights and tokens; the table goes to standard output.
A rank has the experts of its part of ep; the counts of their tokens lie where megatron-core's
all-to-all leaves them, in the host's pinned memory.
"""

import argparse
import statistics
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from by_hand_measure import MIB, allocated, on_gpu, peak, release, reset_peak, synchronize, timed
from measured import where

import mimodsl

SPEC = """
grid llm {{ dense = dp:1\n expert = ep:1 * pp }}
module language : gpt {{
  grid = llm, layers = 1, hidden = {hidden}, vocabulary = 64, activation = {activation}
  attention = {{ heads = 1 }}
  moe       = {{ experts = {experts}, topk = 2, ffn = {ffn}, grouped_gemm = {grouped} }}
}}
schedule no_pipelining {{ sequence = 64 }}
train {{ precision = bf16, kernels = local }}
"""


class Side(NamedTuple):
    """Experts, and what was seen of their passes."""

    mlp: Any
    seconds: list[float]
    peak_mib: float

    def step(self, inputs: list[torch.Tensor], counts: torch.Tensor) -> None:
        tokens, probs, pull = inputs
        out, _ = self.mlp(tokens, counts, probs)
        out.backward(pull)
        for tensor in (tokens, probs, *self.mlp.parameters()):
            tensor.grad = None


def side(options: argparse.Namespace, experts: int, *, grouped: bool, like: Any = None) -> Side:
    from megatron.core.process_groups_config import ProcessGroupCollection
    from megatron.core.transformer.transformer_config import TransformerConfig

    from mimodsl.builder.kernels import LocalKernels
    from mimodsl.builder.program import program_here
    from mimodsl.planner.plan import plan

    words = vars(options) | {"experts": experts, "grouped": str(grouped).lower()}
    program = program_here(plan(mimodsl.parse(SPEC.format(**words))))
    config = TransformerConfig(**program.language.config)
    config.gradient_accumulation_fusion = False  # no DDP wraps them
    world = dist.group.WORLD
    groups = ProcessGroupCollection(ep=world, expt_tp=world, expt_dp=world)
    build = LocalKernels().grouped_mlp_modules(config.moe_grouped_gemm)
    mlp = build(experts, config, pg_collection=groups)
    if like is not None:
        mlp.load_state_dict(like.state_dict())
    return Side(mlp, [], 0.0)


def row(options: argparse.Namespace, experts: int, rows: int) -> str:
    """One line of the table."""
    first = side(options, experts, grouped=True)
    sides = [first, side(options, experts, grouped=False, like=first.mlp)]
    source = torch.Generator().manual_seed(1)
    chosen = torch.randint(experts, (rows,), generator=source)
    counts = torch.bincount(chosen, minlength=experts)
    counts = counts.pin_memory() if on_gpu() else counts
    device = torch.cuda.current_device()
    wide = torch.randn(rows, options.hidden, generator=source).to(device, torch.bfloat16)
    probs = torch.rand(rows, generator=source).to(device).requires_grad_()
    inputs = [wide.clone().requires_grad_(), probs, wide]
    for number, one in enumerate(sides):
        for _ in range(options.warm):
            one.step(inputs, counts)
        release()
        reset_peak()
        base = allocated()
        one.step(inputs, counts)
        synchronize()
        sides[number] = one._replace(peak_mib=(peak() - base) / MIB)
    for turn in range(options.turns):
        for one in sides if turn % 2 else reversed(sides):
            one.seconds.append(timed(lambda one=one: one.step(inputs, counts))[0])
    return _line(experts, rows, *sides)


def _line(experts: int, rows: int, grouped: Side, loop: Side) -> str:
    ratios = [a / b for a, b in zip(grouped.seconds, loop.seconds, strict=True)]
    mine, theirs = (1e3 * statistics.median(one.seconds) for one in (grouped, loop))
    return (
        f"| {experts} | {rows} | {theirs:.2f} | {mine:.2f} | {statistics.median(ratios):.3f} "
        f"| {min(ratios):.3f}–{max(ratios):.3f} | {loop.peak_mib:.0f} | {grouped.peak_mib:.0f} |"
    )


def table(options: argparse.Namespace) -> Iterator[str]:
    yield "| experts | rows | one by one, ms | grouped, ms | ratio | spread | MiB | MiB |"
    yield "|---:|---:|---:|---:|---:|---|---:|---:|"
    for experts in options.experts:
        for rows in options.rows:
            yield row(options, experts, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--hidden", type=int, default=2688)
    parser.add_argument("--ffn", type=int, default=1856)
    parser.add_argument("--activation", default="squared_relu")
    parser.add_argument("--experts", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--rows", type=int, nargs="+", default=[2048, 8192, 49152])
    parser.add_argument("--turns", type=int, default=20, help="of either")
    parser.add_argument("--warm", type=int, default=3, help="passes before any is measured")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with ExitStack() as stack:
        if options.device == "cpu":
            from mimodsl.megatron.cpu import backend

            stack.enter_context(backend.activate())
        backend = "gloo" if options.device == "cpu" else "nccl"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        stack.callback(dist.destroy_process_group)
        from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

        model_parallel_cuda_manual_seed(7, tp_rank=0, ep_rank=0, etp_rank=0)
        device = torch.cuda.get_device_name() if on_gpu() else "no GPU"
        print(f"{device}; {where()}\n", flush=True)
        for line in table(options):
            print(line, flush=True)


if __name__ == "__main__":
    main()
