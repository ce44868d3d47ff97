#!/usr/bin/env python3
"""Writes tiny.onnx and its card tiny.toml: the model of the demo and of the tests.

A video transformer in miniature, with seeded random weights: it has every part a real encoder has (preprocessing
inside the graph, patches, position table, attention, class token, projection), runs in milliseconds, and its numbers
mean nothing. Needs onnx and numpy alone; every run writes the same bytes.

    python3 onnx/tiny.py
"""

import hashlib
from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

SIDE, POOL, PATCH = 256, 4, 16  # frames come in at 256 and are pooled to 64, which is 4 x 4 patches of 16
TOKENS = (SIDE // POOL // PATCH) ** 2  # of one frame
WIDTH, HEADS, HIDDEN = 32, 4, 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet
GOLDEN_FRAMES = 4


def make_weights():
    """The weights by name, in the order their checksum takes them."""
    # RandomState's stream is frozen, and uniform() calls nothing from libm: the same weights everywhere.
    random = np.random.RandomState(20240229)

    def table(*shape, fan_in):
        bound = (3 / fan_in) ** 0.5  # unit variance in, unit variance out
        return random.uniform(-bound, bound, shape).astype(np.float32)

    def matrix(name, rows, columns):
        return {name: table(rows, columns, fan_in=rows), f"{name}.bias": table(columns, fan_in=100)}

    def norm(name):
        return {name: 1 + table(WIDTH, fan_in=100), f"{name}.bias": table(WIDTH, fan_in=100)}

    return {
        "patch": table(WIDTH, 3, PATCH, PATCH, fan_in=3 * PATCH * PATCH),
        "patch.bias": table(WIDTH, fan_in=100),
        "position": table(TOKENS, WIDTH, fan_in=4),
        "class": table(1, 1, WIDTH, fan_in=1),
        **norm("norm1"),
        **matrix("query", WIDTH, WIDTH),
        **matrix("key", WIDTH, WIDTH),
        **matrix("value", WIDTH, WIDTH),
        **matrix("merge", WIDTH, WIDTH),
        **norm("norm2"),
        **matrix("expand", WIDTH, HIDDEN),
        **matrix("contract", HIDDEN, WIDTH),
        **norm("norm3"),
        "projection": table(WIDTH, WIDTH, fan_in=WIDTH),
    }


class Graph:
    """Collects nodes; every method returns the name of the tensor it makes."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.nodes, self.constants = [], []

    def const(self, name, value):
        # Through float32 in either precision: the float64 graph is the same function.
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32).astype(self.dtype), name))
        return name

    def op(self, kind, *inputs, out, **attributes):
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def ints(self, name, *values):
        self.constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def linear(self, x, weight, out):
        product = self.op("MatMul", x, weight, out=f"{out}.product")
        return self.op("Add", product, f"{weight}.bias", out=out)

    def norm(self, x, weight, out):
        return self.op("LayerNormalization", x, weight, f"{weight}.bias", out=out, axis=-1, epsilon=1e-6)

    def heads(self, x, weight, order):
        """[B,T,32] through `weight`, cut into heads: [B,4,T,8], or [B,4,8,T] for the keys."""
        flat = self.linear(x, weight, out=f"{weight}.flat")
        cut = self.op("Reshape", flat, "shape.heads", out=f"{weight}.cut")
        return self.op("Transpose", cut, out=f"{weight}.heads", perm=order)


def make_model(weights, dtype=np.float32):
    g = Graph(dtype)
    for name, value in weights.items():
        g.const(name, value)
    g.ints("shape.images", -1, SIDE, SIDE, 3)
    g.ints("shape.grid", 0, WIDTH, TOKENS)
    g.ints("shape.tokens", -1, WIDTH)
    g.ints("shape.class", 1, WIDTH)
    g.ints("shape.heads", 0, 0, HEADS, WIDTH // HEADS)
    g.ints("shape.merged", 0, 0, WIDTH)

    # Preprocessing, cheapest order: bytes are transposed while they are bytes, and since pooling and normalising are
    # both linear, the normalising comes second, on a sixteenth of the pixels; /255, mean and std are one Mul, one Add.
    batch = g.op("Shape", "frames", out="batch", start=0, end=1)
    images = g.op("Reshape", "frames", "shape.images", out="images")
    planes = g.op("Transpose", images, out="planes", perm=[0, 3, 1, 2])
    floats = g.op("Cast", planes, out="floats", to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    pooled = g.op("AveragePool", floats, out="pooled", kernel_shape=[POOL] * 2, strides=[POOL] * 2)
    scale = 1 / (255 * np.array(STD)).reshape(1, 3, 1, 1)
    shift = -(np.array(MEAN) / np.array(STD)).reshape(1, 3, 1, 1)
    scaled = g.op("Mul", pooled, g.const("scale", scale), out="scaled")
    pixels = g.op("Add", scaled, g.const("shift", shift), out="pixels")

    # Patches to tokens: [B*F,32,4,4] -> [B*F,16,32] -> [B,F*16,32], the class token in front.
    patches = g.op("Conv", pixels, "patch", "patch.bias", out="patches", kernel_shape=[PATCH] * 2, strides=[PATCH] * 2)
    grid = g.op("Reshape", patches, "shape.grid", out="grid")
    columns = g.op("Transpose", grid, out="columns", perm=[0, 2, 1])
    placed = g.op("Add", columns, "position", out="placed")
    shape = g.op("Concat", batch, "shape.tokens", out="shape.video", axis=0)
    video = g.op("Reshape", placed, shape, out="video")
    shape = g.op("Concat", batch, "shape.class", out="shape.classes", axis=0)
    classes = g.op("Expand", "class", shape, out="classes")
    x = g.op("Concat", classes, video, out="tokens", axis=1)

    # One pre-norm block: attention, then the MLP, each with its residual.
    n = g.norm(x, "norm1", out="attention.in")
    query, value = (g.heads(n, weight, [0, 2, 1, 3]) for weight in ("query", "value"))
    key = g.heads(n, "key", [0, 2, 3, 1])
    scores = g.op("MatMul", query, key, out="scores")
    root = g.const("head.scale", (WIDTH // HEADS) ** -0.5)
    shares = g.op("Softmax", g.op("Mul", scores, root, out="scores.scaled"), out="shares", axis=-1)
    mixed = g.op("Transpose", g.op("MatMul", shares, value, out="mixed.heads"), out="mixed.cut", perm=[0, 2, 1, 3])
    mixed = g.op("Reshape", mixed, "shape.merged", out="mixed")
    x = g.op("Add", x, g.linear(mixed, "merge", out="attention"), out="attended")

    h = g.linear(g.norm(x, "norm2", out="mlp.in"), "expand", out="hidden")
    erf = g.op("Erf", g.op("Mul", h, g.const("sqrt.half", 0.5**0.5), out="erf.in"), out="erf")
    gate = g.op("Add", erf, g.const("one", 1), out="gate")
    half = g.op("Mul", h, g.const("half", 0.5), out="hidden.half")
    gelu = g.op("Mul", half, gate, out="gelu")
    x = g.op("Add", x, g.linear(gelu, "contract", out="mlp"), out="mixed.out")

    # Every token is projected before the class token is taken. The other order multiplies B rows, and a runtime may
    # take another kernel, with other last bits, for one row: a window's embedding would depend on its batch.
    projected = g.op("MatMul", g.norm(x, "norm3", out="final"), "projection", out="projected")
    first = g.op("Slice", projected, g.ints("start", 0), g.ints("end", 1), g.ints("axis", 1), out="first")
    g.op("Squeeze", first, "axis", out="embedding")

    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        g.nodes,
        "tiny",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["B", "F", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("embedding", element, ["B", WIDTH])],
        g.constants,
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, producer_name="egofx", ir_version=8, opset_imports=[opset])


def ramp(frames):
    """One window, pixel(f, y, x, c) = (7 f + 3 y + 5 x + 11 c) mod 256: easy to make in any language."""
    f, y, x, c = np.ogrid[:frames, :SIDE, :SIDE, :3]
    return ((7 * f + 3 * y + 5 * x + 11 * c) % 256).astype(np.uint8)[np.newaxis]


def golden(weights):
    """The embedding of the ramp by ONNX's reference evaluator."""
    # In float64, rounded once at the end: no BLAS or processor then changes the decimals that are written down.
    evaluator = ReferenceEvaluator(make_model(weights, np.float64))
    return evaluator.run(None, {"frames": ramp(GOLDEN_FRAMES)})[0][0].astype(np.float32)


CARD = """\
# The card of tiny.onnx, written with it by tiny.py: what the graph takes and gives, where its weights come from, and
# an embedding to check a runtime against.

name = "tiny"
about = "a very small video backbone, for tests and the demo"
graph = "tiny.onnx"
sha256 = "{sha256}"
licence = "MIT"
checkpoint = "seeded random weights"
checkpoint_sha256 = "{checkpoint_sha256}"
precision = "fp32"

[[inputs]]
name = "frames"
dtype = "uint8"
shape = ["B", "F", {side}, {side}, 3]

[[outputs]]
name = "embedding"
dtype = "float32"
shape = ["B", {width}]

[preprocessing]
outside = "short side to {side}, centre crop {side}x{side}, RGB"
inside = "{pool}x{pool} average pool to {pooled}x{pooled} (the last resize), /255, ImageNet mean and std"

[golden]
# input: pixel(b, f, y, x, c) = (13 b + 7 f + 3 y + 5 x + 11 c) mod 256
input = "ramp"
dims = {{ B = 1, F = {frames} }}
max_abs = 1e-5

[[golden.outputs]]
name = "embedding"
every = 1
values = [
{output}
]
"""


def main():
    weights = make_weights()
    model = make_model(weights)
    checker.check_model(model, full_check=True)
    shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    graph = model.SerializeToString(deterministic=True)

    # The fewest digits that give each float32 back.
    numbers = [np.format_float_positional(value, unique=True, trim="0") for value in golden(weights)]
    card = CARD.format(
        sha256=hashlib.sha256(graph).hexdigest(),
        checkpoint_sha256=hashlib.sha256(b"".join(value.tobytes() for value in weights.values())).hexdigest(),
        side=SIDE,
        pool=POOL,
        pooled=SIDE // POOL,
        width=WIDTH,
        frames=GOLDEN_FRAMES,
        output="\n".join("  " + " ".join(f"{n}," for n in numbers[row : row + 8]) for row in range(0, WIDTH, 8)),
    )
    folder = Path(__file__).resolve().parent
    (folder / "tiny.onnx").write_bytes(graph)
    (folder / "tiny.toml").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
