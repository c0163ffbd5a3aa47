"""A share of `make fuzz` that is the same in every run, and files that are no specs at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mimodsl.checker.runner import check
from mimodsl.cli.main import main
from mimodsl.lower import load, parse
from tests.fuzz.heavy import TEXTS

ROOT = Path(__file__).parents[2]


def test_any_text_gives_a_spec_or_diagnostics_in_bounded_time_and_memory():
    command = [sys.executable, "-m", "tests.fuzz", "--texts", "1000", "--jobs", "2"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3_000:] + ran.stderr[-3_000:]
    assert "1,000 texts" in ran.stdout


@pytest.mark.parametrize("name", ["a long pattern", "many stages"])
def test_heavy_texts_for_the_plan_come_to_it(name):
    loaded = parse(TEXTS[name])
    assert loaded.spec is not None
    assert not any(one.is_error for one in check(loaded.spec))


def codes(path: Path) -> list[str]:
    return [one.code for one in load(path).diagnostics]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe.mimo")
    return tmp_path / "pipe.mimo"


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/stdin", "/proc/self/mem", "/"])
def test_what_is_no_file_is_not_read(path):
    assert codes(Path(path))[0] in {"MIMO008", "MIMO109"}


def test_a_pipe_does_not_hold_the_checker_up(pipe):
    assert codes(pipe) == ["MIMO008"]
    main_file = pipe.with_name("main.mimo")
    main_file.write_text('use "pipe.mimo"\n')
    assert codes(main_file) == ["MIMO008"]


def test_links_that_lead_nowhere_or_round_and_round(tmp_path):
    (tmp_path / "a.mimo").symlink_to(tmp_path / "b.mimo")
    (tmp_path / "b.mimo").symlink_to(tmp_path / "a.mimo")
    (tmp_path / "lost.mimo").symlink_to(tmp_path / "nowhere.mimo")
    (tmp_path / "round").symlink_to(tmp_path)
    for name in ("a", "lost"):
        assert codes(tmp_path / f"{name}.mimo") == ["MIMO008"]
        assert main(["check", str(tmp_path / f"{name}.mimo")]) == 1
    (tmp_path / "main.mimo").write_text('use "a.mimo"\nuse "lost.mimo"\nuse "round/c.mimo"\n')
    assert set(codes(tmp_path / "main.mimo")) == {"MIMO010"}
    assert main(["check", str(tmp_path)]) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "secret.mimo"
    path.write_text("let a = 1\n")
    path.chmod(0)
    assert codes(path) == ["MIMO008"]


@pytest.mark.parametrize(
    "written", ["\\u0000.mimo", "", ".", "..", "/", "x" * 5_000, "a/" * 3_000, "~", "\\ud800"]
)
def test_paths_that_no_file_can_have(tmp_path, written):
    path = tmp_path / "main.mimo"
    path.write_text(f'use "{written}"\nlet a = 1\n')
    assert len(codes(path)) == 1
    assert codes(path)[0] in {"MIMO005", "MIMO008", "MIMO010", "MIMO011"}


def test_many_files_that_use_each_other_end(tmp_path):
    """Every file uses all before it: without sharing this would be 2 ** 300 readings."""
    for number in range(300):
        uses = "".join(f'use "f{earlier}.mimo"\n' for earlier in range(max(0, number - 30), number))
        (tmp_path / f"f{number}.mimo").write_text(uses)
    main_file = tmp_path / "main.mimo"
    main_file.write_text("".join(f'use "f{number}.mimo"\n' for number in range(300)))
    assert codes(main_file)[0] in {"MIMO012", "MIMO014"}


def test_a_folder_of_files_each_at_the_limit_is_read_up_to_it(tmp_path):
    for number in range(20):
        (tmp_path / f"f{number}.mimo").write_text("#" * 60_000)
    main_file = tmp_path / "main.mimo"
    main_file.write_text("".join(f'use "f{number}.mimo"\n' for number in range(20)))
    assert set(codes(main_file)) == {"MIMO014"}
