"""On a CPU megatron-core goes without the kernels of GPUs, also where they are installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mimodsl.megatron.cpu.hidden_packages import KERNEL_LIBRARIES, hide_kernels
from mimodsl.runtime.launch import run_ranks

PRELOADED = """
from mimodsl.runtime.launch import preload
preload()
from megatron.core.extensions import transformer_engine as extension
assert not extension.HAVE_TE
import transformer_engine
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder in which lies a Transformer Engine that finds no GPU."""
    package = tmp_path / "transformer_engine"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('there is no GPU')\n")
    return tmp_path


def test_ranks_on_a_cpu_share_a_megatron_core_without_them(installed: Path) -> None:
    """Later the process itself may import them, as a user's own code does."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(installed), *sys.path))}
    command = (sys.executable, "-W", "ignore", "-c", PRELOADED)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.endswith("RuntimeError: there is no GPU\n"), done.stderr
    assert 'File "<string>", line 6, in <module>' in done.stderr


def test_they_are_hidden_until_the_block_is_left(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed)
    with hide_kernels(), pytest.raises(ImportError):
        __import__("transformer_engine.pytorch")
    assert not set(KERNEL_LIBRARIES) & set(sys.modules)
    with pytest.raises(RuntimeError, match="there is no GPU"):
        __import__("transformer_engine")


def test_what_is_loaded_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = type(sys)("apex")
    monkeypatch.setitem(sys.modules, "apex", loaded)
    with hide_kernels():
        assert sys.modules["apex"] is loaded
    assert sys.modules["apex"] is loaded
    with pytest.raises(ValueError, match="this process has loaded apex"):
        run_ranks(1, lambda _: None)
