"""Features as the originals' pipelines make them: their reader, their float transforms, the same tower. See README.md.

    pip install decord==0.6.0 opencv-python-headless==4.12.0.88 Pillow==13.0.0 numpy onnxruntime safetensors
    python tests/data/fidelity/make.py EGOFX        # the program; `--keep` leaves the pictures that are there
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile

import cv2
import decord
import numpy
import onnxruntime
from PIL import Image
from safetensors.numpy import load_file

HERE = pathlib.Path(__file__).parent
DATA = HERE.parent
CLIP = DATA / "media" / "nasa_13013.mp4"
MEAN = numpy.array([0.485, 0.456, 0.406], numpy.float32).reshape(3, 1, 1, 1)
STD = numpy.array([0.229, 0.224, 0.225], numpy.float32).reshape(3, 1, 1, 1)


# The transforms, in single precision on [C, T, H, W].


def taps(size, to):
    """The two neighbours of each pixel of `to`, and how far it is beyond the first."""
    scale = numpy.float32(size) / numpy.float32(to)
    place = numpy.arange(to, dtype=numpy.float32)
    at = numpy.maximum((place + numpy.float32(0.5)) * scale - numpy.float32(0.5), numpy.float32(0))
    first = at.astype(numpy.int64)
    return first, numpy.minimum(first + 1, size - 1), (at - first).astype(numpy.float32)


def resize(video, height, width):
    """`torch.nn.functional.interpolate(video, (height, width), mode="bilinear", align_corners=False)`."""
    if video.shape[2:] == (height, width):
        return video
    one = numpy.float32(1)
    left, right, x = taps(video.shape[3], width)
    top, bottom, y = taps(video.shape[2], height)
    y = y[:, None]
    line = lambda rows: (one - x) * rows[..., left] + x * rows[..., right]
    return (one - y) * line(video[:, :, top]) + y * line(video[:, :, bottom])


def shorter(video, side):
    """torchvision's `Resize(side)` of tensors, without antialiasing."""
    height, width = video.shape[2:]
    if width < height:
        return resize(video, side * height // width, side)
    return resize(video, side, side * width // height)


def middle(video, side):
    """torchvision's `CenterCrop`: offsets rounded half to even."""
    y, x = (round((size - side) / 2) for size in video.shape[2:])
    return video[:, :, y : y + side, x : x + side]


def test_transform(frames):
    """EgoVLP's and EgoVLPv2's transform where nothing is learnt."""
    video = numpy.stack(frames).astype(numpy.float32).transpose(3, 0, 1, 2) / numpy.float32(255)
    video = resize(middle(shorter(video, 256), 256), 224, 224)
    return ((video - MEAN) / STD).transpose(1, 0, 2, 3)


def epic_v2_transform(frames):
    """EgoVLPv2's on EPIC-KITCHENS: to 224 at once, on levels."""
    video = numpy.stack(frames).astype(numpy.float32).transpose(3, 0, 1, 2)
    video = middle(shorter(video, 224), 224)
    mean = numpy.array([123.675, 116.28, 103.53], numpy.float32).reshape(3, 1, 1, 1)
    std = numpy.array([58.395, 57.12, 57.375], numpy.float32).reshape(3, 1, 1, 1)
    return ((video - mean) / std).transpose(1, 0, 2, 3)


def qfvs_transform(frames):
    """EgoVLPv2's on QFVS with the centre in place of a random crop, and the tower's 224 out of 256."""
    video = []
    for frame in frames:
        picture = Image.fromarray(frame)
        width, height = picture.size
        size = (256, 256 * height // width) if width < height else (256 * width // height, 256)
        video.append(numpy.asarray(picture.resize(size, Image.BICUBIC)))
    return test_transform(video)


def check_transforms():
    """That these are torchvision's: the pattern of ../transforms, which PyTorch 1.12 transformed."""
    cases = json.loads((DATA / "transforms/cases.json").read_text())
    expected, grid = load_file(DATA / "transforms/expected.safetensors"), cases["grid"]
    for size in cases["sizes"]:
        w, h = size["width"], size["height"]
        t, y, x, c = numpy.ogrid[: size["frames"], :h, :w, :3]
        frames = (7 * x + 13 * y + 61 * c + 29 * t + ((x * y) >> 4) + 3 * ((x ^ y) & 31)) & 255
        found = test_transform(list(frames.astype(numpy.uint8))).transpose(1, 0, 2, 3)[:, :, grid][..., grid]
        off = abs(found - expected[f"{w}x{h}.grid"]).max()
        assert off < 5e-4, (w, h, off)


# The readers.


def by_decord(path, indices):
    return list(decord.VideoReader(str(path), num_threads=1).get_batch(indices).asnumpy())


def by_opencv(path, indices):
    """Sought as `read_frames_cv2_egoclip` seeks, to the frame that is wanted."""
    capture, frames = cv2.VideoCapture(str(path)), []
    for index in indices:
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        there, frame = capture.read()
        assert there, index
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return frames


def picture(path, index):
    return sorted(path.iterdir())[index]


def by_imread(path, indices):
    return [cv2.cvtColor(cv2.imread(str(picture(path, index))), cv2.COLOR_BGR2RGB) for index in indices]


def by_imread_bgr(path, indices):
    return [cv2.imread(str(picture(path, index))) for index in indices]


def by_pillow(path, indices):
    return [numpy.asarray(Image.open(picture(path, index)).convert("RGB")) for index in indices]


def prepared(path, folder):
    """`video_resize.py` with an encoder that loses nothing."""
    out = pathlib.Path(folder) / f"{path.stem}_256.mkv"
    if not out.exists():
        filters = "scale=trunc(oh*a/2)*2:256,format=yuv420p"
        ffmpeg("-i", path, "-vf", filters, "-fps_mode", "passthrough", "-an", "-c:v", "ffv1", out)
    return out


def alone(path, folder):
    """The stream that egofx reads and decord, without the smaller one before it, which OpenCV would take."""
    if path.is_dir():
        return path
    out = pathlib.Path(folder) / path.name
    if not out.exists():
        ffmpeg("-i", path, "-an", "-c", "copy", out)
    return out


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def sampled(start, end, count):
    """Frames in the middle of `count` equal stretches of `start` to `end`."""
    edges = numpy.linspace(start, end, count + 1).astype(int)
    return [int((a + b - 1) // 2) for a, b in zip(edges, edges[1:])]


def windows(frames, seconds=6.0):
    """EgoVLP's windows of its first seconds: 1.87 a second of so many frames."""
    count = math.trunc(seconds * 1.87 * frames + 1)
    indices = sampled(0, 30 * seconds, count)
    return [indices[at : at + frames] for at in range(0, count // frames * frames, frames)]


# Recipe, graph and output, file, whether video_resize.py comes first, reader, transform, windows.
def cases():
    whole = [sampled(0, 300, 16), sampled(40, 97, 16)]
    half, odd = [[*range(0, 16)], [8] * 8 + [*range(8, 16)]], HERE / "odd"
    portrait = DATA / "media" / "nasa_13013_rotated.mp4"
    v2 = "egovlpv2_video"
    return [
        ("egovlp_nlq", "egovlp_video", "embedding", CLIP, True, by_decord, test_transform, windows(4)),
        ("egovlp_nlq", "egovlp_video", "embedding", portrait, True, by_decord, test_transform, [[0, 1, 2, 3]]),
        ("egovlp_mcq", "egovlp_video", "embedding", portrait, True, by_opencv, test_transform, [[0, 1, 2, 3]]),
        ("egovlpv2_nlq_dual", v2, "class", portrait, True, by_decord, test_transform, [[0, 1, 2, 3], [3, 5, 7, 9]]),
        ("egovlpv2_mq", v2, "embedding", CLIP, True, by_decord, test_transform, windows(16, 2.0)),
        ("egovlpv2_nlq_dual", v2, "class", CLIP, True, by_decord, test_transform, windows(4)),
        ("egovlp_mcq", "egovlp_video", "embedding", CLIP, True, by_opencv, test_transform, windows(4)),
        ("egovlpv2_mcq", v2, "embedding", CLIP, True, by_opencv, test_transform, whole),
        ("egovlp_charades", "egovlp_video", "embedding", CLIP, False, by_opencv, test_transform, whole),
        ("egovlp_charades", "egovlp_video", "embedding", portrait, False, by_opencv, test_transform, [[*range(16)]]),
        ("egovlpv2_charades", v2, "embedding", CLIP, False, by_opencv, test_transform, [sampled(0, 300, 32)]),
        ("egovlp_epic", "egovlp_video", "embedding", HERE / "frames", False, by_imread, test_transform, half),
        ("egovlp_epic_released", "egovlp_video", "embedding", HERE / "frames", False, by_imread_bgr, test_transform, half),
        ("egovlp_oscc", "egovlp_video", "class", HERE / "frames", False, by_imread, test_transform, half),
        ("egovlp_epic", "egovlp_video", "embedding", odd, False, by_imread, test_transform, [[0, 1, 2, 3]]),
        ("egovlp_epic_released", "egovlp_video", "embedding", odd, False, by_imread_bgr, test_transform, [[0, 1, 2, 3]]),
        ("egovlp_oscc", "egovlp_video", "class", odd, False, by_imread, test_transform, [[0, 1, 2, 3] * 4]),
        ("egovlpv2_epic", "egovlpv2_video_plain", "embedding", CLIP, False, by_decord, epic_v2_transform, whole),
        ("egovlpv2_epic", "egovlpv2_video_plain", "embedding", portrait, False, by_decord, epic_v2_transform, [[0, 5, 10, 16]]),
        ("egovlpv2_egotaskqa", "egovlpv2_lower_video", "class", CLIP, False, by_decord, test_transform, whole),
        ("egovlpv2_qfvs_shots", "egovlpv2_lower_video", "class", HERE / "frames", False, by_pillow, qfvs_transform, half),
    ]


def make_pictures():
    """EPIC-KITCHENS' own size, and one that nobody has."""
    for name, size, count in [("frames", "456:256", 16), ("odd", "371:209", 4)]:
        (HERE / name).mkdir(exist_ok=True)
        ffmpeg("-ss", 2, "-i", CLIP, "-vf", f"select=not(mod(n\\,8)),scale={size}", "-vsync", 0, "-frames:v", count,
               "-q:v", 5, HERE / name / "frame_%010d.jpg")


def features(folder, graph, output, pixels):
    session = onnxruntime.InferenceSession(str(folder / f"{graph}_debug.onnx"))
    names = {value.name for value in session.get_outputs()}
    assert output in names, names
    return session.run([output], {"pixels": pixels[None]})[0].reshape(-1)


def main(egofx):
    check_transforms()
    if "--keep" not in sys.argv:
        make_pictures()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for model in ["egovlp", "egovlpv2"]:
            command = [egofx, "export", "--random", model, "--tiny", "--seed", "1", "--debug", "--out", folder]
            subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
        for recipe, graph, output, path, resized, reader, transform, wanted in cases():
            source = (prepared if resized else alone)(path, folder)
            rows = [features(folder, graph, output, transform(reader(source, indices))) for indices in wanted]
            found.append({
                "recipe": recipe, "graph": graph, "output": output, "source": str(path.relative_to(DATA)),
                "windows": wanted, "features": [[float(f"{value:.9g}") for value in row] for row in rows],
            })
            print(recipe, len(rows), "rows of", len(rows[0]))
    (HERE / "expected.json").write_text(json.dumps(found) + "\n")


main(sys.argv[1])
