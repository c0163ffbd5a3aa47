"""Every code block of the docs does what the page says it does.

What a block is stands behind its language, where readers of the site do not see it:

- `mimo` has no mistakes; `fragment` is a part of a spec; `wrong` has mistakes that the next block
  shows; `installed` needs a package that the page makes; `example` is generated from a rule.
- `python` runs; `fragment` is in the right style at least; `signature` is generated.
- `console` holds commands that print what is shown; `elsewhere`, commands that cannot run here.
- `json`, `toml` and `yaml` parse.
"""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml
from attrs import frozen

import mimodsl
from mimodsl.cli.main import main
from mimodsl.diagnostics.render import full
from mimodsl.ir.registry import forget_installed
from mimodsl.source import SourceFile
from mimodsl.syntax.formatter import format_source

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
NOTES = {
    "mimo": {None, "fragment", "wrong", "installed", "example"},
    "python": {None, "fragment", "signature"},
    "console": {None, "elsewhere"},
    "text": {None},
    "json": {None},
    "toml": {None},
    "yaml": {None},
    "lua": {None},
    "elisp": {None},
}
ELSEWHERE = {"docs/clusters.md": 2, "docs/editors.md": 1, "docs/leaving.md": 1}
"""Blocks of commands that need a cluster or an editor, by page."""

UNREAD = {"lua": 1, "elisp": 1}
"""Blocks in languages for which nothing here has a parser."""

TOLERANCE = 0.02
"""How far a number with a decimal point that a rank computed may be from the one shown,
relatively; those that are planned are as shown."""

_BLOCK = re.compile(
    r"^```(?P<language>[a-z]+)(?: (?P<note>[a-z]+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_SAVED = re.compile(r"Save this as\s+`([^`]+)`")
_DECIMAL = re.compile(r"\d+\.\d+")


@frozen
class Block:
    """A fenced block: its language, the word behind that, its text, and the prose before it."""

    page: str
    language: str
    note: str | None
    text: str
    before: str

    @property
    def saved(self) -> str | None:
        """The file that the page has the reader make of it."""
        found = _SAVED.search(self.before)
        return found[1] if found else None

    def __str__(self) -> str:
        return f"{self.page} {self.language} {self.text.splitlines()[0]}"


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    found, end = [], 0
    for match in _BLOCK.finditer(text):
        before = text[end : match.start()]
        found.append(Block(page, match["language"], match["note"], match["text"], before))
        end = match.end()
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]


def of(language: str, *notes: str | None) -> list[Block]:
    return [block for block in BLOCKS if block.language == language and block.note in notes]


def test_there_are_blocks_of_each_sort():
    assert len(of("mimo", None)) >= 4
    assert len(of("mimo", "fragment")) >= 15
    assert len(of("python", None)) >= 10
    assert {block.language for block in BLOCKS} == set(NOTES)


def test_every_block_is_held_to_something():
    fences = re.compile(r"^```\S", re.MULTILINE)
    assert len(BLOCKS) == sum(len(fences.findall((ROOT / page).read_text())) for page in PAGES)
    assert [str(block) for block in BLOCKS if block.note not in NOTES[block.language]] == []


def test_what_cannot_run_here_is_counted():
    assert Counter(block.page for block in of("console", "elsewhere")) == ELSEWHERE
    assert {name: len(of(name, None)) for name in UNREAD} == UNREAD


@pytest.mark.parametrize("block", of("console", "elsewhere"), ids=str)
def test_what_cannot_run_here_is_shell(block):
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


@pytest.mark.parametrize("block", of("mimo", None), ids=str)
def test_a_spec_has_no_mistakes(block):
    assert mimodsl.check(mimodsl.parse(block.text)) == ()


@pytest.mark.parametrize("block", of("mimo", None, "fragment", "wrong", "installed"), ids=str)
def test_a_block_is_in_the_one_style(block):
    formatted = format_source(SourceFile(block.page, block.text))
    assert formatted.diagnostics == ()
    assert formatted.text == block.text


