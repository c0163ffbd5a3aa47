"""The matrix: what is tested on real ranks from end to end, as `docs/matrix.md` lists it.

The tests of `test_matrix.py` run over these cases, so that the table says what they say.
"""

from functools import cache
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

import mimodsl
from mimodsl.ir import (
    AffineProjector,
    Attention,
    Balance,
    Beside,
    Flow,
    Grid,
    Hybrid,
    Kernels,
    Kind,
    Module,
    Score,
    Size,
    Spec,
    Together,
    Vit,
)
from mimodsl.ir.blocks import RouterPrecision

ROOT = Path(__file__).parents[2]
AS_ONE_RANK = "trains as on one rank"
type Axes = dict[str, int | None]


@frozen(kw_only=True)
class Trained:
    """A layout that trains as one rank does. `number` is set for the cases of the substrate.

    `shown` is the spec, where users have it.
    """

    title: str
    spec: Spec
    number: int | None = None
    shown: str = "tests/e2e/matrix.py"
    status: str = AS_ONE_RANK

    def __str__(self) -> str:
        return self.title

    @property
    def ranks(self) -> int:
        return self.spec.world


@frozen(kw_only=True)
class Refused:
    """A layout that Megatron-Core cannot do; its status is the rule that says so."""

    title: str
    spec: Spec
    status: str
    ranks: int = 0
    shown: str = "tests/e2e/test_matrix.py"

    def __str__(self) -> str:
        return self.title


@frozen(kw_only=True)
class Separate:
    """A case with a test of its own: `test` in the file `shown`."""

    title: str
    shown: str
    test: str
    status: str = "holds"
    ranks: int = 8
    number: int | None = None


@cache
def shipped(name: str) -> Spec:
    """A spec that users have."""
    return mimodsl.load(ROOT / "specs" / f"{name}.mimo")


def laid_out(
    spec: Spec,
    place: type,
    *,
    encoder: Axes,
    dense: Axes,
    expert: Axes,
    micro_batch: int = 1,
    schedule: str = "",
    **language: object,
) -> Spec:
    """The modules of a spec on other grids, with eight samples a step as in every spec here."""
    spec = with_language(spec, **language)
    return attrs.evolve(
        spec,
        grids=(
            Grid(name="encoder", views={"dense": encoder}),
            Grid(name="llm", views={"dense": dense, "expert": expert | {"pp": None}}),
        ),
        place=place(parts=("encoder", "llm")),
        schedule=attrs.evolve(
            spec.schedule,
            kind=schedule or ("1f1b" if place is Beside else "no_pipelining"),
            micro_batch=micro_batch,
            microbatches=8 // (micro_batch * (dense.get("dp") or 1)),
        ),
    )


def with_language(spec: Spec, **changes: object) -> Spec:
    """The spec with other fields of its language model."""
    return with_kind(spec, spec.language.name, attrs.evolve(spec.language.kind, **changes))


def with_kind(spec: Spec, name: str, kind: Kind) -> Spec:
    """The spec with another kind for one of its modules."""
    return with_modules(spec, lambda module: {"kind": kind} if module.name == name else {})


def with_modules(spec: Spec, changes: Any) -> Spec:
    """The spec with modules changed by what `changes` gives for each."""
    modules = [attrs.evolve(module, **changes(module)) for module in spec.modules]
    return attrs.evolve(spec, modules=modules)


def one_rank(spec: Spec) -> Spec:
    """The model on one rank, which takes all samples of a step as one microbatch."""
    schedule, language = spec.schedule, spec.language.kind
    if isinstance(language, Hybrid):
        spec = with_language(spec, pattern=language.layers)
    replicas = spec.grid_of(spec.language).size("dp")
    return attrs.evolve(
        with_modules(spec, lambda _: {"grid": "one"}),
        grids=(Grid(name="one", views={"dense": {"dp": 1}, "expert": {"edp": 1, "pp": None}}),),
        place="one",
        schedule=attrs.evolve(
            schedule,
            kind="no_pipelining",
            micro_batch=schedule.micro_batch * schedule.microbatches * replicas,
            microbatches=1,
        ),
    )


def in_two(spec: Spec) -> Spec:
    """The same samples a step, in two microbatches."""
    schedule = spec.schedule
    each = schedule.micro_batch * schedule.microbatches // 2
    return attrs.evolve(spec, schedule=attrs.evolve(schedule, micro_batch=each, microbatches=2))


def frozen_encoder(spec: Spec) -> Spec:
    return with_modules(spec, lambda module: {"frozen": module.name == "vision"})


def alone(spec: Spec, dense: Axes, expert: Axes, **language: object) -> Spec:
    """The language model of a spec with other fields, without its encoders, on one grid."""
    spec = with_language(spec, **language)
    grid = Grid(name="llm", views={"dense": dense, "expert": expert | {"pp": None}})
    replicas = dense.get("dp") or 1
    return attrs.evolve(
        spec,
        grids=(grid,),
        place="llm",
        modules=(spec.language,),
        flows=(),
        schedule=attrs.evolve(
            spec.schedule,
            kind="1f1b" if dense.get("pp", 1) != 1 else "no_pipelining",
            micro_batch=1,
            microbatches=8 // replicas,
        ),
    )


