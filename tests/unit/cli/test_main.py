"""Exit codes, and what is said when a command can't do what it was asked for."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mimodsl import __version__
from mimodsl.runtime.errors import Failure, NoDevice, RankFailed
from tests.unit.cli.conftest import DEMO


@pytest.fixture
def failing(monkeypatch, demo, mimodsl):
    """Runs `mimodsl plan` where the planning raises."""

    def run(error, *arguments):
        def raises(*_args, **_kwargs):
            raise error

        monkeypatch.setattr("mimodsl.cli.specs.sound_spec", raises)
        return mimodsl("plan", demo, *arguments)

    return run


def test_the_version(mimodsl):
    ran = mimodsl("--version")
    assert (ran.code, ran.out) == (0, f"mimodsl {__version__}\n")


def test_no_command_shows_help(mimodsl):
    ran = mimodsl()
    assert (ran.code, ran.out) == (2, "")
    assert "commands:" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["biuld", "x.mimo"], "error: there is no command biuld; did you mean build?\n"),
        (["help"], "error: there is no command help\nhelp: mimodsl --help explains all options\n"),
        (["--versoin"], "there is no option --versoin; did you mean --version?"),
        (["plan"], "error: the following arguments are required: SPEC\nhelp: mimodsl plan --help"),
        (["plan", "SPEC", "SPEC"], "is one argument too many"),
        (["plan", "SPEC", "--jsno=1"], "there is no option --jsno; did you mean --json?"),
        (
            ["check", "--fromat", "json", "SPEC"],
            "there is no option --fromat; did you mean --format?",
        ),
        (["build", "SPEC", "--device", "gpu"], "--device: expected auto, cpu, cuda or meta, found"),
        (["plan", "SPEC", "--nodes", "2"], "error: there is no option --nodes\n"),
        (["plan", "nowhere.mimo"], "error: there is no file nowhere.mimo\n"),
        (["plan", "."], ". is a folder"),
        (["plan", "a" * 300], "there is no file aaa"),
        (["diff", "SPEC", "a" * 300], "there is no file or folder aaa"),
        (["build", "SPEC", "--steps", "-1"], "expected an integer from 0 on, found '-1'"),
        (["build", "SPEC", "--timeout", "0"], "expected seconds above 0"),
        (["build", "SPEC", "--dev", "cpu"], "there is no option --dev; did you mean --device?"),
        (["plan", "SPEC", "--set", "replicas"], "expected NAME=VALUE, found 'replicas'"),
        (["plan", "SPEC", "--set", "1x=2"], "expected NAME=VALUE"),
        (["plan", "SPEC", "--rank", "8"], "there is no rank 8: the ranks are 0 to 7"),
        (["explain", "MIMO0O1"], "there is no code MIMO0O1; did you mean MIMO"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, said, mimodsl, demo):
    ran = mimodsl(*(demo if argument == "SPEC" else argument for argument in arguments))
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "usage:" not in ran.err  # the mistake is not to be looked for below it


def test_help_fits_narrow_terminals_and_stays_readable_on_wide_ones(mimodsl, monkeypatch):
    for columns, widest in (("60", 60), ("300", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        lines = mimodsl("build", "--help").out.splitlines()
        assert max(map(len, lines)) <= widest


def test_a_missing_extra_says_how_to_get_it(failing):
    ran = failing(ModuleNotFoundError("No module named 'torch'", name="torch.distributed"))
    assert ran.code == 2
    assert "pip install 'mimodsl[build]'" in ran.err


def test_an_extra_that_ranks_miss_says_so_too(failing):
    failure = Failure(
        rank=0, phase="model", error="ModuleNotFoundError: …", missing="mamba_ssm.ops"
    )
    ran = failing(RankFailed(failure))
    assert ran.code == 2
    assert ran.err.endswith("help: install the extra `gpu`: pip install 'mimodsl[gpu]'\n")


def test_another_missing_module_is_a_bug(failing):
    ran = failing(ModuleNotFoundError("No module named 'mimodsl.plot'", name="mimodsl.plot"))
    assert ran.code == 2
    assert "internal error[MIMO900]" in ran.err


def test_a_bug_says_so_and_what_to_report(failing):
    ran = failing(KeyError("llm"))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("internal error[MIMO900]: KeyError: 'llm'\n  at ")
    assert "in raises" in ran.err
    assert f"mimodsl {__version__}, Python 3." in ran.err
    assert "Traceback" not in ran.err


def test_verbose_shows_the_traceback(failing):
    assert "Traceback (most recent call last)" in failing(KeyError("llm"), "--verbose").err


def test_a_failed_rank_exits_with_1(failing):
    failure = Failure(rank=3, phase="model", error="ValueError: no", traceback="Traceback of 3")
    ran = failing(RankFailed(failure))
    assert ran.code == 1
    assert ran.err.startswith("error: rank 3 failed (model)\n  ValueError: no\n")
    assert "Traceback of 3" not in ran.err
    assert "Traceback of 3" in failing(RankFailed(failure), "--verbose").err


def test_too_few_devices_exit_with_2(failing):
    assert failing(NoDevice("8 GPUs, please")).code == 2


def test_ctrl_c_exits_with_1(failing):
    ran = failing(KeyboardInterrupt())
    assert (ran.code, ran.err) == (1, "interrupted\n")


def test_a_file_error_names_the_file(failing):
    ran = failing(OSError(errno.EACCES, os.strerror(errno.EACCES), "a.mimo"))
    assert (ran.code, ran.err) == (2, "error: a.mimo: Permission denied\n")


def test_a_reader_that_leaves_early_is_no_error(demo):
    """`mimodsl plan … | head -1`."""
    ours, theirs = os.pipe()
    os.close(ours)
    ran = subprocess.run(
        [sys.executable, "-m", "mimodsl", "plan", str(demo), "--json"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(theirs)
    assert (ran.returncode, ran.stderr) == (1, b"")


def test_colour_is_for_terminals(monkeypatch):
    from mimodsl.cli.terminal import colorful

    class Terminal:
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colorful(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colorful(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not colorful(Terminal())
    with Path(os.devnull).open("w") as nowhere:
        assert not colorful(nowhere)


HEAVY = {"torch", "megatron", "numpy", "einops"}


@pytest.mark.parametrize("command", ["check", "plan", "fmt --check", f"diff {DEMO}"])
def test_language_commands_start_without_torch(command, demo):
    program = (
        "import sys\n"
        "from mimodsl.cli.main import main\n"
        f"main({[*command.split(), str(demo)]!r})\n"
        f"sys.exit(' '.join({HEAVY!r} & set(sys.modules)) or 0)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize("module", ["outcome", "progress", "verdict"])
def test_what_shows_a_run_is_imported_without_torch(module):
    """Torch and megatron-core print warnings on import: a run captures them, its display cannot."""
    program = f"import sys, mimodsl.show.{module}; print({HEAVY!r} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (ran.stdout, ran.stderr) == ("set()\n", "")


NOT_FOR_A_CHECK = (
    *("rich", "importlib.metadata", "difflib", "multiprocessing"),
    *("mimodsl.show", "mimodsl.exporter", "mimodsl.builder", "mimodsl.lsp", "mimodsl.kinds"),
    *("mimodsl.planner.memory", "mimodsl.planner.traffic", "mimodsl.planner.time"),
    *("mimodsl.planner.work", "mimodsl.planner.nodes", "mimodsl.planner.layers"),
    *("mimodsl.checker.catalogue", "mimodsl.checker.pages", "mimodsl.checker.file_fixes"),
    *("mimodsl.lower.json_spec", "mimodsl.lower.document", "mimodsl.lower.json_schema"),
    *("mimodsl.runtime.run", "mimodsl.runtime.train", "mimodsl.runtime.request"),
    *("mimodsl.cli.build", "mimodsl.cli.plan", "mimodsl.cli.export", "mimodsl.cli.verify"),
    *("mimodsl.diagnostics.render", "mimodsl.syntax.formatter"),
)


def test_a_check_imports_only_what_it_needs(demo):
    """Each of these costs milliseconds before a sound spec is said to be one."""
    program = (
        "import sys\n"
        "from mimodsl.cli.main import main\n"
        f"main(['check', {str(demo)!r}])\n"
        f"within = {NOT_FOR_A_CHECK!r}\n"
        "dotted = tuple(f'{name}.' for name in within)\n"
        "print(*(name for name in sys.modules if name in within or name.startswith(dotted)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == ["no mistakes", ""]


def test_one_command_does_not_import_the_others():
    program = (
        "import sys\n"
        "from mimodsl.cli.main import parser\n"
        "parser('fmt').parse(['fmt', '.'])\n"
        "print(*(name for name in sys.modules if name.startswith('mimodsl.cli.')))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    shared = {"main", "terminal", "trouble", "parsing", "options"}
    assert {name.rpartition(".")[2] for name in ran.stdout.split()} == {*shared, "fmt"}


@pytest.mark.parametrize(
    ("shell", "code", "out", "err"),
    [
        ("check demo.mimo > /dev/full", 2, "", "error: No space left on device\nhelp: --verbose"),
        ("plan demo.mimo > /dev/full", 2, "", "error: No space left on device\nhelp: --verbose"),
        ("check demo.mimo <&- >&- 2>&-", 0, "", ""),
        ("check demo.mimo caf\udce9.mimo --format concise", 1, r"caf\ufffd.mimo:1:1: error", ""),
    ],
)
def test_streams_of_every_sort_are_written_to(demo, tmp_path, shell, code, out, err):
    """Full, closed, and of an encoding that has not all characters."""
    (tmp_path / "demo.mimo").write_text(demo.read_text())
    (tmp_path / "caf\udce9.mimo").write_text("gird g")
    ran = subprocess.run(
        os.fsencode(f"PYTHONIOENCODING=ascii {sys.executable} -m mimodsl {shell}"),
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stderr
    assert ran.stdout.startswith(out)
    assert ran.stderr.startswith(err)
    assert "Traceback" not in ran.stderr
