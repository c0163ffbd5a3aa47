"""The layers that modules are made of: one class for each, which knows all its numbers."""

from mimodsl.planner.layers.attention import AttentionLayer
from mimodsl.planner.layers.custom import CustomLayer
from mimodsl.planner.layers.embedding import TokenEmbedding
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.mamba import MambaLayer
from mimodsl.planner.layers.mlp import MlpLayer
from mimodsl.planner.layers.moe import MoeLayer
from mimodsl.planner.layers.operation import Operation
from mimodsl.planner.layers.output import OutputLayer
from mimodsl.planner.layers.projector import ProjectorLayer
from mimodsl.planner.layers.saved import SavedTensor
from mimodsl.planner.layers.vision import PatchEmbedding
from mimodsl.planner.layers.weight import Weight

__all__ = [
    "AttentionLayer",
    "CustomLayer",
    "Layer",
    "MambaLayer",
    "MlpLayer",
    "MoeLayer",
    "Operation",
    "OutputLayer",
    "PatchEmbedding",
    "ProjectorLayer",
    "SavedTensor",
    "TokenEmbedding",
    "Weight",
]
