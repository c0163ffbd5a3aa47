"""The hooks for pre-commit fail where there is something to do, on files that are handed over."""

import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}


@pytest.fixture
def passes(tmp_path, mimodsl):
    """Whether a hook passes: its entry exits with 0 and changes no file."""

    def run(hook, *texts):
        files = [tmp_path / f"spec_{index}.mimo" for index in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        program, *arguments = shlex.split(HOOKS[hook]["entry"])
        assert program == "mimodsl"
        ran = mimodsl(*arguments, *files)
        return ran.code == 0 and texts == tuple(file.read_text() for file in files)

    return run


def test_hooks_are_these_and_take_specs():
    assert set(HOOKS) == {"mimodsl-check", "mimodsl-fmt"}
    assert {(hook["language"], hook["files"]) for hook in HOOKS.values()} == {
        ("python", r"\.mimo$")
    }


def test_check_fails_for_any_spec_with_a_mistake(passes, demo):
    text = demo.read_text()
    assert passes("mimodsl-check", text, text)
    assert not passes("mimodsl-check", text, text.replace("ep:2", "ep:3"))


def test_fmt_fails_for_what_it_changes_and_for_broken_text(passes, demo):
    text = demo.read_text()
    assert passes("mimodsl-fmt", text, text)
    assert not passes("mimodsl-fmt", text, text.replace(" = ", "="))
    assert not passes("mimodsl-fmt", "grid {")
