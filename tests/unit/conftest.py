"""What unit tests of several folders start from."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def lone_rank() -> Iterator[None]:
    """This process as the one rank of a world, with the CPU for its device."""
    import torch.distributed as dist

    from mimodsl.runtime import cpu

    with cpu.activate():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        try:
            yield
        finally:
            dist.destroy_process_group()
