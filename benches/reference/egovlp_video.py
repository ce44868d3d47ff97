#!/usr/bin/env python3
"""The video encoder of EgoVLP and EgoVLPv2 in plain PyTorch: what the exported graphs are compared with.

Computes as the originals do, op by op and eager: a fused qkv, softmax attention that keeps its scores, the class token
apart, LayerNorm, erf GELU. Not for extraction. Names and shapes are the checkpoint's, which has no head size in it.

    make setup-torch
    PYTHONPATH=.runtime/torch python3 benches/reference/egovlp_video.py WEIGHTS.safetensors

Then each line of stdin is a request, each line of stdout its answer:

    {"run": "fp32", "batch": 4, "frames": 4, "seed": 0, "repeat": 1, "out": "embeddings.json"}
    {"seconds": 4.1, "cosine_to_fp32": 1.0, "max_abs_to_fp32": 0.0, "dim": 256}

`run` is fp32, bf16 (autocast), int8 (dynamic, Linear), or with --device cuda fp16-sdpa (half precision throughout, attention by
scaled_dot_product_attention) or fp16-sdpa-compile (the same through torch.compile); "seconds" is the best of `repeat` runs over the whole batch,
from normalised pixels to embeddings. Window b of a batch is the ramp of a model card plus 29 (seed + b), so the first
window of seed 0 is the golden input. All but `run` may be left out. {"dense": "fp16"} (or fp32, tf32) asks for the rate of a
large matrix product: {"operations_per_sec": 9.1e14}. A request that fails is answered by {"error": ...}.
"""

import argparse
import time
import warnings

import torch
from lines import save, serve
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet
RAW_SIDE = 256  # of the frames that are decoded; the last resize is the model's
HALF = ("fp16-sdpa", "fp16-sdpa-compile")
EPS = {"egovlp": 1e-6, "egovlpv2": 1e-5}


class Attention(nn.Module):
    """Attention within groups of patches; the class token is in each group's keys, and attends to all tokens itself."""

    sdpa = False

    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    @staticmethod
    def attend(q, k, v):
        if Attention.sdpa:
            return functional.scaled_dot_product_attention(q, k, v, scale=1.0)  # q is scaled
        shares = torch.einsum("bid,bjd->bij", q, k).softmax(dim=-1)
        return torch.einsum("bij,bjd->bid", shares, v)

    def forward(self, x, frames, within):
        batch, tokens, dim = x.shape
        rows, size = batch * self.heads, dim // self.heads

        def group(t):
            """[rows, frames * patches, size]: a group for each frame (space), or for each place in the frame (time)."""
            t = t.reshape(rows, frames, -1, size)
            return (t if within == "space" else t.transpose(1, 2)).flatten(0, 1)

        def ungroup(t):
            t = t.unflatten(0, (rows, -1))
            return (t if within == "space" else t.transpose(1, 2)).flatten(1, 2)

        def group_with_class(t):
            groups = group(t[:, 1:])
            classes = t[:, :1].repeat_interleave(len(groups) // rows, dim=0)
            return torch.cat((classes, groups), dim=1)

        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        q, k, v = (t.reshape(rows, tokens, size) for t in qkv)
        q = q * self.scale
        class_out = self.attend(q[:, :1], k, v)
        patch_out = ungroup(self.attend(group(q[:, 1:]), group_with_class(k), group_with_class(v)))
        out = torch.cat((class_out, patch_out), dim=1).reshape(batch, self.heads, tokens, size)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, dim))


class Mlp(nn.Module):
    def __init__(self, dim, hidden, activation):
        super().__init__()
        self.fc1, self.fc2, self.activation = nn.Linear(dim, hidden), nn.Linear(hidden, dim), activation

    def forward(self, x):
        return self.fc2(self.activation(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads, hidden, eps, activation):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim, eps=eps) for _ in range(3))
        self.attn, self.timeattn = Attention(dim, heads), Attention(dim, heads)
        self.mlp = Mlp(dim, hidden, activation)

    def forward(self, x, frames):
        timed = x + self.timeattn(self.norm3(x), frames, within="time")
        # The residual is the block's input, not `timed`: "frozen in time", not TimeSformer.
        x = x + self.attn(self.norm1(timed), frames, within="space")
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, dim, patch, bias):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch, stride=patch, bias=bias)


