"""ActionFormer, SnAG and QFVS's summariser in plain PyTorch, the other side of `heads.rs`. Not a part of the program.

Called with a folder that holds `data.npz`, the name of a head, JSON with settings, and the number of threads; answers as
`side/serve.py` does. The networks lie in `side/`.
"""

import json
import sys

import torch

from side.actionformer import ActionFormer
from side.qfvs import Summariser
from side.serve import load, serve
from side.snag import Snag

HEADS = {
    "actionformer": (ActionFormer, ("features", "mask", "classes", "offsets", "positive")),
    "snag": (Snag, ("video", "video_mask", "tokens", "token_mask", "owners", "positive", "offsets")),
    "qfvs": (Summariser, ("features", "seg_len", "labels")),
}


def main():
    folder, head, settings, threads = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    # The short cut of evaluation takes numbers added to logits for places to leave out.
    torch.backends.mha.set_fastpath_enabled(False)
    kind, names = HEADS[head]
    model = kind(**settings["network"])
    batch = load(folder, model, names)
    serve(model, batch, torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=settings["decay"]))


if __name__ == "__main__":
    main()
