"""QFVS's summariser in plain PyTorch, by `nn.TransformerEncoder`."""

import torch
import torch.nn.functional as F
from torch import nn


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
