"""Ranks as torchrun starts them, forked from the test's own process, which has loaded Megatron."""

import os
import random
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from attrs import frozen

from mimodsl.runtime.launch import preload
from mimodsl.runtime.worker import Worker
from mimodsl.runtime.workers import run_workers

_PORTS = range(24_000, 32_000)
"""Below those that Linux gives to whoever asks for any: nobody gets one of these by chance."""


@frozen(kw_only=True)
class Said:
    """What a process returned, and all that it wrote."""

    code: object
    out: str
    err: str


def launched(world: int, command: Callable[[], object]) -> tuple[Said, ...]:
    """Runs a command in each process of a world, which knows of it by its environment alone."""
    (port,) = free_ports(1)

    def work(worker: Worker) -> Said:
        os.environ |= {
            "RANK": str(worker.rank),
            "LOCAL_RANK": str(worker.rank),
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "GLOO_SOCKET_IFNAME": "lo",
        }
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            for number, path in ((1, out), (2, err)):
                with path.open("wb") as file:
                    os.dup2(file.fileno(), number)
            code = command()
            sys.stdout.flush()
            sys.stderr.flush()
            return Said(code=code, out=out.read_text(), err=err.read_text())

    preload()
    return run_workers(world, work)


def free_ports(count: int) -> list[int]:
    """Ports that nobody has."""
    with ExitStack() as stack:
        found: list[int] = []
        for port in random.sample(_PORTS, len(_PORTS)):
            with suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
            if len(found) == count:
                return found
    raise AssertionError("no port is free")
