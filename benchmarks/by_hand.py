"""Trains one model assembled by hand and by mimodsl, in turn in one run, and compares them.

Every side starts from the same weights and takes the same samples: if losses part, so do models,
and there is nothing to compare. One process a rank, as many as each of the specs has:

    torchrun --nproc-per-node 2 benchmarks/by_hand.py benchmarks/gpu_specs/*.mimo

Each side is first built and trained alone, which compiles its kernels and gives its peak memory.
Then all are built again, which gives their start-up, and trained in turn.
"""

import argparse
import json
import math
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MethodType
from typing import Any
from unittest import mock

import attrs
import on_rank
import torch
import torch.distributed as dist
from attrs import define, frozen
from by_hand_measure import (
    MIB,
    Launches,
    allocated,
    groups_here,
    is_connected,
    on_gpu,
    outside_mib,
    peak,
    release,
    reset_peak,
    timed,
)

import mimodsl
from mimodsl.ir import Spec
from mimodsl.megatron.leftovers import let_go_of_passes

HAND = "by hand"
WEIGHT_GRADIENTS = ("gradient_accumulation_fusion", "fuse_wgrad_accumulation")
"""What linears of megatron-core and of Transformer Engine call it to add theirs themselves."""

# Transformer Engine has the weights of all experts in one linear; layers by hand have a norm
# where ours is a part of the linear behind it.
_RENAMED = (
    (r"\.linear_(fc\d)\.weight(\d+)$", r".local_experts.\2.linear_\1.weight"),
    (r"(^|\.)module\.", r"\1"),
    (r"(layers\.\d+)\.norm\.(weight|bias)$", r"\1.mixer.in_proj.layer_norm_\2"),
    (r"\.input_layernorm\.(weight|bias)$", r".self_attention.linear_qkv.layer_norm_\1"),
    (r"(\.encoders\..*)\.pre_mlp_layernorm\.(weight|bias)$", r"\1.mlp.linear_fc1.layer_norm_\2"),
)

type Step = Callable[[Any], Any]
type Parts = tuple[Any, Any, Step]
"""A model, its optimizer, and the step, which returns the mean loss where it is known."""


@frozen
class Start:
    """What came of building a side, on one rank."""

    build_s: float
    first_step_s: float
    groups: int
    communicators: int
    outside_mib: float


@define
class Side:
    """One of what is compared, and what was seen of it on one rank."""

    name: str
    build: Callable[[], Parts]
    model: Any = None
    step: Step | None = None
    peak_mib: float = 0.0
    start: Start | None = None
    operators: int = 0
    collectives: int = 0
    seconds: list[float] = attrs.field(factory=list)
    losses: list[float] = attrs.field(factory=list)

    def begin(self, weights: dict[str, torch.Tensor], samples: Any) -> Start:
        """Build, give it the weights and take the first step; the first side ever lends its own."""
        forget_bridges()
        before, outside = set(groups_here()), outside_mib()
        build_s, (self.model, optimizer, self.step) = timed(self.build)
        groups = [group for group in groups_here() if group not in before]
        same_weights(self.model, optimizer, weights)
        first_step_s, _ = timed(lambda: self.step(samples))  # pyright: ignore[reportOptionalCall]
        return Start(
            build_s=build_s,
            first_step_s=first_step_s,
            groups=len(groups),
            communicators=sum(map(is_connected, groups)),
            outside_mib=outside_mib() - outside,
        )

    def alone(self, weights: dict[str, torch.Tensor], samples: list[Any], steps: int) -> None:
        """Train it with nothing else on the device, and take it down again."""
        base = allocated()
        try:
            self.begin(weights, samples[0])
            reset_peak()
            for number in range(steps):
                assert self.step
                self.step(samples[number % len(samples)])
            self.peak_mib = (peak() - base) / MIB
        finally:
            self.end()

    def end(self) -> None:
        """Take it down."""
        if self.model is not None:
            let_go_of_passes(self.model)
        self.model = self.step = None
        release()

    def count(self, samples: Any) -> None:
        """What one step launches."""
        assert self.step
        with Launches() as launches:
            self.step(samples)
        self.operators, self.collectives = launches.operators, launches.collectives

    def turn(self, samples: Any) -> None:
        """One measured step."""
        assert self.step
        step = self.step
        seconds, loss = timed(lambda: step(samples))
        self.seconds.append(seconds)
        self.losses.append(float(loss))


