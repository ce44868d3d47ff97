"""What every PyTorch side of a benchmark of heads does: reads weights and batch, and answers a line with a line.

`loss` is answered with the loss without dropout, a number with the seconds of so many training steps.
"""

import json
import sys
import time

import numpy as np
import torch
from torch import nn


def load(folder, model, names):
    """The batch of `data.npz`, by these names; its weights go into the model."""
    arrays = {name: torch.from_numpy(array) for name, array in np.load(folder + "/data.npz").items()}
    model.load_state_dict({name[2:]: array for name, array in arrays.items() if name.startswith("w.")})
    return [arrays["in." + name] for name in names]


def serve(model, batch, optimizer):
    def step():
        optimizer.zero_grad()
        model.loss(*batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

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
