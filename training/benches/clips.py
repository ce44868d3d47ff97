"""Clips of a video by decord or TorchCodec, the other side of `clips.rs`. Not a part of the program.

Called with the reader, the video, JSON with the frames of each clip, and for TorchCodec how it opens a video (`exact`, its default,
reads all of it first; `approximate` does not). Prints the milliseconds of processor time that a clip takes, its video opened anew
and one thread, as uint8 [F, H, W, 3] or [F, 3, H, W].
"""

import json
import sys
import time

import torch

torch.set_num_threads(1)
READER, VIDEO, CLIPS, MODE = (sys.argv[1:] + [""])[:4]


def decord_clip(frames):
    reader = decord.VideoReader(VIDEO, num_threads=1)
    return reader.get_batch(frames).asnumpy()


def torchcodec_clip(frames):
    decoder = VideoDecoder(VIDEO, num_ffmpeg_threads=1, seek_mode=MODE)
    return decoder.get_frames_at(frames).data


if READER == "decord":
    import decord

    read = decord_clip
else:
    from torchcodec.decoders import VideoDecoder

    read = torchcodec_clip

with open(CLIPS) as file:
    clips = json.load(file)
for frames in clips[:2]:  # first calls
    read(frames)
begun = time.process_time()
for frames in clips:
    read(frames)
print((time.process_time() - begun) * 1e3 / len(clips))
