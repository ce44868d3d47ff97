"""What the PyTorch sides of ActionFormer and SnAG share: norms over channels, attention in sliding chunks as ActionFormer's authors write
it, residual branches that are scaled and dropped.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class LayerNorm(nn.Module):
    """Its weight and bias are `[1, C, 1]`, or `[C, 1]` without a `batch_dim`; it has none if it is `plain`."""

    def __init__(self, channels, eps=1e-5, batch_dim=True, plain=False):
        super().__init__()
        shape = (1, channels, 1) if batch_dim else (channels, 1)
        self.weight = None if plain else nn.Parameter(torch.ones(shape))
        self.bias = None if plain else nn.Parameter(torch.zeros(shape))
        self.eps = eps

    def forward(self, x):
        res = x - torch.mean(x, dim=1, keepdim=True)
        sigma = torch.mean(res**2, dim=1, keepdim=True)
        out = res / torch.sqrt(sigma + self.eps)
        return out if self.weight is None else out * self.weight + self.bias


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


def local_attention(q, k, v, kv_mask, heads, overlap):
    """Of `[B, C, T]` to at most `overlap` steps each way, the same again; `kv_mask`: `[B, 1, T]`, boolean."""
    batch, channels, _ = q.shape
    size = channels // heads
    by_head = lambda t: t.view(batch, heads, size, -1).transpose(2, 3)
    q, k, v = (by_head(t).reshape(batch * heads, -1, size).contiguous() for t in (q, k, v))
    q = q / math.sqrt(size)
    att = query_key(q, k, heads, overlap)
    inverse = torch.logical_not(kv_mask[:, :, :, None].view(batch, -1, 1))
    float_mask = inverse.type_as(q).masked_fill(inverse, -1e4)
    att = att + query_key(float_mask.new_ones(size=float_mask.size()), float_mask, 1, overlap)
    att = F.softmax(att, dim=-1)
    att = att.masked_fill(torch.logical_not(kv_mask.squeeze(1)[:, :, None, None]), 0.0)
    out = weights_value(att, v, heads, overlap)
    return out.transpose(2, 3).contiguous().view(batch, channels, -1)


def global_attention(q, k, v, k_mask, heads):
    """Of `[B, C, T]` to all keys `[B, C, S]` within their mask `[B, 1, S]`, boolean."""
    batch, channels, _ = q.shape
    size = channels // heads
    q, k, v = (t.view(batch, heads, size, -1).transpose(2, 3) for t in (q, k, v))
    att = (q / math.sqrt(size)) @ k.transpose(-2, -1)
    att = F.softmax(att.masked_fill(torch.logical_not(k_mask[:, :, None, :]), -float("inf")), dim=-1)
    out = att @ (v * k_mask[:, :, :, None].to(v.dtype))
    return out.transpose(2, 3).contiguous().view(batch, channels, -1)


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
