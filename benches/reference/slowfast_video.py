#!/usr/bin/env python3
"""SlowFast 8x8 R101 as Ego4D's features take it, in plain PyTorch: what the exported graph is compared with.

Computes as the original does, op by op and eager: 3-d convolutions, batch norms by their running statistics, means of 7 x 7
places. Not for extraction. Names and shapes are the checkpoint's.

    make setup-torch
    PYTHONPATH=.runtime/torch python3 benches/reference/slowfast_video.py WEIGHTS.safetensors

Then each line of stdin is a request, each line of stdout its answer:

    {"run": "fp32", "batch": 1, "frames": 32, "seed": 0, "out": "features.json"}
    {"seconds": 4.1}

`run` is fp32 or bf16 (autocast); "seconds" is from normalised pixels to features. Window b of a batch is the ramp of a model card
plus 29 (seed + b). A request that fails is answered by {"error": ...}.
"""

import torch
from egovlp_video import ramps
from lines import main, timed
from torch import nn
from torch.nn import functional

SIDE, FRAMES, EPS = 256, 32, 1e-5
SLOW = torch.linspace(0, FRAMES - 1, FRAMES // 4).long()


class Conv(nn.Module):
    """A convolution without bias, padded by half its kernel, and its batch norm."""

    def __init__(self, weights, conv, norm, stride):
        super().__init__()
        weight = weights[f"{conv}.weight"]
        out, into, *kernel = weight.shape
        self.conv = nn.Conv3d(into, out, kernel, stride, [n // 2 for n in kernel], bias=False)
        self.norm = nn.BatchNorm3d(out, eps=EPS)
        self.conv.load_state_dict({"weight": weight})
        parts = ("weight", "bias", "running_mean", "running_var")
        given = {part: weights[f"{norm}.{part}"] for part in parts}
        self.norm.load_state_dict({**given, "num_batches_tracked": torch.tensor(0)})

    def forward(self, x):
        return self.norm(self.conv(x))


class Block(nn.Module):
    def __init__(self, weights, name, step):
        super().__init__()
        steps = {"a": 1, "b": step, "c": 1}
        of = lambda part: Conv(weights, f"{name}.branch2.conv_{part}", f"{name}.branch2.norm_{part}", (1, steps[part], steps[part]))
        self.branch = nn.ModuleList(of(part) for part in "abc")
        has = f"{name}.branch1_conv.weight" in weights
        self.shortcut = Conv(weights, f"{name}.branch1_conv", f"{name}.branch1_norm", (1, step, step)) if has else nn.Identity()

    def forward(self, x):
        a, b, c = self.branch
        return functional.relu(self.shortcut(x) + c(functional.relu(b(functional.relu(a(x))))))


class SlowFast(nn.Module):
    """Normalised windows [B, 3, 32, S, S] to features [B, 2304]."""

    def __init__(self, weights):
        super().__init__()
        stem = lambda p: Conv(weights, f"blocks.0.multipathway_blocks.{p}.conv", f"blocks.0.multipathway_blocks.{p}.norm", (1, 2, 2))
        fusion = lambda s: Conv(
            weights, f"blocks.{s}.multipathway_fusion.conv_fast_to_slow", f"blocks.{s}.multipathway_fusion.norm", (4, 1, 1)
        )
        self.stems = nn.ModuleList(stem(p) for p in (0, 1))
        self.fusions = nn.ModuleList(fusion(s) for s in range(4))
        self.stages = nn.ModuleList(nn.ModuleList(self.stage(weights, s, p) for p in (0, 1)) for s in range(1, 5))

    @staticmethod
    def stage(weights, stage, pathway):
        name = f"blocks.{stage}.multipathway_blocks.{pathway}.res_blocks"
        count = sum(f"{name}.{i}.branch2.conv_a.weight" in weights for i in range(100))
        step = lambda i: 2 if i == 0 and stage > 1 else 1
        return nn.Sequential(*(Block(weights, f"{name}.{i}", step(i)) for i in range(count)))

    def forward(self, windows):
        maps = [windows[:, :, SLOW], windows]
        maps = [functional.relu(stem(x)) for stem, x in zip(self.stems, maps)]
        maps = [functional.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1)) for x in maps]
        for fusion, stage in zip(self.fusions, self.stages):
            maps[0] = torch.cat((maps[0], functional.relu(fusion(maps[1]))), dim=1)
            maps = [pathway(x) for pathway, x in zip(stage, maps)]
        pooled = [functional.avg_pool3d(x, (x.shape[2], 7, 7), stride=1) for x in maps]
        return torch.cat(pooled, dim=1).flatten(2).mean(dim=2)


def windows(batch, seed):
    """Normalised pixels [batch, 3, 32, side, side] of ramps."""
    return (ramps(batch, FRAMES, seed, SIDE).transpose(1, 2).float() / 255 - 0.45) / 0.225


def run(model, run, batch=1, frames=FRAMES, seed=0, out=None):
    if run not in ("fp32", "bf16") or frames != FRAMES:
        raise ValueError(f"run is {run!r} of {frames} frames, expected fp32 or bf16 of {FRAMES}")
    video = windows(batch, seed)
    return timed(model, video, run, out)


if __name__ == "__main__":
    main(__doc__, SlowFast, run)
