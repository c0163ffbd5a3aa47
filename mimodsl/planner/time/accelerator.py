"""GPUs, with the limits that their maker states."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import frozen

from mimodsl.ir.train import Precision


@frozen(kw_only=True)
class Accelerator:
    """The limits of a GPU, from its datasheet.

    `half` and `single` are the FLOP/s of dense products: `half` in bf16 or fp16, `single` in tf32,
    the fastest products of fp32 tensors. It has `memory` bytes and reads or writes `bandwidth` of
    them in a second. In each direction it moves `link` bytes a second to the GPUs of its node, and
    `network` bytes a second to other nodes. A node has `per_node` GPUs. `source` names the
    datasheets.
    """

    name: str
    half: float
    single: float
    memory: int
    bandwidth: float
    link: float
    network: float
    per_node: int = 8
    source: str

    def peak(self, precision: Precision) -> float:
        """FLOP/s of products in that precision."""
        return self.single if precision is Precision.FP32 else self.half


# Datasheets state products of sparse matrices, which take half the time of dense products, and the
# sum of both directions of NVLink.
_A100: Final = Accelerator(
    name="a100",
    half=312e12,
    single=156e12,
    memory=80 * 10**9,
    bandwidth=2039e9,
    link=600e9 / 2,
    network=200e9 / 8,
    source="NVIDIA A100 datasheet, 80 GB SXM; network: NVIDIA DGX A100 datasheet, 8 × 200 Gb/s",
)
_H100: Final = Accelerator(
    name="h100",
    half=1979e12 / 2,
    single=989e12 / 2,
    memory=80 * 10**9,
    bandwidth=3.35e12,
    link=900e9 / 2,
    network=400e9 / 8,
    source="NVIDIA H100 datasheet, SXM; network: NVIDIA DGX H100 datasheet, 8 × 400 Gb/s",
)
_H200: Final = Accelerator(
    name="h200",
    half=1979e12 / 2,
    single=989e12 / 2,
    memory=141 * 10**9,
    bandwidth=4.8e12,
    link=900e9 / 2,
    network=400e9 / 8,
    source="NVIDIA H200 datasheet, SXM; network: NVIDIA DGX H200 datasheet, 8 × 400 Gb/s",
)
_B200: Final = Accelerator(
    name="b200",
    half=36e15 / 8 / 2,
    single=18e15 / 8 / 2,
    memory=1440 * 10**9 // 8,
    bandwidth=64e12 / 8,
    link=14.4e12 / 8 / 2,
    network=400e9 / 8,
    source="NVIDIA HGX B200 datasheet; memory, NVLink, network: NVIDIA DGX B200 datasheet, of 8",
)

ACCELERATORS: Final[Mapping[str, Accelerator]] = MappingProxyType(
    {gpu.name: gpu for gpu in (_A100, _H100, _H200, _B200)}
)
"""GPUs by name."""
