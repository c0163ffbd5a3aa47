"""`mimodsl build --device meta`: production size in one process, and what it has no use for."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from megatron.core import parallel_state

import mimodsl
from mimodsl.cli.main import main
from mimodsl.megatron import meta_device
from mimodsl.megatron.guard import ParallelStateRead
from mimodsl.planner.plan import plan
from mimodsl.runtime import meta
from mimodsl.runtime.meta_build import build_on_meta
from mimodsl.runtime.workers import Watch
from mimodsl.show.meta import document
from mimodsl.show.numbers import rounded

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental and still under")

SPECS = Path(__file__).parents[3] / "specs"
NANO = str(SPECS / "nemotron_3_nano_vlm.mimo")
COLOCATED = str(SPECS / "nemotron_3_nano_vlm_colocated.mimo")
DEMO = str(SPECS / "nemotron_vlm.mimo")

HIDDEN, VOCABULARY = 2688, 131072
NORM = HIDDEN
MAMBA = (
    NORM
    + HIDDEN * (2 * 4096 + 2 * 8 * 128 + 64)  # z and x of 64 heads of 64; B and C; time steps
    + (4 + 1) * (4096 + 2 * 8 * 128)  # the convolution, four taps and a bias
    + 3 * 64  # A, D and the bias of time steps
    + 4096  # the gated norm
    + 4096 * HIDDEN
)
ATTENTION = NORM + HIDDEN * (32 + 2 * 2) * 128 + 32 * 128 * HIDDEN
EXPERT = 2 * HIDDEN * 1856
MOE = NORM + 128 * HIDDEN + 128 * EXPERT + 2 * HIDDEN * 3712
LANGUAGE = 2 * VOCABULARY * HIDDEN + NORM + 23 * (MAMBA + MOE) + 6 * ATTENTION

WIDTH = 1280
RADIO = (
    16 * 16 * 3 * WIDTH  # patches
    + (8 + (2048 // 16) ** 2) * WIDTH  # class tokens and positions
    + 32 * (2 * 2 * WIDTH + 4 * (WIDTH + 1) * WIDTH + 2 * WIDTH * 5120 + 5120 + WIDTH)
)
PROJECTOR = 4 * WIDTH + 4 * WIDTH * 20480 + 20480 * HIDDEN


@pytest.fixture(autouse=True)
def outside_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)


@pytest.fixture
def _active() -> Iterator[None]:
    with meta_device.activate():
        yield


@functools.cache
def built(path: str) -> dict:
    return document(build_on_meta(mimodsl.load(path), Watch()), path)


def test_the_production_model_has_the_published_size() -> None:
    document = built(NANO)
    assert document["model"] == {"vision": RADIO, "projector": PROJECTOR, "language": LANGUAGE}
    assert rounded(LANGUAGE) == "31.6 B"
    assert (document["device"], document["backend"], document["world"]) == ("meta", "fake", 64)
    assert [(role["rank"], role["ranks"]) for role in document["roles"]] == [
        (0, 16),
        (16, 24),
        (40, 24),
    ]


def test_ranks_hold_their_share_of_it() -> None:
    document = built(NANO)
    first, last = (document["roles"][stage]["modules"][0] for stage in (1, 2))
    assert (first["stages"], first["layers"], last["layers"]) == (2, [0, 26], [26, 52])
    # Of each stage: split over tp 4 and, an expert's weights, over ep 8; norms and router whole.
    sums = [module["parameters"] for module in (first, last)]
    for pattern, own, ends in ((first["pattern"], sums[0], 0), (last["pattern"], sums[1], NORM)):
        moe = NORM + 128 * HIDDEN + 128 // 8 * EXPERT + 2 * HIDDEN * 3712 // 4
        assert own == (
            VOCABULARY // 4 * HIDDEN
            + ends
            + pattern.count("E") * moe
            + pattern.count("M") * (NORM + (MAMBA - NORM) // 4)
            + pattern.count("*") * (NORM + (ATTENTION - NORM) // 4)
        )


@pytest.mark.parametrize("spec", [NANO, COLOCATED])
def test_groups_are_those_of_the_plan(spec: str) -> None:
    document = built(spec)
    layout = plan(mimodsl.load(spec))
    assert sum(role["ranks"] for role in document["roles"]) == layout.world
    for role in document["roles"]:
        planned = {(group.name, tuple(own)) for group, own in layout.rank(role["rank"]).groups}
        groups = role["groups"]
        assert {(name, tuple(g["ranks"])) for g in groups for name in g["names"]} == planned
        assert all(1 <= g["communicators"] <= len(g["names"]) for g in groups)


def test_the_two_layouts_hold_the_same_model() -> None:
    assert built(NANO)["model"] == built(COLOCATED)["model"]


def test_programs_get_one_document(capfd) -> None:
    assert main(["build", DEMO, "--device", "meta", "--json"]) == 0
    out, err = capfd.readouterr()
    document, expected = json.loads(out), json.loads(json.dumps(built(DEMO)))
    for one in (document, expected):
        del one["seconds"]
        for role in one["roles"]:
            assert role.pop("seconds") > 0
    assert document == expected
    assert "rank 4, role 2 of 2\n" in err


def test_people_get_tables(capfd) -> None:
    assert main(["build", NANO, "--device", "meta"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "rank 40, role 3 of 3\n" in out
    assert "16–39  24  language   1/2    0–25 MEMEM*E…        16  2,036,689,728" in out
    assert "llm.expert.edp" in out
    assert "language   31,577,937,344  31.6 B" in out
    assert out.rstrip().endswith("nothing was trained")


def test_auto_comes_to_it_and_says_why(capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mimodsl.runtime.devices.RANKS_A_CORE", 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert main(["build", DEMO]) == 0
    out, _ = capfd.readouterr()
    assert "auto: meta, since there are 0 GPUs for 8 ranks, and as CPU processes they are" in out
    assert main(["build", DEMO, "--steps", "1"]) == 2
    assert "help: --device meta builds one rank of each role" in capfd.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ("--steps", "1"),
        ("--seed", "0"),
        ("--save", "there"),
        ("--load", "there"),
        ("--timeout", "5"),
    ],
    ids=lambda options: options[0],
)
def test_options_of_training_are_refused(options: tuple[str, str], capfd) -> None:
    assert main(["build", DEMO, "--device", "meta", *options]) == 2
    assert capfd.readouterr().err == (
        f"error: --device meta trains nothing, and has no use for {options[0]}\n"
    )


def test_so_is_a_launcher(capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    assert main(["build", DEMO, "--device", "meta"]) == 2
    assert "start it without a launcher" in capfd.readouterr().err


def test_a_rank_that_fails_is_named_with_its_phase(capfd, monkeypatch) -> None:
    from mimodsl.builder import assembly

    def refuse(*_args, **_kwargs):
        raise ValueError("no room")

    monkeypatch.setattr(assembly, "wrap_in_ddp", refuse)
    assert main(["build", DEMO, "--device", "meta"]) == 1
    assert capfd.readouterr().err.startswith(
        "error: rank 0 failed (data parallel)\n  ValueError: no room\n"
    )


@pytest.mark.usefixtures("_active")
def test_worlds_of_any_size_follow_each_other_and_leave_nothing() -> None:
    import gc
    import weakref

    left = []
    for replicas in (16, 256, 2):
        spec = mimodsl.load(DEMO, {"replicas": str(replicas)})
        for rank in (0, spec.world - 1):
            with meta.built(spec, rank) as assembly:
                left += [weakref.ref(assembly.model), weakref.ref(assembly.optimizer)]
                with pytest.raises(ParallelStateRead):
                    parallel_state.get_data_parallel_group()
            del assembly
    gc.collect()
    assert [ref() for ref in left] == [None] * len(left)


def test_counts_are_rounded_as_they_are_published() -> None:
    assert [rounded(count) for count in (7, 999_600, 1_234, 31_577_937_344, 405 * 10**9)] == [
        "7",
        "1.00 M",
        "1.23 k",
        "31.6 B",
        "405 B",
    ]
