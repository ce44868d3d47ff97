"""EgoVLPv2's step of pretraining in plain PyTorch, the other side of `pretrain.rs`: both towers alone, fused with hidden words,
fused with mined pairs, the three losses, clipping and AdamW, written after the original's structure. Not a part of the program.

Called with a folder that holds `data.npz`, JSON with the settings, and the number of threads. Answers each line on standard
input with a line of JSON: `loss` with the loss, a number with the seconds of so many steps.
"""

import json
import sys
import time
from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

PAD = 1
EPS, FUSED_EPS, WORDS_EPS = 1e-5, 1e-6, 1e-12


class EgoVLPv2:
    def __init__(self, weights, settings):
        self.w = weights
        self.depth, self.heads, self.fused_layers = settings["depth"], settings["heads"], settings["fused"]
        self.patch, self.recompute = settings["patch"], settings["recompute"]

    def linear(self, name, x):
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))

    def norm(self, name, x, eps=EPS):
        return F.layer_norm(x, x.shape[-1:], self.w[name + ".weight"], self.w[name + ".bias"], eps)

    def attend(self, q, k, v, mask=None):
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)

    def divided(self, name, x, frames, over_time):
        q, k, v = self.linear(name + ".qkv", x).chunk(3, -1)
        batch, width = x.shape[0], x.shape[2]
        of_class = self.attend(q[:, :1], k, v)

        def groups(t):
            t = t[:, 1:].unflatten(1, (frames, -1))
            return (t.transpose(1, 2) if over_time else t).flatten(0, 1)

        q_, k_, v_ = groups(q), groups(k), groups(v)
        count = q_.shape[0] // batch
        k_ = torch.cat([k[:, :1].repeat_interleave(count, 0), k_], 1)
        v_ = torch.cat([v[:, :1].repeat_interleave(count, 0), v_], 1)
        out = self.attend(q_, k_, v_).unflatten(0, (batch, count))
        out = (out.transpose(1, 2) if over_time else out).reshape(batch, -1, width)
        return self.linear(name + ".proj", torch.cat([of_class, out], 1))

    def block(self, i, x, frames, words=None, mask=None):
        name = f"video_model.blocks.{i}"
        over_time = self.divided(name + ".timeattn", self.norm(name + ".norm3", x), frames, True)
        space = self.divided(name + ".attn", self.norm(name + ".norm1", x + over_time), frames, False)
        if words is not None:
            query = self.linear(name + ".attn.qkv_i2t", self.norm(name + ".attn.norm_i2t_i", space))
            keys, values = self.linear(name + ".attn.qkv_text_i2t", words).chunk(2, -1)
            found = self.linear(name + ".attn.proj_i2t", self.attend(query, keys, values, mask))
            space = space + self.w[name + ".attn.alpha_i2t"] * found
        x = x + space
        inner = F.gelu(self.linear(name + ".mlp.fc1", self.norm(name + ".norm2", x)))
        return x + self.linear(name + ".mlp.fc2", inner)

    def text_attention(self, name, of, to, mask=None):
        q = self.linear(name + ".self.query", of)
        k, v = self.linear(name + ".self.key", to), self.linear(name + ".self.value", to)
        return self.linear(name + ".output.dense", self.attend(q, k, v, mask))

    def layer(self, i, x, mask, video=None):
        name = f"text_model.encoder.layer.{i}"
        mixed = self.text_attention(name + ".attention", x, x, mask)
        total = x + mixed
        if video is not None:
            total = total + self.w[name + ".alpha_t2i"] * self.text_attention(name + ".crossattention_t2i", mixed, video)
        x = self.norm(name + ".attention.output.LayerNorm", total)
        inner = F.gelu(self.linear(name + ".intermediate.dense", x))
        return self.norm(name + ".output.LayerNorm", x + self.linear(name + ".output.dense", inner))

    def run(self, function, *inputs):
        return checkpoint(function, *inputs, use_reentrant=False) if self.recompute else function(*inputs)

    def embed_video(self, frames, token):
        w, (batch, count) = self.w, frames.shape[:2]
        name = "video_model.patch_embed.proj"
        x = F.conv2d(frames.flatten(0, 1), w[name + ".weight"], w[name + ".bias"], stride=self.patch)
        x = x.flatten(2).transpose(1, 2).unflatten(0, (batch, count))
        positions, times = w["video_model.pos_embed"], w["video_model.temporal_embed"]
        x = (x + positions[:, None, 1:] + times[:, :count, None]).flatten(1, 2)
        return torch.cat([(token + positions[:, :1]).expand(batch, -1, -1), x], 1)

    def embed_text(self, ids):
        w, name = self.w, "text_model.embeddings"
        there = (ids != PAD).long()
        positions = there.cumsum(1) * there + PAD
        x = F.embedding(ids, w[name + ".word_embeddings.weight"], PAD) + w[name + ".token_type_embeddings.weight"][0]
        return self.norm(name + ".LayerNorm", x + F.embedding(positions, w[name + ".position_embeddings.weight"], PAD))

    def project(self, name, x, first):
        x = self.linear(f"{name}.{first}", x)
        for i in (first + 2, first + 4):
            x = self.linear(f"{name}.{i}", F.relu(x))
        return x

    def video(self, frames):
        x = self.embed_video(frames, self.w["video_model.cls_token"])
        for i in range(self.depth):
            x = self.run(lambda x, i=i: self.block(i, x, frames.shape[1]), x)
        return self.project("vid_proj", self.norm("video_model.norm", x)[:, 0], 0)

    def text(self, ids, mask):
        x = self.embed_text(ids)
        for i in range(self.depth):
            x = self.run(lambda x, i=i: self.layer(i, x, mask), x)
        return self.project("txt_proj", x[:, 0], 0)

    def fused(self, frames, ids, mask):
        video, text = self.embed_video(frames, self.w["cls_token"]), self.embed_text(ids)
        count = frames.shape[1]
        for i in range(self.depth - self.fused_layers):
            video = self.run(lambda x, i=i: self.block(i, x, count), video)
            text = self.run(lambda x, i=i: self.layer(i, x, mask), text)
        for i in range(self.depth - self.fused_layers, self.depth):
            video, text = self.run(
                lambda v, t, i=i: (self.block(i, v, count, t, mask), self.layer(i, t, mask, v)), video, text
            )
        return self.norm("norm", video[:, :1], FUSED_EPS)[:, 0], text

    def words(self, text):
        x = F.gelu(self.linear("mlm_score.transform.dense", self.linear("cross_modal_text_transform", text)))
        x = self.norm("mlm_score.transform.LayerNorm", x, WORDS_EPS)
        return F.linear(x, self.w["mlm_score.decoder.weight"], self.w["mlm_score.bias"])

    def matching(self, video, text):
        text = torch.tanh(self.linear("cross_modal_text_pooler.dense", self.linear("cross_modal_text_transform", text[:, 0])))
        video = torch.tanh(self.linear("cross_modal_video_pooler.dense", self.linear("cross_modal_video_transform", video)))
        return self.linear("itm_score.fc", torch.cat([text, video], -1))

    def loss(self, b):
        mask = (b["mask"] != 0)[:, None, None]
        texts, videos = self.text(b["ids"], mask), self.video(b["frames"])
        sim = F.normalize(texts.float(), dim=1) @ F.normalize(videos.float(), dim=1).T / 0.05
        kept = sim.masked_fill(~b["positives"].bool(), float("-inf"))
        contrastive = sum((sim.logsumexp(d) - kept.logsumexp(d)).mean() for d in (0, 1))
        _, text = self.fused(b["frames"], b["hidden_ids"], mask)
        words = F.cross_entropy(self.words(text).flatten(0, 1).float(), b["hidden_labels"].flatten(), ignore_index=-100)
        rows = b["text_index"]
        fused = self.fused(b["frames"][b["video_index"]], b["ids"][rows], mask[rows])
        matching = F.cross_entropy(self.matching(*fused).float(), b["match"])
        return contrastive + words + 2.0 * matching


def main():
    folder, settings, threads = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    device = torch.device(settings["device"])
    arrays = {name: torch.from_numpy(array).to(device) for name, array in np.load(folder + "/data.npz").items()}
    weights = {name[2:]: array.requires_grad_() for name, array in arrays.items() if name.startswith("w.")}
    batch = {name[3:]: array for name, array in arrays.items() if name.startswith("in.")}
    model = EgoVLPv2(weights, settings)
    adamw = torch.optim.AdamW(weights.values(), lr=1e-5, weight_decay=0.01, fused=device.type == "cuda" or None)
    half = torch.autocast(device.type, torch.bfloat16) if settings["bf16"] else nullcontext()

    def step():
        adamw.zero_grad()
        with half:
            loss = model.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        adamw.step()

    for line in sys.stdin:
        if line.strip() == "loss":
            with torch.no_grad(), half:
                print(json.dumps({"loss": model.loss(batch).item()}), flush=True)
            continue
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
