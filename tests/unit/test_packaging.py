"""A wheel holds the grammar and the presets, and works where neither torch nor a checkout is."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIGHT = ("attr", "attrs", "lark", "rich", "pygments", "markdown_it", "mdurl")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel's package and its light dependencies, and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    packages = Path(sysconfig.get_path("purelib"))
    for name in LIGHT:
        (folder / name).symlink_to(packages / name)
    return folder


@pytest.fixture
def python(installed, tmp_path):
    """Runs a program that sees the standard library and `installed`, from an empty folder."""

    def run(*arguments):
        command = [sys.executable, "-I", "-S", "-c"]
        start = f"import sys; sys.path.append({str(installed)!r}); "
        return subprocess.run(
            [*command, start + arguments[0], *map(str, arguments[1:])],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


COMMAND = "from mimodsl.cli.main import main; sys.exit(main())"


def test_the_wheel_holds_what_lies_beside_the_package_too(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = {f"mimodsl/_data/grammars/{path.name}" for path in ROOT.glob("grammars/*.lark")}
    shipped |= {f"mimodsl/_data/{path.relative_to(ROOT)}" for path in ROOT.glob("specs/**/*.mimo")}
    modules = {str(path.relative_to(ROOT)) for path in ROOT.glob("mimodsl/**/*.py")}
    assert len(shipped) >= 3
    assert shipped | modules <= names
    assert not any(name.startswith(("tests/", "docs/", "specs/")) for name in names)


def test_the_wheel_names_its_extras_and_its_command(installed):
    [info] = installed.glob("*.dist-info")
    metadata = (info / "METADATA").read_text()
    extras = {line.split()[1] for line in metadata.splitlines() if line.startswith("Provides-Ex")}
    assert extras == {"build", "gpu", "te", "lsp", "log", "docs", "dev"}
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    base = {line.split()[1].split(">")[0] for line in needed if "extra ==" not in line}
    assert base == {"attrs", "lark", "rich"}
    assert "License-Expression: Apache-2.0" in metadata
    assert "mimodsl = mimodsl.cli.main:main" in (info / "entry_points.txt").read_text()


def test_the_demo_spec_checks_and_plans_without_torch_or_a_checkout(python, tmp_path):
    (tmp_path / "demo.mimo").write_bytes((ROOT / "specs/nemotron_vlm.mimo").read_bytes())
    checked = python(COMMAND, "check", "demo.mimo")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "no mistakes\n", "")
    planned = python(COMMAND, "plan", "demo.mimo")
    assert (planned.returncode, planned.stderr) == (0, "")
    formatted = python(COMMAND, "fmt", "--check", "demo.mimo")
    assert (formatted.returncode, formatted.stderr) == (0, "")


def test_build_says_how_to_get_torch(python, tmp_path):
    (tmp_path / "demo.mimo").write_bytes((ROOT / "specs/nemotron_vlm.mimo").read_bytes())
    built = python(COMMAND, "build", "demo.mimo")
    assert built.returncode == 2
    assert built.stderr == (
        "error: this needs torch, which is not installed\n"
        "help: install the extra `build`: pip install 'mimodsl[build]'\n"
    )


def test_lsp_says_how_to_get_what_it_needs(python):
    served = python(COMMAND, "lsp")
    assert served.returncode == 2
    assert served.stderr.endswith(
        "is not installed\nhelp: install the extra `lsp`: pip install 'mimodsl[lsp]'\n"
    )


def test_the_version_is_the_packages(installed, python):
    [info] = installed.glob("*.dist-info")
    assert (
        python(COMMAND, "--version").stdout.split()[1] == info.name.split("-")[1][: -len(".dist")]
    )
