"""SnAG in plain PyTorch, written for this benchmark after the paper (Mu et al., CVPR 2024) and the head of this package, with attention
in a window as ActionFormer's authors write it. Its authors' code, which has no licence, was not used.
"""

import torch
import torch.nn.functional as F
from torch import nn

from side.pyramid import AffineDropPath, LayerNorm, global_attention, local_attention


def norm(channels):
    return LayerNorm(channels, batch_dim=False)


class MaskedConv(nn.Module):
    """Of what the mask leaves of its input."""

    def __init__(self, inputs, outputs, width=3, **more):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, width, padding=width // 2, **more)

    def forward(self, x, mask):
        return self.conv(x * mask.to(x.dtype))


class Tower(nn.Module):
    def __init__(self, dim, layers):
        super().__init__()
        self.convs = nn.ModuleList(MaskedConv(dim, dim, bias=False) for _ in range(layers))
        self.norms = nn.ModuleList(norm(dim) for _ in range(layers))

    def run(self, x, mask):
        for conv, norm in zip(self.convs, self.norms):
            x = F.relu(norm(conv(x, mask)))
        return x


class Projections(nn.Module):
    def __init__(self, width, keys, outputs):
        super().__init__()
        self.query, self.key, self.value = nn.Conv1d(width, width, 1), nn.Conv1d(keys, width, 1), nn.Conv1d(keys, width, 1)
        self.proj = nn.Conv1d(width, outputs, 1)


class LocalAttention(nn.Module):
    def __init__(self, dim, heads, window, stride, dropout):
        super().__init__()
        self.heads, self.overlap = heads, window // 2
        conv = dict(stride=stride, groups=dim, bias=False)
        self.q_conv, self.k_conv, self.v_conv = (MaskedConv(dim, dim, **conv) for _ in range(3))
        self.q_norm, self.k_norm, self.v_norm = (norm(dim) for _ in range(3))
        self.attn = Projections(dim, dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x, mask, out_mask):
        q = self.attn.query(self.q_norm(self.q_conv(x, mask)))
        k = self.attn.key(self.k_norm(self.k_conv(x, mask)))
        v = self.attn.value(self.v_norm(self.v_conv(x, mask)))
        return self.drop(self.attn.proj(local_attention(q, k, v, out_mask, self.heads, self.overlap)))


class FeedForward(nn.Module):
    def __init__(self, dim, dropout):
        super().__init__()
        self.fc, self.proj = nn.Conv1d(dim, 4 * dim, 1), nn.Conv1d(4 * dim, dim, 1)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        return self.drop(self.proj(self.drop(F.gelu(self.fc(x)))))


class Block(nn.Module):
    def __init__(self, dim, heads, window, stride, dropout, drop_path):
        super().__init__()
        self.stride = stride
        self.ln_attn, self.ln_ffn = norm(dim), norm(dim)
        self.attn = LocalAttention(dim, heads, window, stride, dropout)
        self.ffn = FeedForward(dim, dropout)
        self.drop_path_attn, self.drop_path_ffn = AffineDropPath(dim, drop_path), AffineDropPath(dim, drop_path)

    def forward(self, x, mask):
        x = x * mask.to(x.dtype)
        out_mask = mask[:, :, :: self.stride]
        skip = x
        if self.stride > 1:
            least = x.amin(dim=-1, keepdim=True)
            skip = F.max_pool1d(torch.where(mask, x, least), 3, stride=self.stride, padding=1) * out_mask.to(x.dtype)
        x = skip + self.drop_path_attn(self.attn(self.ln_attn(x), mask, out_mask))
        return x + self.drop_path_ffn(self.ffn(self.ln_ffn(x)) * out_mask.to(x.dtype)), out_mask


class CrossAttention(nn.Module):
    def __init__(self, dim, text_dim, heads):
        super().__init__()
        self.heads = heads
        self.q_conv, self.q_norm = MaskedConv(dim, dim, groups=dim, bias=False), norm(dim)
        self.xattn = Projections(dim, text_dim, 2 * dim)

    def forward(self, x, mask, words, word_mask, owners):
        q = self.xattn.query(self.q_norm(self.q_conv(x, mask)))
        q = q if owners is None else q[owners]
        out = global_attention(q, self.xattn.key(words), self.xattn.value(words), word_mask, self.heads)
        return self.xattn.proj(out)


class FusionLayer(nn.Module):
    def __init__(self, dim, text_dim, heads, dropout, drop_path):
        super().__init__()
        self.ln_xattn_q, self.ln_xattn_kv, self.ln_ffn = norm(dim), norm(text_dim), norm(dim)
        self.plain = LayerNorm(dim, plain=True)
        self.xattn = CrossAttention(dim, text_dim, heads)
        self.ffn, self.drop = FeedForward(dim, dropout), nn.Dropout(dropout)
        self.drop_path_ffn = AffineDropPath(dim, drop_path)

    def forward(self, x, mask, words, word_mask, owners=None):
        x = x * mask.to(x.dtype)
        out = self.xattn(self.ln_xattn_q(x), mask, self.ln_xattn_kv(words), word_mask, owners)
        scale, shift = self.drop(out).chunk(2, dim=1)
        x = self.plain(x)
        if owners is not None:
            x, mask = x[owners], mask[owners]
        x = x * scale + shift
        return x + self.drop_path_ffn(self.ffn(self.ln_ffn(x)) * mask.to(x.dtype)), mask


