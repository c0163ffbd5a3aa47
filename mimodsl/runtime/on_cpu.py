"""Runs a script that was written for GPUs, as it is, on CPU processes, over gloo.

Usage: torchrun --nproc-per-node N -m mimodsl.runtime.on_cpu SCRIPT [ARGUMENT ...]
"""

import runpy
import sys
from typing import Any

from mimodsl.megatron.cpu.hidden_packages import hide_kernels
from mimodsl.runtime.library_output import silence_warnings


def main() -> int:
    """Run the script named first with the arguments after it; 2 without one."""
    if len(sys.argv) < 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    del sys.argv[0]
    silence_warnings()
    hide_kernels()
    import torch

    from mimodsl.megatron.cpu import backend
    from mimodsl.megatron.patch import Patch, applied

    torch.set_num_threads(1)
    over_gloo = Patch(
        owner="torch.distributed",
        name="init_process_group",
        make=_over_gloo,
        why="a script for GPUs names NCCL",
    )
    with backend.activate(), applied([over_gloo]):
        runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


def _over_gloo(init: Any) -> Any:
    def init_over_gloo(_backend: Any = None, *args: Any, **kwargs: Any) -> None:
        init("gloo", *args, **kwargs)

    return init_over_gloo


if __name__ == "__main__":
    sys.exit(main())
