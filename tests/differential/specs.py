"""Specs that should be sound: every layout, kind and knob, small in width and world."""

from math import prod
from random import Random
from typing import Final

import attrs

from mimodsl.ir import (
    AdamW,
    AffineProjector,
    Attention,
    Axis,
    Beside,
    ConstantLr,
    CosineLr,
    Ddp,
    Flow,
    Gpt,
    Grid,
    Hybrid,
    Kind,
    LanguageModel,
    Mamba,
    MlpProjector,
    Module,
    Moe,
    Place,
    Projector,
    Radio,
    Schedule,
    ScheduleKind,
    Size,
    Spec,
    Together,
    Train,
    View,
    VisionEncoder,
    Vit,
)
from mimodsl.ir.blocks import Balance, Dispatcher, RouterPrecision, Score
from mimodsl.ir.kinds import Activation, Norm, Recompute
from mimodsl.ir.language import Positions
from mimodsl.ir.train import Kernels, LossPer, Precision

LARGEST_WORLD: Final = 64
ANY_PARTS: Final = 240
"""A sequence of this many tokens divides whatever tp and cp are here."""

LAYOUTS: Final = (
    "alone",
    "one grid",
    "colocated",
    "encoder first",
    "language first",
    "two encoders",
    "two colocated",
)


def some[T](rng: Random, *choices: T) -> T:
    return rng.choice(choices)


def maybe(rng: Random, share: float = 0.25) -> bool:
    return rng.random() < share


def divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def sound_spec(rng: Random, largest: int = LARGEST_WORLD) -> Spec:
    """A spec of a random layout; nearly always one that the checker has nothing against."""
    while True:
        spec = _spec(rng, some(rng, *LAYOUTS))
        if spec.world <= largest:
            return spec


def _spec(rng: Random, layout: str) -> Spec:
    shared = layout in ("one grid", "colocated", "two colocated")
    encoders = {"alone": 0, "two encoders": 2, "two colocated": 2}.get(layout, 1)
    sizes = _language_sizes(rng, pp=not shared, cp=layout == "alone")
    kind = language(rng, sizes)
    grid = language_grid(rng, sizes, kind)
    grids, modules, flows = [grid], [], []
    for index in range(encoders):
        own = grid if layout == "one grid" else _encoder_grid(rng, f"eyes_{index}", sizes, shared)
        if own is not grid:
            grids.insert(0, own)
        more, flow = _modality(rng, index, own, kind)
        modules += more
        flows.append(flow)
    modules.append(Module(name="language", grid=grid.name, kind=kind))
    if layout == "language first":
        grids.reverse()
    names = tuple(one.name for one in grids)
    return Spec(
        grids=tuple(grids),
        place=_place(names, together=shared),
        modules=tuple(modules),
        flows=tuple(flows),
        schedule=_schedule(rng, sizes, grids, flows, modules, shared),
        train=train(rng),
    )


def _place(names: tuple[str, ...], *, together: bool) -> Place | str:
    if len(names) == 1:
        return names[0]
    return Together(parts=names) if together else Beside(parts=names)


# Grids.


def _language_sizes(rng: Random, *, pp: bool, cp: bool) -> dict[str, int]:
    return {
        "tp": some(rng, 1, 1, 2, 2, 4, 3),
        "cp": some(rng, 1, 2) if cp else 1,
        "dp": some(rng, 1, 2, 2, 3, 4),
        "pp": some(rng, 1, 1, 2, 2, 3) if pp else 1,
    }


def language_grid(rng: Random, sizes: dict[str, int], kind: LanguageModel) -> Grid:
    """The language model's grid, with an expert view where it has experts and now and then else."""
    order = _order(rng, ["tp", "cp", "dp"], "pp")
    axes = [Axis(name=name, size=sizes[name]) for name in order if not _left_out(rng, sizes[name])]
    axes = axes or [Axis(name="dp", size=1)]
    views = [View(name=some(rng, "dense", "base_"), axes=tuple(axes))]
    if kind.moe is not None:
        views.append(_expert_view(rng, sizes, kind, kind.moe, shared_first=order[0] == "pp"))
    if maybe(rng, 0.1):
        views.append(View(name="half", axes=(Axis(name="x", size=prod(sizes.values())),)))
    return Grid(name="llm", views=tuple(views), ranks=_stated(rng, prod(sizes.values())))


def _stated(rng: Random, ranks: int) -> int | None:
    return ranks if maybe(rng) else None


def _left_out(rng: Random, size: int) -> bool:
    return size == 1 and maybe(rng, 0.4)


def _order(rng: Random, names: list[str], last: str) -> list[str]:
    """tp first as everybody has it, most of the time; pp at either end."""
    rest = names if maybe(rng, 0.7) else rng.sample(names, len(names))
    return [last, *rest] if maybe(rng, 0.2) else [*rest, last]


