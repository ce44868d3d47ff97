"""VSLNet in plain PyTorch, the other side of `vslnet.rs`: the head, its losses and its optimiser as one writes them after
the original's structure. Not a part of the program.

Called with a folder that holds `data.npz`, JSON with the settings, and the number of threads; answers as `side/serve.py` does.
"""

import json
import math
import sys

import torch
import torch.nn.functional as F
from torch import nn

from side.serve import load, serve


def mask_logits(x, mask):
    return x + (1.0 - mask) * -1e30


class Conv1D(nn.Module):
    def __init__(self, in_dim, out_dim, kernel_size=1, padding=0, bias=True):
        super().__init__()
        self.conv1d = nn.Conv1d(in_dim, out_dim, kernel_size, padding=padding, bias=bias)

    def forward(self, x):
        return self.conv1d(x.transpose(1, 2)).transpose(1, 2)


class PositionalEmbedding(nn.Module):
    def __init__(self, positions, dim):
        super().__init__()
        self.position_embeddings = nn.Embedding(positions, dim)

    def forward(self, x):
        ids = torch.arange(x.shape[1], dtype=torch.long, device=x.device)
        return self.position_embeddings(ids.unsqueeze(0).repeat(x.shape[0], 1))


class VisualProjection(nn.Module):
    def __init__(self, visual_dim, dim, drop_rate):
        super().__init__()
        self.drop = nn.Dropout(drop_rate)
        self.linear = Conv1D(visual_dim, dim)

    def forward(self, x):
        return self.linear(self.drop(x))


class DepthwiseSeparableConvBlock(nn.Module):
    def __init__(self, dim, kernel_size, drop_rate, num_layers):
        super().__init__()
        self.depthwise_separable_conv = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(dim, dim, kernel_size, groups=dim, padding=kernel_size // 2, bias=False),
                nn.Conv1d(dim, dim, 1),
                nn.ReLU(),
            )
            for _ in range(num_layers)
        )
        self.layer_norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-6) for _ in range(num_layers))
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, x):
        for conv, norm in zip(self.depthwise_separable_conv, self.layer_norms):
            residual = x
            x = conv(norm(x).transpose(1, 2))
            x = self.dropout(x).transpose(1, 2) + residual
        return x


class MultiHeadAttentionBlock(nn.Module):
    def __init__(self, dim, num_heads, drop_rate):
        super().__init__()
        self.num_heads, self.head_size = num_heads, dim // num_heads
        self.dropout = nn.Dropout(drop_rate)
        self.query, self.key, self.value = Conv1D(dim, dim), Conv1D(dim, dim), Conv1D(dim, dim)
        self.layer_norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.layer_norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.out_layer = Conv1D(dim, dim)

    def split(self, x):
        return x.view(*x.shape[:2], self.num_heads, self.head_size).permute(0, 2, 1, 3)

    def forward(self, x, mask):
        output = self.dropout(self.layer_norm1(x))
        query, key, value = self.split(self.query(output)), self.split(self.key(output)), self.split(self.value(output))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(self.head_size)
        scores = mask_logits(scores, mask.unsqueeze(1).unsqueeze(2))
        attention = self.dropout(torch.softmax(scores, dim=-1))
        value = torch.matmul(attention, value).permute(0, 2, 1, 3).contiguous()
        output = self.dropout(value.view(x.shape))
        residual = output + x
        output = self.dropout(self.layer_norm2(residual))
        return self.dropout(self.out_layer(output)) + residual


class FeatureEncoder(nn.Module):
    def __init__(self, dim, num_heads, positions, drop_rate):
        super().__init__()
        self.pos_embedding = PositionalEmbedding(positions, dim)
        self.conv_block = DepthwiseSeparableConvBlock(dim, 7, drop_rate, 4)
        self.attention_block = MultiHeadAttentionBlock(dim, num_heads, drop_rate)

    def forward(self, x, mask):
        return self.attention_block(self.conv_block(x + self.pos_embedding(x)), mask)


class CQAttention(nn.Module):
    def __init__(self, dim, drop_rate):
        super().__init__()
        self.w4C = nn.Parameter(torch.empty(dim, 1))
        self.w4Q = nn.Parameter(torch.empty(dim, 1))
        self.w4mlu = nn.Parameter(torch.empty(1, 1, dim))
        self.dropout = nn.Dropout(drop_rate)
        self.cqa_linear = Conv1D(4 * dim, dim)

    def forward(self, context, query, c_mask, q_mask):
        score = self.trilinear(context, query)
        row = torch.softmax(mask_logits(score, q_mask.unsqueeze(1)), dim=2)
        column = torch.softmax(mask_logits(score, c_mask.unsqueeze(2)), dim=1).transpose(1, 2)
        c2q = torch.matmul(row, query)
        q2c = torch.matmul(torch.matmul(row, column), context)
        return self.cqa_linear(torch.cat([context, c2q, context * c2q, context * q2c], dim=2))

    def trilinear(self, context, query):
        c_len, q_len = context.shape[1], query.shape[1]
        context, query = self.dropout(context), self.dropout(query)
        subres0 = torch.matmul(context, self.w4C).expand([-1, -1, q_len])
        subres1 = torch.matmul(query, self.w4Q).transpose(1, 2).expand([-1, c_len, -1])
        return subres0 + subres1 + torch.matmul(context * self.w4mlu, query.transpose(1, 2))


