"""Makes the files of this folder and what the originals' readers make of them. See README.md.

    pip install decord==0.6.0 opencv-python-headless==4.12.0.88 av==13.1.0 Pillow==13.0.0 numpy
    python tests/data/readers/make.py

The encoders of another ffmpeg give other files; `--keep` leaves the files that are there and reads them anew.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import av
import cv2
import decord
import numpy
import PIL
from PIL import Image

HERE = pathlib.Path(__file__).parent
SOURCE = HERE.parent / "media" / "nasa_13013.mp4"
TAGS = {
    "bt709": "-colorspace bt709 -color_primaries bt709 -color_trc bt709",
    "bt601": "-colorspace smpte170m -color_primaries smpte170m -color_trc smpte170m",
    "none": "",
}
X264 = "-c:v libx264 -preset veryfast -crf 20 -bf 2"
X265 = "-c:v libx265 -preset veryfast -crf 22 -tag:v hvc1 -x265-params log-level=none"

# Name, size, pixel format, tags, codec, and options behind. OpenCV converts a picture as it is coded, in whole blocks: beyond 8
# bits the last lines of one of another size are mixed with lines that are never shown, so those here are whole blocks.
VIDEOS = [
    ("420_bt709.mp4", "454:256", "yuv420p", "bt709", X264, ""),
    ("420_bt601.mp4", "456:256", "yuv420p", "bt601", X264, ""),
    ("420_none.mp4", "342:192", "yuv420p", "none", X264, ""),
    ("422_bt709.mp4", "318:180", "yuv422p", "bt709", X264, ""),
    ("444_bt709.mp4", "319:179", "yuv444p", "bt709", X264, ""),
    ("420_full.mp4", "320:180", "yuvj420p", "bt709", X264, "-color_range pc"),
    ("420_10bit.mp4", "320:192", "yuv420p10le", "bt709", X264, ""),
    ("422_10bit.mp4", "320:192", "yuv422p10le", "none", X264, ""),
    ("hevc.mp4", "320:180", "yuv420p", "bt709", X265, ""),
    ("hevc_10bit.mkv", "320:192", "yuv420p10le", "bt601", X265, ""),
    ("high.mp4", "144:262", "yuv420p", "bt709", X264, ""),
]
ROTATED = [(90, "420_bt709.mp4"), (180, "420_none.mp4"), (270, "422_bt709.mp4"), (270, "420_none.mp4")]
FRAMES = 4


def ffmpeg(arguments, *paths):
    """Runs ffmpeg with the words of `arguments`, whose `{}` stand for `paths`."""
    command = ["ffmpeg", "-v", "error", "-y"]
    rest = list(paths)
    command += [rest.pop(0) if word == "{}" else word for word in arguments.split()]
    subprocess.run([str(word) for word in command], check=True)


def make_videos():
    for name, size, pixels, tags, codec, more in VIDEOS:
        scale = f"-ss 1 -i {{}} -frames:v {FRAMES} -an -vf scale={size},setsar=1 -pix_fmt {pixels} {TAGS[tags]} {codec} {more} {{}}"
        ffmpeg(scale, SOURCE, HERE / name)
    for degrees, name in ROTATED:
        # Copied, so that the container's matrix alone is new.
        ffmpeg(f"-i {{}} -c copy -metadata:s:v:0 rotate={degrees} {{}}", HERE / name, HERE / f"turned_{degrees}_{name}")


def make_pictures():
    with tempfile.TemporaryDirectory() as folder:
        plain = pathlib.Path(folder) / "plain.png"
        ffmpeg("-ss 3 -i {} -frames:v 1 -vf scale=203:117 {}", SOURCE, plain)
        picture = Image.open(plain).convert("RGB")
    for name, sampling in [("420", 2), ("422", 1), ("444", 0)]:
        picture.save(HERE / f"{name}.jpg", quality=85, subsampling=sampling)
    picture.save(HERE / "progressive.jpg", quality=70, subsampling=2, progressive=True)
    picture.convert("L").save(HERE / "grey.jpg", quality=85)
    for orientation in [3, 5, 6]:
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(HERE / f"turned_{orientation}.jpg", quality=60, exif=exif)
    small = picture.resize((61, 35))
    small.save(HERE / "rgb.png")
    alpha = Image.fromarray(numpy.arange(61 * 35, dtype=numpy.uint32).astype(numpy.uint8).reshape(35, 61))
    rgba = small.copy()
    rgba.putalpha(alpha)
    rgba.save(HERE / "rgba.png")
    small.convert("L").save(HERE / "grey.png")
    small.convert("LA").save(HERE / "grey_alpha.png")
    small.convert("1").save(HERE / "one_bit.png")
    small.quantize(13).save(HERE / "palette.png", transparency=3)
    ramp = (numpy.arange(61 * 35 * 3, dtype=numpy.uint32) * 2654435761 >> 9).astype(numpy.uint16)
    cv2.imwrite(str(HERE / "rgb_16bit.png"), ramp.reshape(35, 61, 3))


def by_decord(path):
    return list(decord.VideoReader(str(path), num_threads=1).get_batch(range(FRAMES)).asnumpy())


def by_opencv(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = capture.read()
        if not there:
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def by_pyav(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def by_imread(path):
    return [cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)]


def by_pillow(path):
    return [numpy.asarray(Image.open(path).convert("RGB"))]


def prepared(path, folder):
    """What `video_resize.py` does, with an encoder that loses nothing."""
    out = pathlib.Path(folder) / f"{path.stem}.mkv"
    ffmpeg("-i {} -vf scale=trunc(oh*a/2)*2:256,format=yuv420p -fps_mode passthrough -c:v ffv1 {}", path, out)
    return out


def described(frames):
    assert len({frame.shape for frame in frames}) == 1 and frames[0].dtype == numpy.uint8
    height, width, _ = frames[0].shape
    digests = [hashlib.sha256(numpy.ascontiguousarray(frame).tobytes()).hexdigest() for frame in frames]
    return {"width": width, "height": height, "frames": digests}


def main():
    if "--keep" not in sys.argv:
        make_videos()
        make_pictures()
    videos = {"decord": by_decord, "opencv": by_opencv, "pyav": by_pyav}
    pictures = {"opencv": by_imread, "pillow": by_pillow}
    expected = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(HERE.iterdir()):
            is_video = path.suffix in (".mp4", ".mkv")
            if not is_video and path.suffix not in (".jpg", ".png"):
                continue
            readers = videos if is_video else pictures
            found = {name: described(read(path)) for name, read in readers.items()}
            if is_video and found["decord"]["height"] != 256:
                resized = prepared(path, folder)
                found |= {f"{name} after video-resize": described(read(resized)) for name, read in readers.items()}
            expected[path.name] = found
    versions = {
        "decord": decord.__version__,
        "opencv": cv2.__version__,
        "pyav": av.__version__,
        "pillow": PIL.__version__,
        "ffmpeg": subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True).stdout.split()[2],
    }
    text = json.dumps({"versions": versions, "files": expected}, indent=1)
    (HERE / "expected.json").write_text(text + "\n")


main()