def _expert_view(
    rng: Random, sizes: dict[str, int], kind: LanguageModel, moe: Moe, *, shared_first: bool
) -> View:
    stage = sizes["tp"] * sizes["cp"] * sizes["dp"]
    whole = [1] if kind.bias else divisors(stage)
    etp = rng.choice([d for d in whole if moe.ffn % d == 0])
    ep = rng.choice([d for d in divisors(stage // etp) if moe.experts % d == 0])
    own = [Axis(name="etp", size=etp), Axis(name="ep", size=ep)]
    own.append(Axis(name="edp", size=stage // etp // ep))
    if maybe(rng, 0.3):
        rng.shuffle(own)
    own = [axis for axis in own if not _left_out(rng, axis.size or 1)] or own[:1]
    pp = Axis(name="pp")
    if sizes["pp"] == 1 and maybe(rng):
        return View(name="expert", axes=tuple(own))
    return View(name="expert", axes=(pp, *own) if shared_first else (*own, pp))


def _encoder_grid(rng: Random, name: str, language: dict[str, int], shared: bool) -> Grid:
    if shared:
        tp = rng.choice([1, language["tp"]])
        sizes = {"tp": tp, "dp": prod(language.values()) // tp}
    else:
        dp = language["dp"]
        sizes = {"tp": some(rng, 1, 2, 4), "dp": some(rng, *divisors(dp), dp, 2 * dp)}
    names = ["tp", "dp"] if shared or maybe(rng, 0.8) else ["dp", "tp"]
    axes = [(axis, sizes[axis]) for axis in names if not _left_out(rng, sizes[axis])]
    axes = axes or [("dp", 1)]
    views = {"dense": {**dict(axes)}}
    return Grid(name=name, views=views, ranks=_stated(rng, prod(sizes.values())))


# Modules.


def language(rng: Random, sizes: dict[str, int]) -> LanguageModel:
    tp = sizes["tp"]
    heads = tp * some(rng, 1, 2, 4)
    head_dim = some(rng, None, 4, 8)
    moe = _moe(rng, tp) if maybe(rng, 0.75) else None
    shared = {
        "hidden": heads * 8,
        "vocabulary": tp * some(rng, 32, 64),
        "ffn": some(rng, None, tp * 16, tp * 24),
        "activation": rng.choice(list(Activation)),
        "norm": rng.choice(list(Norm)),
        "bias": maybe(rng, 0.15),
        "positions": rng.choice(list(Positions)),
        "tie_embeddings": maybe(rng),
        "init_std": some(rng, 0.02, 0.0, 1.0),
        "dropout": some(rng, 0.0, 0.1),
        "attention_dropout": some(rng, 0.0, 0.1),
        "recompute": rng.choice(list(Recompute)),
    }
    attention = _attention(rng, tp, heads, head_dim)
    if moe is not None and shared["bias"]:
        moe = attrs.evolve(moe, shared_ffn=None, shared_overlap=False)
    if maybe(rng, 0.4):
        return Gpt(
            **shared,
            layers=sizes["pp"] * some(rng, 1, 2),
            attention=attention,
            moe=moe,
            moe_every=some(rng, 1, 2),
        )
    cp = sizes["cp"]
    pattern = _pattern(rng, sizes["pp"], ["M", "-", *("EE" if moe else ""), *("*" * (cp == 1))])
    return Hybrid(
        **shared,
        pattern=pattern,
        attention=attention if "*" in pattern else None,
        mamba=_mamba(rng, sizes, heads * 8) if "M" in pattern else None,
        moe=moe if "E" in pattern else None,
    )


def _pattern(rng: Random, pp: int, symbols: list[str]) -> str:
    """A layer or more a stage, with marks between the stages or an even number without."""
    if maybe(rng, 0.5):
        counts = [rng.randint(1, 3) for _ in range(pp)]
        return "|".join("".join(rng.choices(symbols, k=count)) for count in counts)
    return "".join(rng.choices(symbols, k=pp * rng.randint(1, 3)))


def _attention(rng: Random, tp: int, heads: int, head_dim: int | None) -> Attention:
    groups = [d for d in divisors(heads) if d % tp == 0 or tp % d == 0]
    return Attention(
        heads=heads,
        kv_groups=some(rng, None, rng.choice(groups)),
        head_dim=head_dim,
        qkv_bias=maybe(rng),
        qk_norm=maybe(rng),
    )


def _mamba(rng: Random, sizes: dict[str, int], hidden: int) -> Mamba:
    groups = sizes["tp"] * some(rng, 1, 2)
    if maybe(rng, 0.3) and hidden % (4 * groups * sizes["cp"]) == 0:
        return Mamba(head_dim=8, state=8, groups=groups)
    return Mamba(
        heads=groups * sizes["cp"] * some(rng, 1, 2),
        head_dim=some(rng, 4, 8),
        state=some(rng, 8, 16),
        groups=groups,
    )


def _moe(rng: Random, tp: int) -> Moe:
    experts, score = some(rng, 4, 6, 8, 12), rng.choice(list(Score))
    topk = some(rng, 1, 2, 3)
    balance = some(rng, *Balance, Balance.AUX_LOSS)
    dropping = maybe(rng, 0.15) and balance is not Balance.SINKHORN
    grouped = some(rng, None, 2)
    shared = maybe(rng, 0.4)
    return Moe(
        experts=experts,
        topk=topk,
        ffn=some(rng, 12, 24),
        shared_ffn=tp * 8 if shared else None,
        shared_overlap=shared and maybe(rng),
        score=score,
        pre_softmax=score is Score.SOFTMAX and (topk == 1 or maybe(rng)),
        scaling=some(rng, None, 2.5),
        expert_bias=score is not Score.SOFTMAX and maybe(rng, 0.4),
        groups=grouped,
        group_topk=None if grouped is None else min(topk, grouped),
        balance=balance,
        aux_loss=0.0 if balance in (Balance.NONE, Balance.SINKHORN) else some(rng, 0.0, 1e-4),
        z_loss=some(rng, None, 1e-3),
        router_dtype=rng.choice(list(RouterPrecision)),
        dispatcher=Dispatcher.ALLTOALL,
        grouped_gemm=some(rng, None, False),
        capacity_factor=1.5 if dropping else None,
        pad_to_capacity=dropping and maybe(rng, 0.5),
    )


def _modality(
    rng: Random, index: int, grid: Grid, kind: LanguageModel
) -> tuple[list[Module], Flow]:
    name = ("vision", "scans")[index]
    seeing = encoder(rng, grid.size("tp"))
    modules = [Module(name=name, grid=grid.name, frozen=maybe(rng), kind=seeing)]
    path = [name, "language"]
    if seeing.output_width != kind.hidden or maybe(rng, 0.8):
        held = Module(
            name=f"project_{name}", grid=grid.name, kind=projector(rng, grid.size("tp"), kind)
        )
        modules.append(held)
        path.insert(1, held.name)
    return modules, Flow(path=tuple(path), token=index, images=some(rng, 1, 1, 2))


def encoder(rng: Random, tp: int) -> VisionEncoder:
    heads = tp * some(rng, 1, 2)
    fields = {
        "layers": some(rng, 1, 2),
        "hidden": heads * some(rng, 4, 8),
        "heads": heads,
        "ffn": tp * some(rng, 8, 16),
        "patch": 8,
        "image": Size(height=some(rng, 16, 32), width=some(rng, 16, 32)),
        "drop_class_tokens": True,
        "pixel_shuffle": maybe(rng, 0.6),
        "activation": rng.choice(list(Activation)),
        "norm": rng.choice(list(Norm)),
        "bias": maybe(rng, 0.5),
        "qkv_bias": maybe(rng, 0.5),
        "recompute": rng.choice(list(Recompute)),
        "dropout": some(rng, 0.0, 0.1),
    }
    if maybe(rng, 0.4):
        return Vit(**fields, class_tokens=some(rng, 0, 1))
    return Radio(
        **fields,
        class_tokens=some(rng, 0, 1, 8),
        max_image=Size(height=64, width=64),
        embedder_bias=maybe(rng),
    )


def projector(rng: Random, tp: int, kind: LanguageModel) -> Projector:
    if kind.hidden % tp == 0 and maybe(rng, 0.3):
        return AffineProjector(bias=maybe(rng))
    return MlpProjector(
        bias=maybe(rng),
        ffn=tp * some(rng, 8, 16),
        activation=rng.choice(list(Activation)),
        norm=some(rng, None, *Norm),
    )


# Training.


def _schedule(
    rng: Random,
    sizes: dict[str, int],
    grids: list[Grid],
    flows: list[Flow],
    modules: list[Module],
    shared: bool,
) -> Schedule:
    """Samples for every replica of every encoder, and room for all images and text."""
    dp = sizes["dp"]
    micro = max(-(-grid.size("dp") // dp) for grid in grids)
    kinds: dict[str, Kind] = {module.name: module.kind for module in modules}
    images = sum(flow.images * kinds[flow.encoder].tokens for flow in flows)
    plain = shared and maybe(rng, 0.7)
    return Schedule(
        kind=ScheduleKind.NO_PIPELINING if plain else ScheduleKind.ONE_F_ONE_B,
        sequence=-(-(images + 8) // ANY_PARTS) * ANY_PARTS,
        micro_batch=micro * some(rng, 1, 2),
        microbatches=some(rng, 1, 4),
    )


def train(rng: Random) -> Train:
    """Local kernels: Transformer Engine is not there to be built from without a GPU."""
    overlap = maybe(rng)
    return Train(
        precision=rng.choice(list(Precision)),
        optimizer=AdamW(lr=1e-3, clip=some(rng, 0.0, 1.0)),
        ddp=Ddp(
            overlap_grad_reduce=overlap,
            overlap_param_gather=overlap and maybe(rng, 0.5),
            grad_fp32=maybe(rng, 0.5),
            bucket=some(rng, None, 4096),
        ),
        loss_per=rng.choice(list(LossPer)),
        kernels=Kernels.LOCAL,
        lr_decay=some(rng, ConstantLr(), CosineLr(steps=10, warmup=2, min_lr=1e-4)),
    )
