"""ActionFormer and QFVS's summariser in plain PyTorch, the other side of `heads.rs`: networks, losses and optimiser as one writes them
after the originals' structure (ActionFormer's attention in sliding chunks, `nn.TransformerEncoder`). Not a part of the program.

Called with a folder that holds `data.npz`, the name of a head, JSON with settings, and the number of threads. Answers each line on
standard input with a line of JSON: `loss` with the loss without dropout, a number with the seconds of so many steps.
"""

import json
import math
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class LayerNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1))

    def forward(self, x):
        res = x - torch.mean(x, dim=1, keepdim=True)
        sigma = torch.mean(res**2, dim=1, keepdim=True)
        return res / torch.sqrt(sigma + 1e-5) * self.weight + self.bias


class MaskedConv1D(nn.Module):
    def __init__(self, *args, stride=1, **more):
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(*args, stride=stride, **more)

    def forward(self, x, mask):
        out = self.conv(x)
        if self.stride > 1:
            mask = F.interpolate(mask.to(x.dtype), size=out.shape[-1], mode="nearest")
        else:
            mask = mask.to(x.dtype)
        return out * mask.detach(), mask.bool()


def chunk(x, w):
    rows, length, size = x.shape
    x = x.view(rows, length // (w * 2), w * 2, size)
    shape, stride = list(x.shape), list(x.stride())
    shape[1] = shape[1] * 2 - 1
    stride[1] = stride[1] // 2
    return x.as_strided(size=shape, stride=stride)


def mask_invalid(x, w):
    ones = x.new_ones(w, w + 1).tril().flip(dims=[0])
    beginning = ones[None, :, None, :]
    first = x[:, :w, :, : w + 1]
    first.masked_fill_(beginning.expand(first.shape) == 1, -float("inf"))
    ending = beginning.flip(dims=(1, 3))
    last = x[:, -w:, :, -(w + 1) :]
    last.masked_fill_(ending.expand(last.shape) == 1, -float("inf"))


def query_key(query, key, heads, w):
    rows, length, _ = query.shape
    chunks = length // w - 1
    scores = torch.einsum("bcxd,bcyd->bcxy", (chunk(query, w), chunk(key, w)))
    scores = F.pad(scores, (0, 0, 0, 1))
    scores = scores.view(*scores.shape[:-2], scores.shape[-1], scores.shape[-2])
    out = scores.new_empty((rows, chunks + 1, w, w * 2 + 1))
    out[:, :-1, :, w:] = scores[:, :, :w, : w + 1]
    out[:, -1, :, w:] = scores[:, -1, w:, : w + 1]
    out[:, 1:, :, :w] = scores[:, :, -(w + 1) : -1, w + 1 :]
    out[:, 0, 1:w, 1:w] = scores[:, 0, : w - 1, 1 - w :]
    out = out.view(rows // heads, heads, length, 2 * w + 1).transpose(2, 1)
    mask_invalid(out, w)
    return out


def weights_value(weights, value, heads, w):
    rows, length, size = value.shape
    chunks = length // w - 1
    weights = weights.transpose(1, 2).reshape(rows, length // w, w, 2 * w + 1)
    value = F.pad(value, (0, 0, w, w), value=-1)
    stride = value.stride()
    value = value.as_strided(
        size=(rows, chunks + 1, 3 * w, size), stride=(stride[0], w * stride[1], stride[1], stride[2])
    )
    n, width = weights.shape[1], weights.shape[3]
    weights = F.pad(weights, (0, w + 1)).view(rows, n, -1)[:, :, :-w].view(rows, n, w, w + width)[:, :, :, :-1]
    out = torch.einsum("bcwd,bcdh->bcwh", (weights, value))
    return out.view(rows // heads, heads, length, size)


class LocalMaskedMHCA(nn.Module):
    def __init__(self, dim, heads, window, stride, dropout):
        super().__init__()
        self.heads, self.size, self.overlap = heads, dim // heads, window // 2
        conv = dict(kernel_size=3, stride=stride, padding=1, groups=dim, bias=False)
        self.query_conv, self.key_conv, self.value_conv = (MaskedConv1D(dim, dim, **conv) for _ in range(3))
        self.query_norm, self.key_norm, self.value_norm = (LayerNorm(dim) for _ in range(3))
        self.query, self.key, self.value, self.proj = (nn.Conv1d(dim, dim, 1) for _ in range(4))
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, x, mask):
        batch, channels, _ = x.shape
        q, q_mask = self.query_conv(x, mask)
        k, kv_mask = self.key_conv(x, mask)
        v, _ = self.value_conv(x, mask)
        q, k, v = self.query(self.query_norm(q)), self.key(self.key_norm(k)), self.value(self.value_norm(v))
        by_head = lambda t: t.view(batch, self.heads, self.size, -1).transpose(2, 3)
        q, k, v = (by_head(t).reshape(batch * self.heads, -1, self.size).contiguous() for t in (q, k, v))
        q = q / math.sqrt(self.size)
        att = query_key(q, k, self.heads, self.overlap)
        inverse = torch.logical_not(kv_mask[:, :, :, None].view(batch, -1, 1))
        float_mask = inverse.type_as(q).masked_fill(inverse, -1e4)
        att = att + query_key(float_mask.new_ones(size=float_mask.size()), float_mask, 1, self.overlap)
        att = F.softmax(att, dim=-1)
        att = att.masked_fill(torch.logical_not(kv_mask.squeeze(1)[:, :, None, None]), 0.0)
        out = weights_value(att, v, self.heads, self.overlap)
        out = out.transpose(2, 3).contiguous().view(batch, channels, -1)
        return self.proj_drop(self.proj(out)) * q_mask.to(x.dtype), q_mask


class AffineDropPath(nn.Module):
    def __init__(self, dim, rate):
        super().__init__()
        self.scale = nn.Parameter(1e-4 * torch.ones(1, dim, 1))
        self.rate = rate

    def forward(self, x):
        x = self.scale * x
        if not self.training:
            return x
        kept = 1 - self.rate
        return x.div(kept) * (kept + torch.rand((x.shape[0], 1, 1), dtype=x.dtype)).floor_()


class TransformerBlock(nn.Module):
    def __init__(self, dim, stride, dropout, drop_path):
        super().__init__()
        self.ln1, self.ln2 = LayerNorm(dim), LayerNorm(dim)
        self.attn = LocalMaskedMHCA(dim, 4, 9, stride, dropout)
        self.skip = nn.MaxPool1d(3, stride=stride, padding=1) if stride > 1 else nn.Identity()
        self.mlp = nn.Sequential(
            nn.Conv1d(dim, 4 * dim, 1), nn.GELU(), nn.Dropout(dropout, inplace=True), nn.Conv1d(4 * dim, dim, 1),
            nn.Dropout(dropout, inplace=True),
        )
        self.drop_path_attn, self.drop_path_mlp = AffineDropPath(dim, drop_path), AffineDropPath(dim, drop_path)

    def forward(self, x, mask):
        out, out_mask = self.attn(self.ln1(x), mask)
        float_mask = out_mask.to(out.dtype)
        out = self.skip(x) * float_mask + self.drop_path_attn(out)
        return out + self.drop_path_mlp(self.mlp(self.ln2(out)) * float_mask), out_mask


class Tower(nn.Module):
    """The convolutions and norms of a list of modules, by turns."""

    @staticmethod
    def run(convs, norms, x, mask):
        for conv, norm in zip(convs, norms):
            x, _ = conv(x, mask)
            x = F.relu(norm(x))
        return x


def convs(first, dim, layers):
    return nn.ModuleList(
        MaskedConv1D(first if i == 0 else dim, dim, kernel_size=3, padding=1, bias=False) for i in range(layers)
    )


def norms(dim, count):
    return nn.ModuleList(LayerNorm(dim) for _ in range(count))


def sinusoids(length, dim):
    angle = lambda place: [place / np.power(10000, 2 * (j // 2) / dim) for j in range(dim)]
    table = np.array([angle(place) for place in range(length)])
    table[:, 0::2], table[:, 1::2] = np.sin(table[:, 0::2]), np.cos(table[:, 1::2])
    return torch.FloatTensor(table).unsqueeze(0).transpose(1, 2)


class ActionFormer(nn.Module):
    def __init__(self, dropout, drop_path, inputs=256, dim=384, classes=110, levels=8, length=1024):
        super().__init__()
        block = lambda stride: TransformerBlock(dim, stride, dropout, drop_path)
        self.backbone = nn.Module()
        self.backbone.embd, self.backbone.embd_norm = convs(inputs, dim, 2), norms(dim, 2)
        self.backbone.stem = nn.ModuleList(block(1) for _ in range(2))
        self.backbone.branch = nn.ModuleList(block(2) for _ in range(levels - 1))
        self.neck = nn.Module()
        self.neck.fpn_norms = norms(dim, levels)
        self.cls_head, self.reg_head = nn.Module(), nn.Module()
        for head in (self.cls_head, self.reg_head):
            head.head, head.norm = convs(dim, dim, 2), norms(dim, 2)
        self.cls_head.cls_head = MaskedConv1D(dim, classes, kernel_size=3, padding=1)
        self.reg_head.offset_head = MaskedConv1D(dim, 2, kernel_size=3, padding=1)
        self.reg_head.scale = nn.ModuleList(nn.Module() for _ in range(levels))
        for scale in self.reg_head.scale:
            scale.scale = nn.Parameter(torch.tensor(1.0))
        self.positions = sinusoids(length, dim) / (dim**0.5)

    def forward(self, x, mask):
        x = Tower.run(self.backbone.embd, self.backbone.embd_norm, x, mask)
        x = x + self.positions[:, :, : x.shape[-1]] * mask.to(x.dtype)
        for block in self.backbone.stem:
            x, mask = block(x, mask)
        levels = [(x, mask)]
        for block in self.backbone.branch:
            levels.append(block(*levels[-1]))
        logits, offsets, masks = [], [], []
        for (x, mask), norm, scale in zip(levels, self.neck.fpn_norms, self.reg_head.scale):
            x = norm(x)
            logits.append(self.cls_head.cls_head(Tower.run(self.cls_head.head, self.cls_head.norm, x, mask), mask)[0])
            out, _ = self.reg_head.offset_head(Tower.run(self.reg_head.head, self.reg_head.norm, x, mask), mask)
            offsets.append(F.relu(scale.scale * out))
            masks.append(mask.squeeze(1))
        join = lambda parts: torch.cat([part.permute(0, 2, 1) for part in parts], dim=1)
        return join(logits), join(offsets), torch.cat(masks, dim=1)

    def loss(self, features, mask, classes, offsets, positive):
        logits, found, valid = self(features, mask.bool())
        positive = positive.bool()
        return (focal(logits[valid], classes[valid]) + centre_diou(found[positive], offsets[positive])) / 100.0


def focal(inputs, targets):
    p = torch.sigmoid(inputs)
    ce = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    return ((0.25 * targets + 0.75 * (1 - targets)) * ce * ((1 - p_t) ** 2)).sum()


def centre_diou(found, truth):
    lp, rp, lg, rg = found[:, 0], found[:, 1], truth[:, 0], truth[:, 1]
    inter = torch.min(rp, rg) + torch.min(lp, lg)
    union = (lp + rp) + (lg + rg) - inter
    hull = torch.max(lp, lg) + torch.max(rp, rg)
    rho = 0.5 * (rp - lp - rg + lg)
    return (1.0 - inter / union.clamp(min=1e-8) + torch.square(rho / hull.clamp(min=1e-8))).sum()


class Summariser(nn.Module):
    """As released: nothing is dropped, and places without a shot get one added to their logits."""

    def __init__(self, dim=768, heads=2, hidden=2048, depth=2, shots=200):
        super().__init__()
        self.encoder_layer = nn.TransformerEncoderLayer(dim, heads, hidden, dropout=0.0, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(self.encoder_layer, depth, enable_nested_tensor=False)
        self.projector_1, self.summ_head = nn.Linear(dim, 8), nn.Linear(8, 1)
        channel = torch.arange(dim, dtype=torch.float64)
        angles = torch.arange(shots, dtype=torch.float64)[:, None] / 10000 ** (2 * channel / dim)
        self.positions = torch.where(channel % 2 == 0, angles.sin(), angles.cos()).float()

    def loss(self, features, seg_len, labels):
        mask = (torch.arange(features.shape[2]) < seg_len.unsqueeze(-1)).float()
        x = features.flatten(0, 1) + self.positions
        x = self.transformer_encoder(x, src_key_padding_mask=1.0 - mask.flatten(0, 1))
        scores = self.summ_head(F.relu(self.projector_1(x))).squeeze(-1).view(labels.shape)
        each = F.binary_cross_entropy_with_logits(scores, labels, reduction="none") * mask
        return (each.flatten(1).sum(1) / mask.flatten(1).sum(1)).sum()


INPUTS = {
    "actionformer": (ActionFormer, ("features", "mask", "classes", "offsets", "positive"), 0.05),
    "qfvs": (Summariser, ("features", "seg_len", "labels"), 0.1),
}


def main():
    folder, head, settings, threads = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    # The short cut of evaluation takes numbers added to logits for places to leave out.
    torch.backends.mha.set_fastpath_enabled(False)
    kind, names, decay = INPUTS[head]
    model = kind(**settings)
    arrays = {name: torch.from_numpy(array) for name, array in np.load(folder + "/data.npz").items()}
    model.load_state_dict({name[2:]: array for name, array in arrays.items() if name.startswith("w.")})
    batch = [arrays["in." + name] for name in names]
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=decay)

    def step():
        adamw.zero_grad()
        model.loss(*batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()

    for line in sys.stdin:
        if line.strip() == "loss":
            model.eval()
            with torch.no_grad():
                print(json.dumps({"loss": model.loss(*batch).item(), "torch": torch.__version__}), flush=True)
            continue
        model.train()
        start, before = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            step()
        took = {"seconds": time.perf_counter() - start, "processor": time.process_time() - before}
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main()
