#!/usr/bin/env python3
"""LaViLa's video tower, grown out of CLIP's, in plain PyTorch: what the exported graph is compared with.

EgoVLP's blocks, op by op and eager, with CLIP's norm before the first of them and its GELU, behind a patch embedding without
bias; a matrix makes the embedding. Not for extraction. Names and shapes are the checkpoint's, which has no head size in it.

    make setup-torch
    PYTHONPATH=.runtime/torch python3 benches/reference/lavila_video.py WEIGHTS.safetensors

Then each line of stdin is a request, each line of stdout its answer:

    {"run": "fp32", "batch": 4, "frames": 4, "seed": 0, "out": "embeddings.json"}
    {"seconds": 4.1}

`run` is fp32 or bf16 (autocast); "seconds" is from normalised pixels to embeddings. Window b of a batch is the ramp of a model
card plus 29 (seed + b), of the tower's own size. A request that fails is answered by {"error": ...}.
"""

import torch
from egovlp_video import VideoModel, ramps, side
from lines import main, timed
from torch import nn

# Of red, green and blue from 0 to 255.
MEAN, STD = (108.3272985, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)
EPS, PRE_NORM_EPS, HEAD_SIZE = 1e-6, 1e-5, 64


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


class Encoder(nn.Module):
    """The video tower and its projection: [B, F, 3, S, S] to [B, dim of the embedding]."""

    def __init__(self, weights):
        super().__init__()
        dim, _, patch, _ = weights["visual.patch_embed.proj.weight"].shape
        _, tokens, _ = weights["visual.pos_embed"].shape
        _, rows, _ = weights["visual.temporal_embed"].shape
        depth = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("visual.blocks."))
        hidden, _ = weights["visual.blocks.0.mlp.fc1.weight"].shape
        self.visual = VideoModel(dim, depth, dim // HEAD_SIZE, hidden, patch, tokens, rows, EPS, PRE_NORM_EPS, quick_gelu)
        self.image_projection = nn.Parameter(torch.empty(*weights["image_projection"].shape))
        self.load_state_dict(weights)

    def forward(self, video):
        return self.visual(video) @ self.image_projection


def windows(batch, frames, seed, side):
    """Normalised pixels [batch, frames, 3, side, side]."""
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return (ramps(batch, frames, seed, side).float() - mean) / std


def run(encoder, run, batch=1, frames=4, seed=0, out=None):
    if run not in ("fp32", "bf16"):
        raise ValueError(f"run is {run!r}, expected fp32 or bf16")
    video = windows(batch, frames, seed, side(encoder.visual))
    return timed(encoder, video, run, out)


if __name__ == "__main__":
    main(__doc__, Encoder, run)
