"""ActionFormer in plain PyTorch after the structure of the authors' code, with the options of OpenTAD's recipe."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from side.pyramid import AffineDropPath, LayerNorm, global_attention, local_attention


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


class MaskedMHCA(nn.Module):
    """Within a window, or over the whole clip where that is negative."""

    def __init__(self, dim, heads, window, stride, dropout):
        super().__init__()
        self.heads, self.window = heads, window
        conv = dict(kernel_size=3, stride=stride, padding=1, groups=dim, bias=False)
        self.query_conv, self.key_conv, self.value_conv = (MaskedConv1D(dim, dim, **conv) for _ in range(3))
        self.query_norm, self.key_norm, self.value_norm = (LayerNorm(dim) for _ in range(3))
        self.query, self.key, self.value, self.proj = (nn.Conv1d(dim, dim, 1) for _ in range(4))
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, x, mask):
        q, q_mask = self.query_conv(x, mask)
        k, kv_mask = self.key_conv(x, mask)
        v, _ = self.value_conv(x, mask)
        q, k, v = self.query(self.query_norm(q)), self.key(self.key_norm(k)), self.value(self.value_norm(v))
        if self.window < 0:
            out = global_attention(q, k, v, kv_mask, self.heads)
        else:
            out = local_attention(q, k, v, kv_mask, self.heads, self.window // 2)
        return self.proj_drop(self.proj(out)) * q_mask.to(x.dtype), q_mask


class TransformerBlock(nn.Module):
    def __init__(self, dim, window, stride, dropout, drop_path):
        super().__init__()
        self.ln1, self.ln2 = LayerNorm(dim), LayerNorm(dim)
        self.attn = MaskedMHCA(dim, 4, window, stride, dropout)
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


def run_tower(convs, norms, x, mask, remask):
    """The convolutions and norms of two lists of modules, by turns."""
    for conv, norm in zip(convs, norms):
        x, _ = conv(x, mask)
        x = F.relu(norm(x))
        if remask:
            x = x * mask.to(x.dtype)
    return x


def convs(first, dim, layers):
    return nn.ModuleList(
        MaskedConv1D(first if i == 0 else dim, dim, kernel_size=3, padding=1, bias=False) for i in range(layers)
    )


def sinusoids(length, dim):
    angle = lambda place: [place / np.power(10000, 2 * (j // 2) / dim) for j in range(dim)]
    table = np.array([angle(place) for place in range(length)])
    table[:, 0::2], table[:, 1::2] = np.sin(table[:, 0::2]), np.cos(table[:, 1::2])
    return torch.FloatTensor(table).unsqueeze(0).transpose(1, 2)


class ActionFormer(nn.Module):
    """OpenTAD's options are the windows of the branch, `input_dropout`, `norm_eps` and `remask`."""

    def __init__(self, inputs, settings):
        super().__init__()
        dim, classes, length = settings["embed_dim"], settings["classes"], settings["max_length"]
        levels, variant = len(settings["regression_ranges"]), settings.get("variant", {})
        windows = variant.get("branch_windows", [settings["window"]] * (levels - 1))
        block = lambda window, stride: TransformerBlock(
            dim, window, stride, settings["dropout"], settings["drop_path"]
        )
        norms = lambda count: nn.ModuleList(LayerNorm(dim, variant.get("norm_eps", 1e-5)) for _ in range(count))
        self.remask = variant.get("remask", False)
        self.input_dropout = nn.Dropout1d(variant.get("input_dropout", 0.0))
        self.backbone = nn.Module()
        self.backbone.embd, self.backbone.embd_norm = convs(inputs, dim, 2), norms(2)
        self.backbone.stem = nn.ModuleList(block(settings["window"], 1) for _ in range(2))
        self.backbone.branch = nn.ModuleList(block(window, 2) for window in windows)
        self.neck = nn.Module()
        self.neck.fpn_norms = norms(levels)
        self.cls_head, self.reg_head = nn.Module(), nn.Module()
        for head in (self.cls_head, self.reg_head):
            head.head, head.norm = convs(dim, dim, 2), norms(2)
        self.cls_head.cls_head = MaskedConv1D(dim, classes, kernel_size=3, padding=1)
        self.reg_head.offset_head = MaskedConv1D(dim, 2, kernel_size=3, padding=1)
        self.reg_head.scale = nn.ModuleList(nn.Module() for _ in range(levels))
        for scale in self.reg_head.scale:
            scale.scale = nn.Parameter(torch.tensor(1.0))
        self.positions = sinusoids(length, dim) / (dim**0.5)

    def forward(self, x, mask):
        tower = lambda convs, norms, x, mask: run_tower(convs, norms, x, mask, self.remask)
        x = tower(self.backbone.embd, self.backbone.embd_norm, self.input_dropout(x), mask)
        x = x + self.positions[:, :, : x.shape[-1]] * mask.to(x.dtype)
        for block in self.backbone.stem:
            x, mask = block(x, mask)
        levels = [(x, mask)]
        for block in self.backbone.branch:
            levels.append(block(*levels[-1]))
        logits, offsets, masks = [], [], []
        for (x, mask), norm, scale in zip(levels, self.neck.fpn_norms, self.reg_head.scale):
            x = norm(x)
            logits.append(self.cls_head.cls_head(tower(self.cls_head.head, self.cls_head.norm, x, mask), mask)[0])
            out, _ = self.reg_head.offset_head(tower(self.reg_head.head, self.reg_head.norm, x, mask), mask)
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
