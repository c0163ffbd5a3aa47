"""The settings in docs/editors.md can be read by those whom they are for, and start this server."""

import json
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
BLOCKS = re.findall(
    r"^```([\w ]+)\n(.*?)^```$", (ROOT / "docs/editors.md").read_text(), re.MULTILINE | re.DOTALL
)


def of(language):
    found = [text for name, text in BLOCKS if name == language]
    assert found
    return found


def test_vs_code_has_the_settings_of_its_extension():
    package = json.loads((ROOT / "grammars/vscode/package.json").read_text())
    first, second = map(json.loads, of("json"))
    assert set(first) <= set(package["contributes"]["configuration"]["properties"])
    assert set(second) == {f"[{one['id']}]" for one in package["contributes"]["languages"]}


def test_helix_starts_the_server_for_specs():
    [settings] = map(tomllib.loads, of("toml"))
    server = settings["language-server"]["mimodsl"]
    assert [server["command"], *server["args"]] == ["mimodsl", "lsp"]
    [language] = settings["language"]
    assert (language["file-types"], language["language-servers"]) == (["mimo"], ["mimodsl"])


def test_neovim_and_emacs_start_the_server():
    assert 'cmd = { "mimodsl", "lsp" }' in of("lua")[0]
    assert '"mimodsl" "lsp"' in of("elisp")[0]


def test_pre_commit_takes_hooks_that_there_are():
    [settings] = map(yaml.safe_load, of("yaml"))
    hooks = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert {hook["id"] for repo in settings["repos"] for hook in repo["hooks"]} == hooks


def test_the_extension_is_built_by_a_target_that_there_is():
    assert "make editor" in of("console elsewhere")[0]
    assert re.search(r"^editor:", (ROOT / "Makefile").read_text(), re.MULTILINE)