def ours(spec: Spec, *, share: bool = True, loss: bool = True, fused: bool = True) -> Parts:
    """The model through mimodsl, with process groups shared or one for every name, with its own
    cross entropy or megatron-core's plain one, and weights' gradients added in their products or
    by DDP."""
    from megatron.core.models.common.language_module.language_module import LanguageModule

    from mimodsl.builder.assembly import assemble

    assembly = assemble(spec, share_groups=share)
    for module in assembly.model.modules():
        if isinstance(module, LanguageModule) and not loss:
            plain = LanguageModule.compute_language_model_loss
            module.compute_language_model_loss = MethodType(plain, module)
        for name in WEIGHT_GRADIENTS:
            if hasattr(module, name) and not fused:
                setattr(module, name, False)
    return assembly.model, assembly.optimizer, lambda some: assembly.train_step(some).loss


def one_by_one(spec: Spec) -> Spec:
    """The same with a loop over a rank's experts."""
    return spec.with_module(spec.language.name, moe={"grouped_gemm": False})


def their_experts(spec: Spec) -> Parts:
    """With Transformer Engine's own product of experts."""
    from mimodsl.builder import kernels

    def grouped(*args: Any, **kwargs: Any) -> Any:
        del kwargs["ours"]
        return kwargs.pop("theirs")(*args, **kwargs)

    with mock.patch.object(kernels, "grouped_experts", grouped):
        return ours(spec)


def by_hand(spec: Spec, *, fused: bool) -> Parts:
    """The model as the public example has it."""
    from by_hand_side import ByHand

    from mimodsl.builder.program import resolve
    from mimodsl.ir import Kernels

    use_te = resolve(spec.train.kernels) is Kernels.TRANSFORMER_ENGINE
    built = ByHand(spec, use_te=use_te, fused=fused)

    def step(samples: Any) -> float:
        loss, tokens = built.train_step(samples).tolist()
        return loss / max(tokens, 1.0)

    return built.model, built.optimizer, step


def sides_of(spec: Spec) -> list[Side]:
    """What is compared; all ratios are to the first."""
    return [
        Side(HAND, lambda: by_hand(spec, fused=False)),
        Side("by hand, with the public command's fusions", lambda: by_hand(spec, fused=True)),
        Side("mimodsl", lambda: ours(spec)),
        Side("mimodsl, a group for every name", lambda: ours(spec, share=False)),
        Side("mimodsl, experts one by one", lambda: ours(one_by_one(spec))),
        Side("mimodsl, megatron-core's cross entropy", lambda: ours(spec, loss=False)),
        Side("mimodsl, weight gradients added by DDP", lambda: ours(spec, fused=False)),
        Side("mimodsl, experts in Transformer Engine's product", lambda: their_experts(spec)),
    ]


def same_weights(model: Any, optimizer: Any, weights: dict[str, torch.Tensor]) -> None:
    """Give a model the weights by name, or take its own where there are none yet."""
    own = {canonical(name): parameter for name, parameter in model.named_parameters()}
    if not weights:
        weights |= {name: parameter.detach().cpu() for name, parameter in own.items()}
        return
    assert own.keys() == weights.keys(), sorted(own.keys() ^ weights.keys())[:8]
    for name, parameter in own.items():
        parameter.data.copy_(weights[name])
    optimizer.reload_model_params()


def canonical(name: str) -> str:
    """A parameter's name in mimodsl, without wrappers."""
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def forget_bridges() -> None:
    """Bridges keep their groups on their class; every side shall make its own."""
    from megatron.core.pipeline_parallel.bridge_communicator import BridgeCommunicator

    BridgeCommunicator._broadcast_pg_cache.clear()  # noqa: SLF001
    BridgeCommunicator._bridge_pg_cache.clear()  # noqa: SLF001


def compare(spec: Spec, options: argparse.Namespace) -> list[Side]:
    """Run everything; every rank calls it."""
    from mimodsl.runtime.data import SyntheticData, microbatches

    every = sides_of(spec)
    wanted = [side for side in every if options.only is None or side.name in options.only]
    data = SyntheticData(spec=spec)
    with_groups = data_groups(spec)
    samples = [list(microbatches(data, step, with_groups)) for step in range(4)]
    weights: dict[str, torch.Tensor] = {}
    for side in sorted(wanted, key=lambda side: side.name.startswith(HAND)):
        say(f"{side.name}: alone, beside {allocated() / MIB:.0f} MiB")
        try:
            side.alone(weights, samples, options.warm)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are measured
            say(f"{side.name}: left out, for {error!r}")
            wanted.remove(side)
    release()
    for side in wanted:
        say(f"{side.name}: start")
        side.start = side.begin(weights, samples[0])
    for side in wanted * options.warm:
        side.step(samples[1])  # pyright: ignore[reportOptionalCall]
    for side in wanted:
        side.count(samples[2])
    started = time.perf_counter()
    for number in range(options.turns):
        if number and is_late(started + options.limit):
            break
        order = wanted[number % len(wanted) :] + wanted[: number % len(wanted)]
        for side in order:
            for step in range(options.steps):
                side.turn(samples[(number + step) % len(samples)])
    return wanted