def _with_two_encoders(spec: Spec, second_grid: str) -> Spec:
    """The spec with another encoder, of two small images a sample, on one of its grids."""
    encoder = Vit(layers=1, hidden=32, heads=2, ffn=64, image=Size(height=32, width=32))
    second = (
        Module(name="second", grid=second_grid, kind=encoder),
        Module(name="second_projector", grid=second_grid, kind=AffineProjector()),
    )
    flow = Flow(path=("second", "second_projector", "language"), token=510, images=2)
    return attrs.evolve(spec, modules=(*second, *spec.modules), flows=(*spec.flows, flow))


def _with_a_third_grid(spec: Spec) -> Spec:
    """The encoders side by side before the language model, two ranks each."""
    encoder, llm = spec.grids
    first = attrs.evolve(encoder, views={"dense": {"tp": 1, "dp": 2}})
    third = Grid(name="third", views={"dense": {"tp": 2, "dp": 1}})
    return attrs.evolve(
        spec, grids=(third, first, llm), place=Beside(parts=("encoder", "third", "llm"))
    )


def _nemotron_flavoured(spec: Spec) -> Spec:
    """A decoder with the router, experts, attention and activation of Nemotron."""
    moe = attrs.evolve(
        spec.language.kind.moe,
        shared_ffn=128,
        score=Score.SIGMOID,
        scaling=2.5,
        expert_bias=True,
        balance=Balance.SEQ_AUX_LOSS,
        router_dtype=RouterPrecision.FP32,
    )
    attention = Attention(heads=4, kv_groups=2, head_dim=32)
    return with_language(spec, hidden=128, attention=attention, moe=moe)


NEMOTRON = shipped("nemotron_vlm")
COLOCATED = shipped("nemotron_vlm_colocated")
GPT_MOE_VLM = shipped("gpt_moe_vlm")
MAMBA_MOE_VLM = with_kind(GPT_MOE_VLM, "language", NEMOTRON.language.kind)
HALVES: dict[str, Axes] = {
    "encoder": {"tp": 2, "dp": 2},
    "dense": {"tp": 2, "dp": 2},
    "expert": {"ep": 2, "edp": 2},
}

GROUPS = (
    Separate(
        number=1,
        title="A grid with two factorizations before any rank starts: shapes, names, enumerations",
        shown="tests/e2e/test_matrix_grids.py",
        test="test_a_grid_with_two_factorizations",
        ranks=0,
    ),
    Separate(
        number=2,
        title="A second factorization that does not fit: product, `pp`, axes, order",
        shown="tests/e2e/test_matrix_grids.py",
        test="test_factorizations_that_are_refused",
        ranks=0,
        status="refused",
    ),
    Separate(
        number=3,
        title="Expert groups over the dense ones, rank by rank, inside their pipeline stage",
        shown="tests/e2e/test_matrix_grids.py",
        test="test_expert_groups_overlap_dense_ones_rank_by_rank",
    ),
    Separate(
        number=4,
        title="`ProcessGroupCollection` of a grid with experts and of a dense one",
        shown="tests/e2e/test_matrix_grids.py",
        test="test_collections_have_every_field_set_on_every_rank",
    ),
)
"""The cases of the substrate that need no model."""

SUBSTRATE = (
    Trained(
        number=5,
        title="GPT-MoE through `forward_backward_no_pipelining`, with its collection alone",
        spec=shipped("gpt_moe"),
        shown="specs/gpt_moe.mimo",
    ),
    Trained(
        number=6,
        title="MIMO with GPT-MoE, colocated",
        spec=GPT_MOE_VLM,
        shown="specs/gpt_moe_vlm.mimo",
    ),
    Trained(
        number=7,
        title="MIMO with a Nemotron-flavoured GPT-MoE, colocated",
        spec=_nemotron_flavoured(GPT_MOE_VLM),
    ),
    Trained(number=8, title="MIMO with Mamba-MoE, colocated", spec=MAMBA_MOE_VLM),
    Trained(
        number=9,
        title="Nemotron VLM (RADIO, projector, Mamba-MoE), colocated",
        spec=COLOCATED,
        shown="specs/nemotron_vlm_colocated.mimo",
    ),
    Trained(
        number=10,
        title="MIMO with Mamba-MoE, non-colocated: 1F1B over the bridges",
        spec=laid_out(MAMBA_MOE_VLM, Beside, **HALVES, micro_batch=2),
    ),
    Trained(
        number=11,
        title="Nemotron VLM, non-colocated",
        spec=NEMOTRON,
        shown="specs/nemotron_vlm.mimo",
    ),
)
"""The cases of the substrate that train a model."""

