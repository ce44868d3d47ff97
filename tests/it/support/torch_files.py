"""Reads what torch.save wrote, with numpy: as strict as torch.load(weights_only=True), which allows no other names.

A tensor becomes an array; no name outside of ALLOWED is looked up, and no opcode outside of those that torch's own
restricted unpickler knows may occur.
"""

import collections
import pickle
import pickletools
import zipfile

import numpy as np

STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "?",
}
# The opcodes of torch/_weights_only_unpickler.py.
OPCODES = set(
    "PROTO GLOBAL NEWOBJ REDUCE BUILD APPEND APPENDS SETITEM SETITEMS MARK TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_TUPLE "
    "EMPTY_LIST EMPTY_DICT NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 BINFLOAT BINUNICODE SHORT_BINSTRING BINPERSID "
    "BINGET LONG_BINGET BINPUT LONG_BINPUT LONG1 STOP".split()
)


def rebuild(storage, offset, shape, stride, requires_grad, hooks):
    assert requires_grad is False and hooks == {}, (requires_grad, hooks)
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides).copy()


class Unpickler(pickle.Unpickler):
    def __init__(self, archive, root):
        super().__init__(archive.open(f"{root}/data.pkl"))
        self.archive, self.root = archive, root

    def find_class(self, module, name):
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in STORAGES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, reference):
        kind, storage, key, location, count = reference
        assert (kind, location) == ("storage", "cpu"), reference
        values = np.frombuffer(self.archive.read(f"{self.root}/data/{key}"), STORAGES[storage])
        assert len(values) == count, (len(values), count)
        return values


def load(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None, path
        [pickled] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        opcodes = {opcode.name for opcode, _, _ in pickletools.genops(archive.read(pickled))}
        assert opcodes <= OPCODES, opcodes - OPCODES
        return Unpickler(archive, pickled.removesuffix("/data.pkl")).load()


def structure(value):
    """Names and types, without sizes of axes."""
    if isinstance(value, dict):
        return {name: structure(item) for name, item in value.items()}
    if isinstance(value, list):
        return [structure(item) for item in value]
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str}[{value.ndim}]"
    return type(value).__name__
