"""A store of features, read without the program.

The ledger says which units are committed, so a store can be read while a run writes it: what is listed is whole. A file is
hashed before it is read for the first time and compared with the ledger, as the program does it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

# Versions of `store.json` that this reader knows.
OLDEST_SCHEMA, SCHEMA = 2, 3


class StoreError(ValueError):
    """No store, or one of a version that this reader does not know."""


class DamagedError(StoreError):
    """A file that is not what was committed."""


def open(path: str | os.PathLike[str], check: bool = True) -> Store:
    """The feature set in the folder ``path``, ``features/egovlp_nlq`` for instance.

    Args:
        check: hash each file before it is first read, and compare with the ledger.

    Raises:
        StoreError: no store is there, or one of another version.
    """
    return Store(path, check)


class Store(Mapping[str, "Unit"]):
    """A feature set: committed units by ``unit_uid`` (a clip's uid for windows), in the order of their uids.

    Attributes:
        path: its folder.
        contract: what all rows obey, with the fields of ``store.json``: ``backbone``, ``dim``, ``dtype``, ``row_kind``,
            ``rows_per_sec``, ``window_frames``, ``recipe`` and so on.
    """

    def __init__(self, path: str | os.PathLike[str], check: bool = True) -> None:
        self.path = Path(path)
        self._check = check
        file = self.path / "store.json"
        try:
            contract = json.loads(file.read_text(encoding="utf-8"))
            version = contract["schema_version"]
        except (FileNotFoundError, NotADirectoryError):
            sets = sorted(found.parent.name for found in self.path.glob("*/store.json"))
            near = f"; its feature sets are {', '.join(sets)}" if sets else ""
            raise StoreError(f"{self.path}: no feature store, it has no store.json{near}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{file}: expected the contract of a store, found {error!r}") from error
        if not OLDEST_SCHEMA <= version <= SCHEMA:
            raise StoreError(
                f"{file}: schema version {version}, this reader knows {OLDEST_SCHEMA} to {SCHEMA}: pip install --upgrade egofx"
            )
        self.contract = SimpleNamespace(**contract)
        self.refresh()

    def refresh(self) -> None:
        """Looks again at what is committed; a run may have added units since."""
        entries: dict[str, dict[str, Any]] = {}
        for ledger in sorted((self.path / "ledger").glob("*.jsonl")):
            for entry in _lines(ledger):
                known = entries.get(entry["unit_uid"])
                if known is None or known["revision"] <= entry["revision"]:
                    entries[entry["unit_uid"]] = entry
        self._entries = dict(sorted(entries.items()))

    @property
    def index(self) -> Any:
        """A row for each unit: uids, rows, times, file and hash. A pandas DataFrame, else a pyarrow Table, else a list."""
        rows = list(self._entries.values())
        columns = ["unit_uid", "video_uid", "clip_uid", "query_id", "split", "start_sec", "end_sec", "rows", "dim"]
        columns += ["padded_rows", "missing_rows", "file", "bytes", "sha256", "revision"]
        table = {column: [row.get(column) for row in rows] for column in columns}
        try:
            import pandas

            return pandas.DataFrame(table)
        except ImportError:
            pass
        try:
            import pyarrow

            return pyarrow.table(table)
        except ImportError:
            return [{column: row.get(column) for column in columns} for row in rows]

    def __getitem__(self, unit_uid: str) -> Unit:
        try:
            return Unit(self, self._entries[unit_uid])
        except KeyError:
            near = difflib.get_close_matches(str(unit_uid), self._entries, 3, 0.8)
            hint = f" (near: {', '.join(near)})" if near else ""
            raise KeyError(f"{self.path}: no unit {unit_uid!r} among {len(self)}{hint}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<egofx.Store {self.path}: {len(self)} units, {self.contract.backbone}, dim {self.contract.dim}>"


class Unit:
    """A unit of a store: the rows of a clip, a video or a query.

    Attributes:
        uid, video_uid: names of the unit and of its video.
        clip_uid, query_id, split: of all its rows, or None.
        path: its file.

    Columns are arrays, read when they are first asked for:
        features: ``[rows, dim]`` float32 or float16 (``contract.dtype``). NaN where ``missing``.
        start_sec, end_sec: ``[rows]`` float64, the time that a row stands for, half-open, in seconds of the container's clock.
        first_frame, last_frame: ``[rows]`` int64, the frames that it saw, in presentation order, inclusive.
        padded, missing: ``[rows]`` bool.
        clip_uids, query_ids: ``[rows]`` of str, where rows belong to several; else None.
    """

    def __init__(self, store: Store, entry: Mapping[str, Any]) -> None:
        self._store, self._entry = store, entry
        self.uid: str = entry["unit_uid"]
        self.video_uid: str = entry["video_uid"]
        self.clip_uid: str | None = entry.get("clip_uid")
        self.query_id: str | None = entry.get("query_id")
        self.split: str | None = entry.get("split")
        self.path = store.path / entry["file"]

    def __len__(self) -> int:
        return self._entry["rows"]

    def __repr__(self) -> str:
        return f"<egofx.Unit {self.uid}: {len(self)} rows of {self._entry['dim']}>"

    def _column(self, name: str) -> Any:
        return self._columns.get(name)

    features: np.ndarray = property(lambda self: self._column("features"))  # type: ignore[assignment]
    start_sec: np.ndarray = property(lambda self: self._column("start_sec"))  # type: ignore[assignment]
    end_sec: np.ndarray = property(lambda self: self._column("end_sec"))  # type: ignore[assignment]
    first_frame: np.ndarray = property(lambda self: self._column("first_frame"))  # type: ignore[assignment]
    last_frame: np.ndarray = property(lambda self: self._column("last_frame"))  # type: ignore[assignment]
    padded: np.ndarray = property(lambda self: self._column("padded"))  # type: ignore[assignment]
    missing: np.ndarray = property(lambda self: self._column("missing"))  # type: ignore[assignment]

    @property
    def clip_uids(self) -> np.ndarray | None:
        """The clip of each row, where they differ."""
        return None if self.clip_uid is not None else self._column("clip_uid")

    @property
    def query_ids(self) -> np.ndarray | None:
        """The query of each row, where they differ."""
        return None if self.query_id is not None else self._column("query_id")

    def rows_of(self, clip_uid: str | None = None, query_id: str | None = None) -> np.ndarray:
        """The numbers of the rows of a clip and a query; of a unit that belongs to one of them, all."""
        chosen = np.ones(len(self), dtype=bool)
        for names, wanted in ((self.clip_uids, clip_uid), (self.query_ids, query_id)):
            if names is not None and wanted is not None:
                chosen &= names == wanted
        return np.flatnonzero(chosen)

    def at(self, seconds: float) -> int:
        """The number of the row whose middle is nearest to a time of the video.

        Raises:
            ValueError: the rows have no times (sentences), or the time lies outside of all of them.
        """
        start, end = self._times()
        if not np.min(start) <= seconds < np.max(end):
            raise ValueError(f"{self.uid}: {seconds} s is outside of its rows, {np.min(start)} s to {np.max(end)} s")
        return int(np.argmin(np.abs((start + end) / 2 - seconds)))

    def between(self, start_sec: float, end_sec: float) -> np.ndarray:
        """The numbers of the rows that share time with ``[start_sec, end_sec)``: ``unit.features[unit.between(2, 5)]``."""
        start, end = self._times()
        return np.flatnonzero((start < end_sec) & (end > start_sec))

    def _times(self) -> tuple[np.ndarray, np.ndarray]:
        kind = self._store.contract.row_kind
        if len(self) == 0 or kind in ("query", "token"):
            raise ValueError(f"{self.uid}: its rows have no times ({kind})")
        return self.start_sec, self.end_sec

    def to_torch(self, rows: Any = slice(None)) -> Any:
        """The features of ``rows`` as a float32 tensor ``[rows, dim]`` of its own memory."""
        try:
            import torch
        except ImportError as error:
            raise ImportError("to_torch needs PyTorch: pip install torch") from error
        return torch.from_numpy(np.array(self.features[rows], dtype=np.float32))

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        """All columns of the file, which is small, read at once."""
        self._compare()
        read = {"hdf5": _read_hdf5, "parquet": _read_parquet}[self._store.contract.format]
        return read(self.path)

    def _compare(self) -> None:
        """Raises DamagedError unless the file is what the ledger says."""
        entry = self._entry
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            raise DamagedError(f"{self.path}: committed, but not there; run the same extraction again") from None
        if size != entry["bytes"]:
            raise DamagedError(f"{self.path}: expected {entry['bytes']} bytes, found {size}")
        if self._store._check:
            found = hashlib.sha256(self.path.read_bytes()).hexdigest()
            if found != entry["sha256"]:
                raise DamagedError(f"{self.path}: expected sha256 {entry['sha256']}, found {found}")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file of JSON; one without its newline is still being written."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            return
        try:
            yield json.loads(line)
        except ValueError as error:
            raise StoreError(f"{path}, line {number}: {error}") from error


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError("stores of HDF5 need h5py: pip install 'egofx[hdf5]'") from error
    # Without locks: a file system may have none, and a committed file is not written again.
    with h5py.File(path, "r", locking=False) as file:
        text = {"clip_uid", "query_id"}
        return {name: (data.asstr()[:] if name in text else data[:]) for name, data in file.items()}


def _read_parquet(path: Path) -> dict[str, np.ndarray]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("stores of Parquet need pyarrow: pip install 'egofx[parquet]'") from error
    table = pyarrow.parquet.read_table(path, memory_map=True)
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    arrays = {name: column.to_numpy(zero_copy_only=False) for name, column in columns.items() if name != "features"}
    features = columns["features"].flatten().to_numpy(zero_copy_only=False)
    return {**arrays, "features": features.reshape(len(table), columns["features"].type.list_size)}
