"""Feature stores of egofx in Python, and its scores.

>>> import egofx
>>> store = egofx.open("features/egovlp_nlq")
>>> unit = store["clip_uid"]
>>> unit.features.shape, unit.start_sec[:3]
((897, 256), array([0.        , 0.53475936, 1.06951872]))

The reader is pure Python. It needs NumPy, h5py for stores of HDF5 and pyarrow for those of Parquet, and imports each when it
is used. The program is ``egofx`` on the command line, or ``python -m egofx``.
"""

from __future__ import annotations

from ._program import EvaluationError, evaluate, program
from ._store import DamagedError, Store, StoreError, Unit, open
from ._torch import TorchDataset

__version__ = "0.1.0"
__all__ = [
    "DamagedError",
    "EvaluationError",
    "Store",
    "StoreError",
    "TorchDataset",
    "Unit",
    "evaluate",
    "open",
    "program",
]