class VideoModel(nn.Module):
    """Normalised frames [B, F, 3, S, S] to the normed class token [B, dim]. Towers made of CLIP have a norm before the first
    block, in place of the patch embedding's bias."""

    def __init__(self, dim, depth, heads, hidden, patch, tokens, rows, eps, pre_norm_eps=None, activation=functional.gelu):
        super().__init__()
        self.patch_embed = PatchEmbed(dim, patch, bias=pre_norm_eps is None)
        self.ln_pre = nn.LayerNorm(dim, eps=pre_norm_eps) if pre_norm_eps else nn.Identity()
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, tokens, dim))
        self.temporal_embed = nn.Parameter(torch.empty(1, rows, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, hidden, eps, activation) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=eps)

    def forward(self, video):
        batch, frames = video.shape[:2]
        patches = self.patch_embed.proj(video.flatten(0, 1)).flatten(2).transpose(1, 2)
        x = patches.reshape(batch, -1, patches.shape[-1])
        x = torch.cat((self.cls_token.expand(batch, -1, -1), x), dim=1)
        places = self.pos_embed[:, 1:].repeat(1, frames, 1)
        times = self.temporal_embed[:, :frames].repeat_interleave(places.shape[1] // frames, dim=1)
        x = self.ln_pre(x + torch.cat((self.pos_embed[:, :1], places + times), dim=1))
        for block in self.blocks:
            x = block(x, frames)
        return self.norm(x)[:, 0]


class Encoder(nn.Module):
    """The video tower and its projection: [B, F, 3, S, S] to [B, dim of the embedding]."""

    def __init__(self, video_model, vid_proj):
        super().__init__()
        self.video_model, self.vid_proj = video_model, vid_proj

    def forward(self, video):
        return self.vid_proj(self.video_model(video))


def linear(weights, name):
    out, into = weights[f"{name}.weight"].shape
    return nn.Linear(into, out, bias=f"{name}.bias" in weights)


def projection(weights):
    """`vid_proj`, whose layers are numbered: one Linear (0), or three (0, 2, 4) with ReLU between."""
    numbers = sorted({int(name.split(".")[1]) for name in weights if name.startswith("vid_proj.")})
    layers = [linear(weights, f"vid_proj.{i}") if i in numbers else nn.ReLU() for i in range(max(numbers) + 1)]
    return nn.Sequential(*layers)


def of_version_2(weights):
    return "video_model.blocks.6.attn.qkv_i2t.weight" in weights


def temporal_table(weights, frames):
    """The table for windows of `frames` frames: its first rows, and beyond its end zeros (EgoVLP) or the whole of it
    stretched, corners aligned (EgoVLPv2)."""
    table = weights["video_model.temporal_embed"]
    rows = table.shape[1]
    if frames <= rows:
        return table[:, :frames]
    if of_version_2(weights):
        size = (frames, table.shape[2])
        return functional.interpolate(table[None], size, mode="bilinear", align_corners=True)[0]
    return torch.cat((table, torch.zeros(1, frames - rows, table.shape[2])), dim=1)


def build(weights, frames, heads=None, eps=None):
    """The encoder of a checkpoint's tensors, for windows of `frames` frames; only tensors of the other tower and of
    fusion may be left over."""
    dim, _, patch, _ = weights["video_model.patch_embed.proj.weight"].shape
    shape = {
        "dim": dim,
        "depth": 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("video_model.blocks.")),
        "heads": heads or dim // 64,
        "hidden": weights["video_model.blocks.0.mlp.fc1.weight"].shape[0],
        "patch": patch,
        "tokens": weights["video_model.pos_embed"].shape[1],
        "rows": frames,
        "eps": eps or EPS["egovlpv2" if of_version_2(weights) else "egovlp"],
    }
    encoder = Encoder(VideoModel(**shape), projection(weights))
    given = {name: t for name, t in weights.items() if name.startswith(("video_model.", "vid_proj."))}
    given["video_model.temporal_embed"] = temporal_table(weights, frames)
    outcome = encoder.load_state_dict(given, strict=False)
    unused = [name for name in outcome.unexpected_keys if "_i2t" not in name]
    if outcome.missing_keys or unused:
        raise KeyError(f"missing {outcome.missing_keys}, unknown {unused}")
    return encoder.eval()


def side(video_model):
    """Length of the square that a video model takes."""
    tokens, patch = video_model.pos_embed.shape[1] - 1, video_model.patch_embed.proj.stride[0]
    return round(tokens**0.5) * patch


def ramps(batch, frames, seed, side):
    """Pixels [batch, frames, 3, side, side]: (7 f + 3 y + 5 x + 11 c + 29 (seed + b)) mod 256."""
    lengths = (batch, frames, 3, side, side)
    b, f, c, y, x = torch.meshgrid(*(torch.arange(length) for length in lengths), indexing="ij")
    return (7 * f + 3 * y + 5 * x + 11 * c + 29 * (seed + b)) % 256