LAYOUTS = (
    Trained(
        title="Colocated fan-out; encoder tp 4 over language tp 2; ep 4 over tp and dp",
        spec=laid_out(
            NEMOTRON,
            Together,
            encoder={"tp": 4, "dp": 2},
            dense={"tp": 2, "dp": 4},
            expert={"ep": 4, "edp": 2},
            micro_batch=2,
        ),
    ),
    Trained(
        title="Colocated fan-in; encoder tp 1 under language tp 4; ep 8 over all of tp and dp",
        spec=laid_out(
            with_language(GPT_MOE_VLM, attention=Attention(heads=4)),
            Together,
            encoder={"dp": 8},
            dense={"tp": 4, "dp": 2},
            expert={"ep": 8},
            micro_batch=4,
        ),
    ),
    Trained(
        title="Non-colocated fan-out; encoder tp 4 over language tp 2; etp 2",
        spec=laid_out(
            NEMOTRON,
            Beside,
            encoder={"tp": 4},
            dense={"tp": 2, "dp": 2},
            expert={"etp": 2, "edp": 2},
            micro_batch=2,
        ),
    ),
    Trained(
        title="Non-colocated fan-in; encoder tp 1 under language tp 2; etp 2 with ep 2",
        spec=laid_out(
            NEMOTRON,
            Beside,
            encoder={"dp": 4},
            dense={"tp": 2, "dp": 2},
            expert={"etp": 2, "ep": 2},
            micro_batch=2,
        ),
    ),
    Trained(
        title="Language pp 2, fan-in",
        spec=shipped("nemotron_vlm_pp"),
        shown="specs/nemotron_vlm_pp.mimo",
    ),
    Trained(
        title="Language pp 4, fan-in",
        spec=laid_out(
            NEMOTRON,
            Beside,
            encoder={"tp": 2, "dp": 2},
            dense={"pp": 4},
            expert={},
            micro_batch=2,
            pattern="M|EM|*E|M",
        ),
    ),
    Trained(
        title="cp 2 in a language model of its own, without attention",
        spec=in_two(
            alone(
                NEMOTRON,
                {"tp": 2, "cp": 2, "dp": 2},
                {"ep": 4, "edp": 2},
                pattern="MEM-",
                attention=None,
            )
        ),
    ),
    Trained(title="Frozen encoder, its projector trained", spec=in_two(frozen_encoder(NEMOTRON))),
    Trained(
        title="Two encoders with two tokens, on one grid",
        spec=in_two(_with_two_encoders(NEMOTRON, "encoder")),
    ),
    Trained(
        title="Two encoders with two tokens, on grids of their own",
        spec=in_two(_with_two_encoders(_with_a_third_grid(NEMOTRON), "third")),
    ),
    Trained(
        title="Two encoders with two tokens, colocated",
        spec=_with_two_encoders(COLOCATED, "encoder"),
    ),
)
"""Everything about a layout that the substrate's cases leave out."""

IMAGES = (
    Separate(
        title="Samples with different numbers of images, without fan-in",
        shown="tests/e2e/test_matrix_images.py",
        test="test_samples_may_show_different_numbers_of_images",
        status=AS_ONE_RANK,
    ),
    Separate(
        title="Microbatches, and whole steps, without an image",
        shown="tests/e2e/test_matrix_images.py",
        test="test_a_microbatch_may_show_no_image",
        status=AS_ONE_RANK,
    ),
    Separate(
        title="Samples with different numbers of images that fan in: the bridge cuts evenly",
        shown="tests/e2e/test_matrix_images.py",
        test="test_fan_in_of_different_numbers_is_refused_before_anything_hangs",
        status="refused in the step",
    ),
)
"""Samples that are not all alike."""

REFUSALS = (
    Refused(
        title="cp 2 behind an encoder: bridges join grids with cp 1",
        spec=laid_out(
            with_language(NEMOTRON, pattern="MEM-", attention=None),
            Beside,
            encoder={"tp": 2, "dp": 2},
            dense={"tp": 2, "cp": 2},
            expert={"ep": 4},
            micro_batch=2,
        ),
        status="MIMO621",
    ),
    Refused(
        title="cp 2 with attention on local kernels: only Transformer Engine has it",
        spec=attrs.evolve(
            alone(NEMOTRON, {"tp": 2, "cp": 2, "dp": 2}, {"ep": 4, "edp": 2}),
            train=attrs.evolve(NEMOTRON.train, kernels=Kernels.LOCAL),
        ),
        status="MIMO731",
    ),
    Refused(
        title="Language pp 2 on the encoder's ranks: the bridge there knows no stages",
        spec=laid_out(
            NEMOTRON,
            Together,
            encoder={"tp": 2, "dp": 4},
            dense={"tp": 2, "dp": 2, "pp": 2},
            expert={"ep": 4},
            micro_batch=2,
            schedule="1f1b",
            pattern="MEM|*EM",
        ),
        status="MIMO622",
    ),
    Refused(
        title="dp 3 before dp 2: a bridge fans in or out by a whole number",
        spec=laid_out(
            NEMOTRON,
            Beside,
            encoder={"tp": 2, "dp": 3},
            dense={"dp": 2},
            expert={"ep": 2},
        ),
        status="MIMO623",
    ),
)
"""What is refused before a rank starts."""

CASES = (*GROUPS, *SUBSTRATE, *LAYOUTS, *IMAGES, *REFUSALS)
