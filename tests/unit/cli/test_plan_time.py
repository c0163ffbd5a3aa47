"""`mimodsl plan --gpu` says how long a step takes at least, and what bounds it."""

import json
import re

import pytest

from mimodsl.cli.options import memory_size
from mimodsl.planner.time import ACCELERATORS


def test_a_step_is_told_stage_by_stage(mimodsl, demo) -> None:
    ran = mimodsl("plan", demo, "--gpu", "h100")
    assert (ran.code, ran.err) == (0, "")
    assert re.search(r"Time  at least \d\S+ µs a step · at most \S+ [kM] tokens/s", ran.out)
    rows = [line.split() for line in ran.out.splitlines() if re.match(r" +\d", line)]
    assert [(row[1], row[-1]) for row in rows] == [("0–3", "memory"), ("4–7", "memory")]
    assert max(map(len, ran.out.splitlines())) <= 100


def test_a_rank_is_told_pass_by_pass(mimodsl, demo) -> None:
    ran = mimodsl("plan", demo, "--gpu", "A100", "--rank", 6)
    assert "rank 6, stage 1" in ran.out
    passes = [line.split()[:2] for line in ran.out.splitlines() if re.match(r"  [a-z]", line)]
    assert passes == [["update", "1"], ["forward", "4"], ["backward", "4"], ["gradients", "1"]]


def test_programs_get_seconds_that_add_up(mimodsl, demo) -> None:
    whole = json.loads(mimodsl("plan", demo, "--gpu", "b200", "--json").out)
    assert whole["accelerator"]["name"] == "b200"
    assert whole["ranks_per_node"] == 8
    for stage in whole["stages"]:
        assert sum(stage["parts"].values()) + stage["waits"] == pytest.approx(whole["seconds"])
        passes = stage["forward"]["seconds"] + stage["backward"]["seconds"]
        end = stage["update"]["seconds"] + stage["gradients"]["seconds"]
        done = passes * stage["microbatches"] + end
        assert sum(stage["parts"].values()) == pytest.approx(done)
    one = json.loads(mimodsl("plan", demo, "--gpu", "b200", "--json", "--rank", 5).out)
    assert one["stages"] == whole["stages"][1:]


def test_nodes_of_few_gpus_make_a_step_longer(mimodsl, demo) -> None:
    def seconds(*options: object) -> float:
        ran = mimodsl("plan", demo, "--gpu", "h200", "--json", *options)
        return json.loads(ran.out)["seconds"]

    assert seconds() == seconds("--gpus-per-node", 8) < seconds("--gpus-per-node", 1)


def test_a_gpu_s_name_is_the_size_of_its_memory(mimodsl, demo) -> None:
    assert all(memory_size(name) == gpu.memory for name, gpu in ACCELERATORS.items())
    assert mimodsl("plan", demo, "--fit", "H100") == mimodsl("plan", demo, "--fit", "80GB")


def test_help_names_every_gpu(mimodsl) -> None:
    words = " ".join(mimodsl("plan", "--help").out.split())
    assert all(name in words for name in ACCELERATORS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--gpu", "h1000"), "expected one of a100, h100, h200, b200, found 'h1000'"),
        (("--gpu", "h100", "--fit", "80GB"), "not with --groups, --fit"),
        (("--gpu", "h100", "--groups", "-"), "not with --groups, --fit"),
        (("--gpu", "h100", "--gpus-per-node", "257"), "a node has 1 to 256 ranks, not 257"),
        (("--gpu", "h100", "--rank", "8"), "there is no rank 8"),
        (("--gpus-per-node", "4"), "--gpus-per-node needs --gpu"),
        (("--fit", "h1000"), "or a GPU"),
    ],
)
def test_wrong_usage(mimodsl, demo, options: tuple[str, ...], words: str) -> None:
    ran = mimodsl("plan", demo, *options)
    assert (ran.code, ran.out) == (2, "")
    assert words in " ".join(ran.err.split())
