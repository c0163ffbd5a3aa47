"""The layers that modules are made of, with everything about them that is a number."""

from mimodsl.plan.layers.attention import AttentionLayer
from mimodsl.plan.layers.custom import CustomLayer
from mimodsl.plan.layers.embedding import TokenEmbedding
from mimodsl.plan.layers.layer import Layer
from mimodsl.plan.layers.mamba import MambaLayer
from mimodsl.plan.layers.mlp import MlpLayer
from mimodsl.plan.layers.moe import MoeLayer
from mimodsl.plan.layers.output import OutputLayer
from mimodsl.plan.layers.projector import ProjectorLayer
from mimodsl.plan.layers.share import Saved, Share
from mimodsl.plan.layers.stack import Block, module_layers, stage_blocks, stage_layers
from mimodsl.plan.layers.vision import PatchEmbedding
from mimodsl.plan.layers.weight import Cut, Weight

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