class TextNet(nn.Module):
    def __init__(self, inputs, dim, heads):
        super().__init__()
        self.heads = heads
        self.embd_fc = MaskedConv(inputs, dim, width=1)
        self.attn_pool = nn.Module()
        self.attn_pool.attn = Projections(dim, dim, dim)

    def forward(self, tokens, mask):
        x = self.embd_fc.conv(tokens)
        mean = (x * mask.to(x.dtype)).sum(dim=2, keepdim=True) / mask.sum(dim=2, keepdim=True)
        mask = torch.cat([mask[:, :, :1], mask], dim=2)
        every, attn = torch.cat([mean, x], dim=2), self.attn_pool.attn
        background = global_attention(attn.query(mean), attn.key(every), attn.value(every), mask, self.heads)
        return torch.cat([attn.proj(background), x], dim=2), mask


def positions(length, dim):
    angles = torch.arange(length)[None, :] / 10000 ** (torch.arange(dim // 2) / (dim // 2))[:, None]
    return torch.cat([angles.sin(), angles.cos()]).unsqueeze(0) / dim**0.5


class Snag(nn.Module):
    def __init__(self, inputs, tokens, settings):
        super().__init__()
        dim, text_dim, heads = settings["embed_dim"], settings["text_embed_dim"], settings["num_heads"]
        dropout, drop_path = settings["dropout"], settings["drop_path"]
        levels = len(settings["regression_ranges"])
        self.smoothing, self.normaliser = settings["label_smoothing"], settings["first_normaliser"]
        self.text_net = TextNet(tokens, text_dim, heads)
        self.vid_net = nn.Module()
        self.vid_net.embd_fc = MaskedConv(inputs, dim, width=1)
        embedding = Tower(dim, settings["embedding_layers"])
        self.vid_net.embd_convs, self.vid_net.embd_norms = embedding.convs, embedding.norms
        self.vid_net.branch = nn.ModuleList(
            Block(dim, heads, settings["window"], 1 if level == 0 else 2, dropout, drop_path) for level in range(levels)
        )
        self.fusion = nn.Module()
        self.fusion.layers = nn.ModuleList(
            FusionLayer(dim, text_dim, heads, dropout, drop_path) for _ in range(settings["fusion_layers"])
        )
        self.fusion.ln_out = norm(dim)
        self.cls_head, self.reg_head = (Tower(dim, settings["head_layers"]) for _ in range(2))
        self.cls_head.cls_head, self.reg_head.reg_head = MaskedConv(dim, 1), MaskedConv(dim, 2)
        self.reg_head.scales = nn.ModuleList(nn.Module() for _ in range(levels))
        for scale in self.reg_head.scales:
            scale.scale = nn.Parameter(torch.tensor(1.0))
        self.positions = positions(settings["max_length"], dim)

    def pyramid(self, x, mask):
        x = self.vid_net.embd_fc.conv(x)
        for conv, norm in zip(self.vid_net.embd_convs, self.vid_net.embd_norms):
            x = F.relu(norm(conv(x, mask)))
        x = x + self.positions[:, :, : x.shape[-1]] * mask.to(x.dtype)
        levels = []
        for block in self.vid_net.branch:
            x, mask = block(x, mask)
            levels.append((x, mask))
        return levels

    def forward(self, video, video_mask, tokens, token_mask, owners):
        words, word_mask = self.text_net(tokens, token_mask)
        logits, offsets, masks = [], [], []
        for (x, mask), scale in zip(self.pyramid(video, video_mask), self.reg_head.scales):
            first, *others = self.fusion.layers
            x, mask = first(x, mask, words, word_mask, owners)
            for layer in others:
                x, mask = layer(x, mask, words, word_mask)
            x = self.fusion.ln_out(x)
            logits.append(self.cls_head.cls_head(self.cls_head.run(x, mask), mask).squeeze(1))
            offsets.append(F.relu(self.reg_head.reg_head(self.reg_head.run(x, mask), mask) * scale.scale).transpose(1, 2))
            masks.append(mask.squeeze(1))
        return torch.cat(logits, dim=1), torch.cat(offsets, dim=1), torch.cat(masks, dim=1)

    def loss(self, video, video_mask, tokens, token_mask, owners, positive, offsets):
        token_mask, positive = token_mask.bool().unsqueeze(1), positive.bool()
        logits, found, valid = self(video, video_mask.bool(), tokens, token_mask, owners.long())
        labels = positive.to(logits.dtype) * (1 - self.smoothing) + self.smoothing / 2
        score = focal(logits[valid], labels[valid])
        return (score + iou(found[positive], offsets[positive])) / self.normaliser


def focal(logits, labels):
    p = torch.sigmoid(logits)
    ce = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    p_t = p * labels + (1 - p) * (1 - labels)
    return (0.5 * ce * (1 - p_t) ** 2).sum()


def iou(found, truth):
    inter = torch.min(found, truth).sum(-1)
    union = (found + truth).sum(-1) - inter
    return (1 - inter / union.clamp(min=1e-8)).sum()
