"""What tests share: signals that mean what they do at a terminal, and a rank that is alone."""

import signal
from collections.abc import Iterator

import pytest


def pytest_configure() -> None:
    """Tests send signals to processes of their own, which inherit what is ignored here.

    A background job ignores SIGINT and what `nohup` starts SIGHUP, and mimodsl respects that.
    """
    meanings = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    for number, meaning in meanings.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, meaning)


@pytest.fixture
def lone_rank() -> Iterator[None]:
    """This process as the one rank of a world, with the CPU for its device."""
    import torch.distributed as dist

    from mimodsl.megatron.cpu import backend

    with backend.activate():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        try:
            yield
        finally:
            dist.destroy_process_group()
