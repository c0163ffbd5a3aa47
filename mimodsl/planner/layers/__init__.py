"""The layers that modules are made of, with everything about them that is a number."""

from mimodsl.planner.layers.attention import AttentionLayer
from mimodsl.planner.layers.custom import CustomLayer
from mimodsl.planner.layers.embedding import TokenEmbedding
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.mamba import MambaLayer
from mimodsl.planner.layers.mlp import MlpLayer
from mimodsl.planner.layers.moe import MoeLayer
from mimodsl.planner.layers.output import OutputLayer
from mimodsl.planner.layers.projector import ProjectorLayer
from mimodsl.planner.layers.share import Saved, Share
from mimodsl.planner.layers.stack import Block, module_layers, stage_blocks, stage_layers
from mimodsl.planner.layers.vision import PatchEmbedding
from mimodsl.planner.layers.weight import Cut, Weight

__all__ = [
    "AttentionLayer",
    "Block",
    "CustomLayer",
    "Cut",
    "Layer",
    "MambaLayer",
    "MlpLayer",
    "MoeLayer",
    "OutputLayer",
    "PatchEmbedding",
    "ProjectorLayer",
    "Saved",
    "Share",
    "TokenEmbedding",
    "Weight",
    "module_layers",
    "stage_blocks",
    "stage_layers",
]