def is_late(end: float) -> bool:
    """Whether the first rank's clock says so."""
    late = torch.tensor(float(time.perf_counter() > end))
    late = late.to(torch.cuda.current_device())
    dist.broadcast(late, 0)
    return bool(late)


def data_groups(spec: Spec) -> Mapping[str, Any]:
    """What deals samples to ranks asks of groups: this rank's place among replicas."""

    @frozen
    class Replicas:
        place: int
        count: int

        def rank(self) -> int:
            return self.place

        def size(self) -> int:
            return self.count

    @frozen
    class Groups:
        dp: Replicas

    planned = mimodsl.plan(spec)
    here: dict[str, Any] = {}
    for module in spec.modules:
        grid = next(one for one in planned.grids if one.name == module.grid)
        if dist.get_rank() in grid.ranks:
            place = grid.base.coordinates(dist.get_rank())["dp"]
            here[module.name] = Groups(Replicas(place, spec.grid_of(module).size("dp")))
    return here


def say(line: str) -> None:
    if dist.get_rank() == 0:
        print(line, flush=True)


def report(title: str, sides: list[Side], out: Path | None) -> None:
    """The tables, from what all ranks saw; rank 0 prints."""
    rows: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(rows, [attrs.asdict(s, filter=_is_data) for s in sides])
    if dist.get_rank():
        return
    document = {"device": device(), "ranks": len(rows), "sides": rows}
    if out:
        (out / f"{title}.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    print("\n".join([f"\n{title}\n", *tables(rows), ""]), flush=True)


def _is_data(field: Any, _: Any) -> bool:
    return field.name not in ("build", "model", "step")


def tables(rows: list[list[dict[str, Any]]]) -> Iterator[str]:
    """Rows of Markdown; `rows` are the sides of each rank, losses those of the last."""
    first = rows[0][0]
    yield "| | step | ratio | spread of ratios | peak MiB | ratio | loss |"
    yield "|---|---:|---:|---|---:|---:|---|"
    base_peak = max(rank[0]["peak_mib"] for rank in rows)
    for index, side in enumerate(rows[0]):
        ratios = [a / b for a, b in zip(side["seconds"], first["seconds"], strict=True)]
        most = max(rank[index]["peak_mib"] for rank in rows)
        losses = rows[-1][index]["losses"]
        yield (
            f"| {side['name']} | {1e3 * statistics.median(side['seconds']):.2f} ms "
            f"| {statistics.median(ratios):.3f} | {min(ratios):.3f}–{max(ratios):.3f} "
            f"| {most:.0f} | {most / base_peak if base_peak else 1:.3f} "
            f"| {losses[0]:.4f} → {losses[-1]:.4f} |"
        )
    yield ""
    yield (
        "| | build | first step | groups of a rank | that are connected | MiB outside torch "
        "| operators a step | collectives |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for index, side in enumerate(rows[0]):
        starts = [rank[index]["start"] for rank in rows]
        most = {key: max(start[key] for start in starts) for key in starts[0]}
        most |= {
            key: max(rank[index][key] for rank in rows) for key in ("operators", "collectives")
        }
        yield (
            f"| {side['name']} | {most['build_s']:.2f} s | {most['first_step_s']:.2f} s "
            f"| {most['groups']} | {most['communicators']} | {most['outside_mib']:.0f} "
            f"| {most['operators']} | {most['collectives']} |"
        )


def device() -> str:
    return torch.cuda.get_device_name() if on_gpu() else "cpu"


def main() -> None:
    parser = on_rank.parser(__doc__)
    parser.add_argument("--turns", type=int, default=12, help="of every side")
    parser.add_argument("--steps", type=int, default=1, help="a turn")
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds of turns, of a spec")
    parser.add_argument("--warm", type=int, default=3, help="steps before any is measured")
    parser.add_argument("--only", action="append", help="a side by name (may be repeated)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for all numbers as JSON")
    options = parser.parse_args()
    with on_rank.member(options):
        for title, spec in on_rank.specs_of(options):
            say(f"{title}:")
            sides = compare(spec, options)
            report(title, sides, options.out)
            for side in sides:
                side.end()


if __name__ == "__main__":
    main()
