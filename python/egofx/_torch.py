"""Features for PyTorch's loaders."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ._store import Store


class TorchDataset:
    """Pairs of features and annotation, for ``torch.utils.data.DataLoader``.

    Item ``i`` is ``(features, annotation)``: a float32 tensor ``[rows, dim]`` and the mapping ``annotations[i]`` as it was
    given. No file stays open between items, so workers of any start method can share a dataset.

    Args:
        store: what the features are read from.
        annotations: a sequence of mappings, a pandas DataFrame, or the path of a table (``.csv``, as ``egofx manifest`` writes
            them, or ``.json`` with a list). Each names its unit by ``unit_uid``, ``clip_uid`` or ``video_uid``, the first of
            these that is one; where a unit holds the rows of several clips or queries, those of the annotation's
            ``clip_uid`` and ``query_id`` are taken.

    Raises:
        KeyError: an annotation whose unit is not in the store; all such are counted.
    """

    def __init__(self, store: Store, annotations: Any) -> None:
        self.store = store
        self.annotations = _mappings(annotations)
        units = [_unit(store, annotation) for annotation in self.annotations]
        absent = [annotation for annotation, unit in zip(self.annotations, units) if unit is None]
        if absent:
            raise KeyError(
                f"{len(absent)} of {len(units)} annotations have no features in {store.path}, the first is {dict(absent[0])}"
            )
        self._units = [unit for unit in units if unit is not None]

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, item: int) -> tuple[Any, Mapping[str, Any]]:
        annotation = self.annotations[item]
        unit = self.store[self._units[item]]
        rows = unit.rows_of(clip_uid=annotation.get("clip_uid"), query_id=annotation.get("query_id"))
        return unit.to_torch(rows), annotation


def _mappings(annotations: Any) -> Sequence[Mapping[str, Any]]:
    if isinstance(annotations, (str, os.PathLike)):
        path = os.fspath(annotations)
        with open(path, encoding="utf-8", newline="") as file:
            if path.endswith(".csv"):
                return list(csv.DictReader(file))
            found = json.load(file)
        if not isinstance(found, list):
            raise ValueError(f"{path}: expected a list of annotations, found {type(found).__name__}")
        return found
    if hasattr(annotations, "to_dict"):
        return annotations.to_dict("records")
    return list(annotations)


def _unit(store: Store, annotation: Mapping[str, Any]) -> str | None:
    names = (annotation.get(key) for key in ("unit_uid", "query_id", "clip_uid", "video_uid"))
    return next((name for name in names if isinstance(name, str) and name in store), None)
