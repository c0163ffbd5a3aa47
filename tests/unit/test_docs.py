"""Every code block of the docs does what the page says it does."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import frozen

import mimodsl
from mimodsl.cli.main import main
from mimodsl.diagnostics.render import full
from mimodsl.source import SourceFile
from mimodsl.syntax.formatter import format_source

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/language.md",
    "docs/verify.md",
    "docs/checkpoints.md",
    "docs/work.md",
    "docs/memory.md",
    "docs/clusters.md",
    "docs/nemotron_20l.md",
)
_BLOCK = re.compile(
    r"^```(?P<language>[a-z]+)(?: (?P<note>[a-z]+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_SAVED = re.compile(r"Save this as `([^`]+)`")


@frozen
class Block:
    """A fenced block: its language, the word behind that, its text, and the prose before it."""

    page: str
    language: str
    note: str | None
    text: str
    before: str

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
    assert len(of("mimo", None)) >= 3
    assert len(of("mimo", "fragment")) >= 8
    assert {block.language for block in BLOCKS} == {"mimo", "python", "console", "text"}


@pytest.mark.parametrize("block", of("mimo", None), ids=str)
def test_a_spec_has_no_mistakes(block):
    assert mimodsl.check(mimodsl.parse(block.text)) == ()


@pytest.mark.parametrize("block", of("mimo", None, "fragment", "wrong"), ids=str)
def test_a_block_is_in_the_one_style(block):
    formatted = format_source(SourceFile(block.page, block.text))
    assert formatted.diagnostics == ()
    assert formatted.text == block.text


@pytest.mark.parametrize("block", of("mimo", "wrong"), ids=str)
def test_a_wrong_spec_is_reported_as_shown(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("wrong.mimo").write_text(block.text)
    shown = BLOCKS[BLOCKS.index(block) + 1].text
    found = mimodsl.check(mimodsl.load("wrong.mimo"))
    assert shown.rstrip() in full.render(found)


@pytest.mark.parametrize("block", of("python", None), ids=str)
def test_python_runs(block, monkeypatch):
    monkeypatch.chdir(ROOT)
    exec(compile(block.text, block.page, "exec"), {})


@pytest.mark.parametrize("page", PAGES)
def test_commands_print_what_is_shown(page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    for block in blocks(page):
        if saved := _SAVED.search(block.before):
            Path(saved[1]).write_text(block.text)
        if block.language == "console":
            for command, shown in commands(block.text):
                assert matches(shown, output(command, capfd)), command


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each `$ command` with the lines shown below it; blocks without `$` show no output."""
    if not text.startswith("$ "):
        return [(line.partition("#")[0].strip(), ["…"]) for line in text.splitlines()]
    parts = [part.splitlines() for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]
    return [(command, shown) for command, *shown in parts]


def output(command: str, capfd) -> list[str]:
    words = shlex.split(command)
    if words[0] in ("make", "pip"):
        assert is_known(words), command
        return []
    if words[0] == "mimodsl":
        main(words[1:])
    else:
        subprocess.run(words, check=True)
    return capfd.readouterr().out.splitlines()


def is_known(words: list[str]) -> bool:
    """Whether a command that is too slow to run names a make target or an extra that exists."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return len(words) == 1 or words[1] in targets
    extras = re.findall(r"^([a-z]+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return words[:2] == ["pip", "install"] and all(
        extra in extras for extra in re.findall(r"\[(.*)\]", words[2])
    )


def matches(shown: list[str], printed: list[str]) -> bool:
    """Whether output is as shown: a line `…` stands for any number of lines, and behind two blanks
    for the rest of its line."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace(r"\ \ …", ".*") + r"\n"
        for line in map(str.rstrip, shown)
    )
    text = "".join(f"{line.rstrip()}\n" for line in printed)
    return re.fullmatch(pattern, text) is not None


def test_generated_parts_are_up_to_date():
    ran = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "")
