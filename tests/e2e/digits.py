"""The package of the digits, installed for tests, and the measured costs of its modules."""

import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from mimodsl.ir.registry import forget_installed

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "digits"


@contextmanager
def is_installed(folder: Path) -> Generator[None]:
    """The package, and its metadata in `folder`, where Python looks, for the length of a block."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = folder / "mimo_digits-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mimo-digits\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RANK", raising=False)
        patch.syspath_prepend(folder)
        patch.syspath_prepend(EXAMPLE)
        forget_installed()
        yield
    forget_installed()


def measured(module, inputs):
    """What a forward pass gives, what it keeps besides weights, in bytes, and its operations."""
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
    with saved_tensors_hooks(pack, lambda tensor: tensor), FlopCounterMode(display=False) as flops:
        outputs = module(inputs)
    kept = sum(size for storage, size in saved.items() if storage not in weights)
    return outputs, kept, flops.get_total_flops()
