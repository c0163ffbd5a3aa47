"""Emacs with Eglot and the settings of the docs: the same as in the other editors."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.editors.conftest import DEMO, settings


def has_eglot():
    wanted = "(kill-emacs (if (require 'eglot nil t) 0 1))"
    command = ["emacs", "--batch", "--funcall", "package-initialize", "--eval", wanted]
    return (
        bool(shutil.which("emacs"))
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


pytestmark = pytest.mark.skipif(not has_eglot(), reason="there is no Emacs with Eglot")


def test_a_spec_is_used_as_by_hand(used, tmp_path):
    (tmp_path / "init.el").write_text(settings("elisp"))
    used(
        *("emacs", "--batch", "--funcall", "package-initialize", "--load", "init.el"),
        *("--load", str(Path(__file__).with_name("emacs.el"))),
        SPEC=str(tmp_path / "spec.mimo"),
        SEEN=str(tmp_path / "seen.json"),
    )
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen.pop("problem", None) is None
    hover = seen.pop("hover")
    assert "grid, ranks 4–7" in hover
    assert seen.pop("mistake").startswith("mimodsl [MIMO301]: the expert view covers 6 ranks")
    assert seen == {
        "mode": "mimo-mode",
        "fixes": ["Write `ep:2`", "Write `edp:1` and `ep:4`"],
        "offered": ["2", "1", "replicas"],
        "definition": 4,
        "renamed": re.sub(r"\bllm\b", "text", DEMO),
        "commented": "  # token = 511  # the placeholder id in input_ids",
        "formatted": DEMO,
    }
