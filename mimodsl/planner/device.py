"""The devices that ranks compute on."""

from enum import StrEnum


class Device(StrEnum):
    """What the ranks of a run compute on."""

    CPU = "cpu"
    CUDA = "cuda"

    @property
    def backend(self) -> str:
        """The backend of `torch.distributed` over which the ranks communicate."""
        return "gloo" if self is Device.CPU else "nccl"
