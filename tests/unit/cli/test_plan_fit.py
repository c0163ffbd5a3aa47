"""`mimodsl plan --fit` says which ranks need more memory than there is, and what would help."""

import json

import pytest

from mimodsl.planner.memory import memory_size
from tests.unit.cli.conftest import SPECS

GIB = 2**30
PRODUCTION = SPECS / "nemotron_3_nano_vlm.mimo"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("80GiB", 80 * GIB),
        ("80 GiB", 80 * GIB),
        ("141GB", 141 * 10**9),
        ("1.5tib", 3 * 2**39),
        ("512MiB", GIB // 2),
        ("7B", 7),
    ],
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert memory_size(text) == size


@pytest.mark.parametrize("text", ["80", "GiB", "-1GiB", "0GB", "80Gi", "80 G iB", ""])
def test_what_is_no_size_is_wrong_usage(mimodsl, demo, text: str) -> None:
    ran = mimodsl("plan", demo, "--fit", text)
    assert ran.code == 2
    assert "expected" in ran.err


def test_ranks_that_fit(mimodsl, demo) -> None:
    ran = mimodsl("plan", demo, "--fit", "80GiB")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("all ranks fit into 80.00 GiB: the most is 2.8")


def test_ranks_that_do_not_fit_are_named(mimodsl, demo) -> None:
    ran = mimodsl("plan", demo, "--fit", "512MiB")
    assert ran.code == 1
    assert "ranks 0–3 need 2.8" in ran.out
    assert "ranks 4–7 need 2.8" in ran.out
    assert "recompute" not in ran.out, "in so small a model it spares next to nothing"


def test_misfits_for_programs_are_the_plans_own_numbers(mimodsl) -> None:
    ran = mimodsl("plan", PRODUCTION, "--fit", "20GiB", "--json")
    assert ran.code == 1
    fit = json.loads(ran.out)
    roles = json.loads(mimodsl("plan", PRODUCTION, "--json").out)["memory"]
    assert (fit["bytes"], fit["fits"]) == (20 * GIB, False)
    for misfit, role in zip(fit["misfits"], roles, strict=True):
        assert misfit["over"] == role["total"] - 20 * GIB
        assert misfit["remedies"]
        assert all(remedy["total"] < 0.99 * role["total"] for remedy in misfit["remedies"])
        alone = json.loads(mimodsl("plan", PRODUCTION, "--json", "--rank", str(role["rank"])).out)
        assert alone["memory"]["total"] == role["total"]
        assert role["total"] == role["allocated"] + role["outside"]


def test_fit_speaks_of_all_ranks(mimodsl, demo) -> None:
    assert mimodsl("plan", demo, "--fit", "80GiB", "--rank", "0").code == 2