@pytest.mark.parametrize("block", of("mimo", "wrong"), ids=str)
def test_a_wrong_spec_is_reported_as_shown(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("wrong.mimo").write_text(block.text)
    found = mimodsl.check(mimodsl.load("wrong.mimo"))
    following = BLOCKS[BLOCKS.index(block) + 1]
    assert found
    if following.language == "text":
        assert following.text.rstrip() in full.render(found)
    else:  # the page saves it, and shows a command on it
        assert (block.saved, following.language) == ("wrong.mimo", "console")


@pytest.mark.parametrize(
    "block", [block for block in of("python", None) if not block.saved], ids=str
)
def test_python_runs(block, monkeypatch):
    monkeypatch.chdir(ROOT)
    exec(compile(block.text, block.page, "exec"), {})


def test_python_is_in_the_style_of_the_code(tmp_path):
    for number, block in enumerate(of("python", None, "fragment")):
        (tmp_path / f"block{number}.py").write_text(block.text)
    style = ["--config", str(ROOT / "pyproject.toml")]
    ruff = [str(Path(sys.executable).parent / "ruff")]
    subprocess.run([*ruff, "format", "--check", *style, str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("language", "parse"),
    [("json", json.loads), ("toml", tomllib.loads), ("yaml", yaml.safe_load)],
)
def test_files_of_other_tools_parse(language, parse):
    assert all(parse(block.text) for block in of(language, None))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.page == page for block in of("console", None))]
)
def test_commands_print_what_is_shown(page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    for block in blocks(page):
        if block.saved:
            Path(block.saved).parent.mkdir(exist_ok=True)
            Path(block.saved).write_text(block.text)
        if (block.language, block.note) == ("console", None):
            for command, shown in commands(block.text):
                computed = command.startswith(("mimodsl build ", "mimodsl verify "))
                printed = output(command, monkeypatch, capfd)
                assert matches(shown, printed, TOLERANCE if computed else 0.0), command


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each `$ command` with the lines shown below it; blocks without `$` show no output."""
    if not text.startswith("$ "):
        return [(line.partition("#")[0].strip(), ["…"]) for line in text.splitlines()]
    parts = [part.splitlines() for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]
    return [(command, shown) for command, *shown in parts]


def output(command: str, monkeypatch, capfd) -> list[str]:
    words = shlex.split(command)
    if words == ["pip", "install", "-e", "."]:
        install_here(monkeypatch)
    elif words[0] in ("make", "pip"):
        assert is_known(words), command
    elif words[0] == "mimodsl":
        main(words[1:])
    else:
        subprocess.run(words, check=True)
    return capfd.readouterr().out.splitlines()


def install_here(monkeypatch):
    """What `pip install -e .` comes to for a package of Python files alone, without a build."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert Path(project["name"], "__init__.py").exists()  # by which hatchling finds the package
    info = Path(f"{project['name']}-{project['version']}.dist-info")
    info.mkdir(exist_ok=True)  # a page may install its package again
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
            for group, entries in project["entry-points"].items()
        )
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    forget_installed()


@pytest.fixture(autouse=True)
def installed_nothing(tmp_path):
    """Whatever a page has installed is gone for the next."""
    yield
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    forget_installed()


def is_known(words: list[str]) -> bool:
    """Whether a command that is too slow to run names a make target or an extra that exists."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return len(words) == 1 or words[1] in targets
    extras = re.findall(r"^([a-z]+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return words[:2] == ["pip", "install"] and all(
        extra in extras for extra in re.findall(r"\[(.*)\]", words[2])
    )


def matches(shown: list[str], printed: list[str], tolerance: float) -> bool:
    """Whether output is as shown: a line `…` stands for any number of lines, and behind two blanks
    for the rest of its line. Numbers with a decimal point are within a relative tolerance."""
    pattern = "".join(map(_pattern, map(str.rstrip, shown)))
    text = "".join(f"{line.rstrip()}\n" for line in printed)
    found = re.fullmatch(pattern, text)
    if found is None:
        return False
    expected = _DECIMAL.findall("\n".join(shown))
    return all(
        abs(float(one) - float(other)) <= tolerance * float(one)
        for one, other in zip(expected, found.groups(), strict=True)
    )


def _pattern(line: str) -> str:
    if line == "…":
        return r"(?:.*\n)*?"
    escaped = re.escape(_DECIMAL.sub("\0", line)).replace("\0", r"(\d+\.\d+)")
    return escaped.replace(r"\ \ …", ".*") + r"\n"


def test_a_number_may_be_a_little_off():
    assert matches(["loss 6.16", "…"], ["loss 6.17", "more", "and more"], TOLERANCE)
    assert not matches(["loss 6.16"], ["loss 6.50"], TOLERANCE)
    assert not matches(["loss 6.16"], ["loss 6"], TOLERANCE)
    assert not matches(["28.62 GiB"], ["28.69 GiB"], 0.0)
    assert matches(["4 ranks  …"], ["4 ranks in 3.2 s"], 0.0)


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_lead_to_files_of_the_repository(page):
    paths = re.findall(r"\]\(([^)#:\s]+)(?=[)#\s])", (ROOT / page).read_text())
    assert [path for path in paths if not ((ROOT / page).parent / path).exists()] == []


def test_the_page_of_the_api_has_all_of_it():
    heads = re.compile(r"^### `mimodsl\.(\w+)`$", re.MULTILINE)
    shown = set(heads.findall((ROOT / "docs/api.md").read_text()))
    assert set(mimodsl.__all__) - set(mimodsl.ir.__all__) - {"__version__"} <= shown


def test_generated_parts_are_up_to_date():
    ran = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "")
