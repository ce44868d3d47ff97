"""Requests as lines of JSON on stdin, their answers as lines of stdout.

Not for what they ask.
"""

import argparse
import json
import sys
import time

import torch
from safetensors.torch import load_file


def serve(answer):
    """Answers until stdin ends; a request that fails is answered by {"error": ...}, and the asker decides what that means."""
    for line in sys.stdin:
        try:
            said = answer(**json.loads(line))
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


def save(rows, out):
    """Writes rows to the file `out`, if there is to be one."""
    if out:
        with open(out, "w", encoding="utf-8") as file:
            json.dump(rows.tolist(), file)


def timed(model, video, run, out):
    """Rows of `video` by `model` in fp32 or bf16 (autocast), written to `out` if there is to be one: the seconds that they took."""
    begin = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=run == "bf16"):
        rows = model(video).float()
    seconds = time.perf_counter() - begin
    save(rows, out)
    return {"seconds": seconds}


def main(about, build, run):
    """Serves `run(model, ...)` of the model that `build` makes of a file of weights."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("weights", help="a checkpoint's tensors under their own names, as safetensors")
    parser.add_argument("--threads", type=int, help="threads [default: PyTorch's own choice]")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model = build(load_file(arguments.weights)).eval()
    with torch.inference_mode():
        serve(lambda **request: run(model, **request))