def windows(batch, frames, seed, side):
    """Normalised pixels [batch, frames, 3, side, side] of ramps that are scaled to that size."""
    pixels = ramps(batch, frames, seed, RAW_SIDE).float() / 255
    size = (side, side)
    small = functional.interpolate(pixels.flatten(0, 1), size, mode="bilinear", align_corners=False, antialias=False)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return ((small - mean) / std).reshape(batch, frames, 3, *size)


class Bench:
    """Encoders by their frames and mode, built once, and the fp32 embeddings that the other modes are compared with."""

    def __init__(self, weights, heads, eps, device="cpu"):
        self.weights, self.heads, self.eps, self.device = weights, heads, eps, device
        self.encoders, self.truths = {}, {}

    def encoder(self, mode, frames):
        if (mode, frames) not in self.encoders:
            encoder = build(self.weights, frames, self.heads, self.eps).to(self.device)
            if mode in HALF:
                encoder = encoder.half()
            if mode == "fp16-sdpa-compile":
                encoder = torch.compile(encoder)
            if mode == "int8":
                encoder = torch.ao.quantization.quantize_dynamic(encoder, {nn.Linear}, dtype=torch.qint8)
            self.encoders[mode, frames] = encoder
        return self.encoders[mode, frames]

    def time(self, mode, video, repeat=1):
        """Embeddings and the best time."""
        encoder = self.encoder("fp32" if mode == "bf16" else mode, video.shape[1])
        Attention.sdpa, video = mode in HALF, video.to(self.device, torch.half if mode in HALF else torch.float)
        if mode in HALF:
            encoder(video)  # compiles, and picks kernels
        best = float("inf")
        for _ in range(repeat):
            begin = time.perf_counter()
            with torch.autocast(self.device, torch.bfloat16, enabled=mode == "bf16"):
                embeddings = encoder(video).float().cpu()  # waits for the device
            best = min(best, time.perf_counter() - begin)
        return embeddings, best

    def dense(self, dense, side=None, repeat=10):
        """Operations a second of a product of two square matrices, the best of some."""
        if dense not in ("fp32", "tf32", "fp16"):
            raise ValueError(f"dense is {dense!r}, expected fp32, tf32 or fp16")
        torch.backends.cuda.matmul.allow_tf32 = dense == "tf32"
        side = side or 8192
        a = torch.rand(side, side, device=self.device, dtype=torch.half if dense == "fp16" else torch.float)
        best = float("inf")
        for _ in range(repeat + 1):
            begin = time.perf_counter()
            (a @ a)[0, 0].item()  # waits for the device
            best = min(best, time.perf_counter() - begin)
        torch.backends.cuda.matmul.allow_tf32 = False
        return {"operations_per_sec": 2 * side**3 / best}

    def run(self, run, batch=1, frames=4, seed=0, repeat=1, out=None):
        if run not in ("fp32", "bf16", "int8", *HALF):
            raise ValueError(f"run is {run!r}, expected fp32, bf16, int8 or {' or '.join(HALF)}")
        if min(batch, frames, repeat) < 1:
            raise ValueError(f"batch {batch}, frames {frames}, repeat {repeat}: expected 1 or more of each")
        video = windows(batch, frames, seed, side(self.encoder("fp32", frames).video_model))
        embeddings, seconds = self.time(run, video, repeat)
        case = (batch, frames, seed)
        if run == "fp32":
            self.truths[case] = embeddings
        elif case not in self.truths:
            self.truths[case], _ = self.time("fp32", video)
        truth = self.truths[case]
        save(embeddings, out)
        return {
            "seconds": seconds,
            "cosine_to_fp32": functional.cosine_similarity(embeddings.double(), truth.double()).min().item(),
            "max_abs_to_fp32": (embeddings - truth).abs().max().item(),
            "dim": embeddings.shape[1],
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", help="a checkpoint's tensors under their own names, as safetensors")
    parser.add_argument("--heads", type=int, help="attention heads [default: width / 64]")
    parser.add_argument("--eps", type=float, help="of LayerNorm [default: 1e-6 for EgoVLP, 1e-5 for EgoVLPv2]")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--threads", type=int, help="threads [default: PyTorch's own choice]")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    # Deprecation notes on quantisation, and on machines without a GPU.
    warnings.simplefilter("ignore")
    bench = Bench(load_file(arguments.weights), arguments.heads, arguments.eps, arguments.device)
    with torch.inference_mode():
        serve(lambda **request: bench.dense(**request) if "dense" in request else bench.run(**request))


if __name__ == "__main__":
    main()