class WeightedPool(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, 1))

    def forward(self, x, mask):
        alpha = torch.tensordot(x, self.weight, dims=1)
        alphas = torch.softmax(mask_logits(alpha, mask.unsqueeze(2)), dim=1)
        return torch.matmul(x.transpose(1, 2), alphas).squeeze(2)


class CQConcatenate(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weighted_pool = WeightedPool(dim)
        self.conv1d = Conv1D(2 * dim, dim)

    def forward(self, context, query, q_mask):
        pooled = self.weighted_pool(query, q_mask).unsqueeze(1).repeat(1, context.shape[1], 1)
        return self.conv1d(torch.cat([context, pooled], dim=2))


class HighLightLayer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1d = Conv1D(dim, 1)

    def forward(self, x, mask):
        return torch.sigmoid(mask_logits(self.conv1d(x).squeeze(2), mask))

    @staticmethod
    def compute_loss(scores, labels, mask):
        labels = labels.float()
        weights = torch.where(labels == 0.0, labels + 1.0, 2.0 * labels)
        loss = nn.BCELoss(reduction="none")(scores, labels) * weights
        mask = mask.float()
        return torch.sum(loss * mask) / (torch.sum(mask) + 1e-12)


class DynamicRNN(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, batch_first=True)

    def forward(self, x, mask):
        output, _ = self.lstm(x)
        return output * mask.unsqueeze(2)


class ConditionedPredictor(nn.Module):
    def __init__(self, dim, num_heads, positions, drop_rate, predictor):
        super().__init__()
        self.predictor = predictor
        if predictor == "rnn":
            self.start_encoder, self.end_encoder = DynamicRNN(dim), DynamicRNN(dim)
        else:
            self.encoder = FeatureEncoder(dim, num_heads, positions, drop_rate)
            self.start_layer_norm = nn.LayerNorm(dim, eps=1e-6)
            self.end_layer_norm = nn.LayerNorm(dim, eps=1e-6)
        self.start_block = nn.Sequential(Conv1D(2 * dim, dim), nn.ReLU(), Conv1D(dim, 1))
        self.end_block = nn.Sequential(Conv1D(2 * dim, dim), nn.ReLU(), Conv1D(dim, 1))

    def forward(self, x, mask):
        if self.predictor == "rnn":
            start = self.start_encoder(x, mask)
            end = self.end_encoder(start, mask)
        else:
            start = self.encoder(x, mask)
            end = self.encoder(start, mask)
            start, end = self.start_layer_norm(start), self.end_layer_norm(end)
        start = self.start_block(torch.cat([start, x], dim=2)).squeeze(2)
        end = self.end_block(torch.cat([end, x], dim=2)).squeeze(2)
        return mask_logits(start, mask), mask_logits(end, mask)


class VSLNet(nn.Module):
    def __init__(self, video_dim, query_dim, width, heads, positions, dropout, predictor):
        super().__init__()
        self.query_affine = nn.Linear(query_dim, width)
        self.video_affine = VisualProjection(video_dim, width, dropout)
        self.feature_encoder = FeatureEncoder(width, heads, positions, dropout)
        self.cq_attention = CQAttention(width, dropout)
        self.cq_concat = CQConcatenate(width)
        self.highlight_layer = HighLightLayer(width)
        self.predictor = ConditionedPredictor(width, heads, positions, dropout, predictor)

    def forward(self, video, v_mask, query, q_mask):
        video, query = self.video_affine(video), self.query_affine(query)
        query = self.feature_encoder(query, q_mask)
        video = self.feature_encoder(video, v_mask)
        x = self.cq_attention(video, query, v_mask, q_mask)
        x = self.cq_concat(x, query, q_mask)
        h = self.highlight_layer(x, v_mask)
        start, end = self.predictor(x * h.unsqueeze(2), v_mask)
        return h, start, end

    def loss(self, video, v_mask, query, q_mask, starts, ends, highlights):
        h, start, end = self(video, v_mask, query, q_mask)
        highlight = self.highlight_layer.compute_loss(h, highlights, v_mask)
        localization = F.cross_entropy(start, starts) + F.cross_entropy(end, ends)
        return localization + 5.0 * highlight


class AdamW(torch.optim.Optimizer):
    """HuggingFace's: decay after the step, eps before the bias correction."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if len(state) == 0:
                    state["step"] = 0
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
                exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]
                state["step"] += 1
                exp_avg.mul_(beta1).add_(p.grad, alpha=1.0 - beta1)
                exp_avg_sq.mul_(beta2).addcmul_(p.grad, p.grad, value=1.0 - beta2)
                denom = exp_avg_sq.sqrt().add_(group["eps"])
                corrected = math.sqrt(1.0 - beta2 ** state["step"]) / (1.0 - beta1 ** state["step"])
                p.addcdiv_(exp_avg, denom, value=-group["lr"] * corrected)
                if group["weight_decay"] > 0.0:
                    p.add_(p, alpha=-group["lr"] * group["weight_decay"])


def optimizer(model, lr):
    plain = ("bias", "layer_norm", "LayerNorm")
    named = list(model.named_parameters())
    return AdamW(
        [
            {"params": [p for n, p in named if not any(part in n for part in plain)], "weight_decay": 0.01},
            {"params": [p for n, p in named if any(part in n for part in plain)], "weight_decay": 0.0},
        ],
        lr=lr,
    )


def main():
    folder, settings, threads = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    model = VSLNet(**settings)
    names = ("video", "video_mask", "query", "query_mask", "starts", "ends", "highlights")
    serve(model, load(folder, model, names), optimizer(model, 1e-4))


if __name__ == "__main__":
    main()
