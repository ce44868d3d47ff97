#!/usr/bin/env python3
"""Features of a video by a reader of video frames and PyTorch: what a whole run of `egofx extract` is compared with.

Written as one writes it who cares for speed: a thread reads the next batch while the encoder works, each frame is decoded
once and in order, pixels become floats after the crop only. Not for extraction.

    make bench-peers
    PYTHONPATH=.runtime/torch:.runtime/peers python3 benches/reference/extract.py WEIGHTS.safetensors VIDEO WINDOWS.json \
        --reader decord --precision fp32 --out features.json

WINDOWS.json lists the frames of each window, [[0, 5, 10, 15], ...]. FEATURES is {"rows": [[...], ...], "ready": 4.1}, where
`ready` are the seconds from the start of the process until the first frame is asked for: interpreter, imports, weights.
"""

import argparse
import json
import os
import queue
import sys
import threading
import time

import torch
from safetensors.torch import load_file
from torch.nn import functional

from egovlp_video import MEAN, STD, build, side

CROP = 256  # of the frames, whose shorter side has as many pixels; the last resize is the model's


def decord_reader(video, threads):
    """Frames [N, 3, H, W] of a list of indices, ascending."""
    import decord

    reader = decord.VideoReader(video, num_threads=threads)
    return lambda indices: torch.from_numpy(reader.get_batch(indices).asnumpy()).permute(0, 3, 1, 2)


def torchcodec_reader(video, threads):
    """The same by TorchCodec."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(video, num_ffmpeg_threads=threads)
    return lambda indices: decoder.get_frames_at(indices).data


READERS = {"decord": decord_reader, "torchcodec": torchcodec_reader}


def crop(frames):
    """The square in the middle of frames [N, 3, H, W]."""
    height, width = frames.shape[-2:]
    if min(height, width) != CROP:
        raise ValueError(f"the frames are {width}x{height}, expected a shorter side of {CROP}")
    top, left = (height - CROP) // 2, (width - CROP) // 2
    return frames[..., top : top + CROP, left : left + CROP].contiguous()


def batches(read, windows, size, into):
    """Puts `uint8` pixels [B, F, 3, CROP, CROP] of `size` windows each, and None at the end, or what went wrong."""
    try:
        for first in range(0, len(windows), size):
            part = windows[first : first + size]
            indices = sorted({frame for window in part for frame in window})
            frames, place = crop(read(indices)), {frame: i for i, frame in enumerate(indices)}
            into.put(frames[torch.tensor([[place[frame] for frame in window] for window in part])])
        into.put(None)
    except Exception as error:
        into.put(error)


def normalise(pixels, size):
    """Normalised floats [B, F, 3, size, size]."""
    small = functional.interpolate(pixels.flatten(0, 1).float() / 255, (size, size), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return ((small - mean) / std).unflatten(0, pixels.shape[:2])


def started():
    """When this process began, in seconds of `time.monotonic`."""
    with open("/proc/self/stat", encoding="ascii") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights")
    parser.add_argument("video")
    parser.add_argument("windows")
    parser.add_argument("--reader", choices=READERS, required=True)
    parser.add_argument("--precision", choices=("fp32", "bf16"), required=True)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with open(given.windows, encoding="utf-8") as file:
        windows = json.load(file)
    encoder = build(load_file(given.weights), frames=len(windows[0]))
    read, pending = READERS[given.reader](given.video, given.threads), queue.Queue(maxsize=2)
    ready = time.clock_gettime(time.CLOCK_BOOTTIME) - started()
    threading.Thread(target=batches, args=(read, windows, given.batch, pending), daemon=True).start()
    rows = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bf16"):
        while (pixels := pending.get()) is not None:
            if isinstance(pixels, Exception):
                raise pixels
            rows.extend(encoder(normalise(pixels, side(encoder.video_model))).float().tolist())
    with open(given.out, "w", encoding="utf-8") as file:
        json.dump({"rows": rows, "ready": ready}, file)


if __name__ == "__main__":
    sys.exit(main())
