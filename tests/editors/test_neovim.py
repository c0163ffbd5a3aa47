"""Neovim with the settings of the docs: mistakes, fixes, completion, hover, jumps, new names."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.editors.conftest import DEMO, settings


def version():
    if shutil.which("nvim") is None:
        return (0, 0)
    said = subprocess.run(["nvim", "--version"], capture_output=True, text=True, check=True)
    return tuple(map(int, re.findall(r"\d+", said.stdout)[:2]))


pytestmark = pytest.mark.skipif(version() < (0, 11), reason="there is no Neovim 0.11")


def test_a_spec_is_used_as_by_hand(used, tmp_path):
    (tmp_path / "init.lua").write_text(settings("lua"))
    used(
        "nvim",
        *(
            "--headless",
            "-u",
            "init.lua",
            "-c",
            f"luafile {Path(__file__).with_name('neovim.lua')}",
        ),
        SPEC=str(tmp_path / "spec.mimo"),
        SEEN=str(tmp_path / "seen.json"),
    )
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen.pop("problem", None) is None
    hover = seen.pop("hover")
    assert "grid, ranks 4–7 · `language`" in hover
    assert re.search(r"edp +│ +0 +│ +1", hover)
    assert seen == {
        "filetype": "mimo",
        "commentstring": "# %s",
        "colours": {
            "let": "keyword",
            "replicas": "variable",
            "# mimodsl": "comment",
            "grid": "keyword",
            "encoder": "struct",
            "tp": "typeParameter",
            "2": "number",
        },
        "mistake": ["MIMO301", 12, 11],
        "offered": ["2", "1", "replicas"],
        "definition": [4, 5],
        "renamed": re.sub(r"\bllm\b", "text", DEMO),
        "formatted": DEMO,
    }
