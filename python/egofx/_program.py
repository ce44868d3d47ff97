"""The program that this package brings, and what it computes for Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any


class EvaluationError(ValueError):
    """The program refused predictions or annotations; the message is what it said."""


def program() -> str:
    """The path of the program ``egofx``: the one of this environment, else the one on the ``PATH``.

    Raises:
        FileNotFoundError: there is none.
    """
    schemes = ["posix_user"] if "posix_user" in sysconfig.get_scheme_names() else []
    folders = [sysconfig.get_path("scripts")] + [sysconfig.get_path("scripts", scheme) for scheme in schemes]
    # `pip install --target DIR` puts programs into DIR/bin, beside this package.
    folders.append(str(Path(__file__).resolve().parent.parent / "bin"))
    for folder in folders:
        path = os.path.join(folder, "egofx")
        if os.access(path, os.X_OK):
            return path
    found = shutil.which("egofx")
    if found is None:
        raise FileNotFoundError(f"no program egofx in {', '.join(folders)} nor on the PATH: pip install egofx")
    return found


def evaluate(benchmark: str, predictions: Any, annotations: Any = None, **options: Any) -> dict[str, Any]:
    """The official scores of ``predictions``, as ``egofx eval BENCHMARK --json`` gives them.

    Args:
        benchmark: ``"nlq"``, ``"mq"``, ``"qfvs"``, ``"egomcq"``, ``"mir"``, ``"charades"``, ``"oscc"``, ``"pnr"`` or
            ``"egotaskqa"``.
        predictions: the path of a submission, or the submission itself (what ``json.dump`` takes).
        annotations: likewise the truth, where the benchmark takes one file of it.
        options: further options of the command: ``split="val"``, ``allow_missing=True``, ``tags="Tags.mat"``.

    Raises:
        EvaluationError: what the program did not accept, in its words.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [program(), "eval", benchmark, "--json"]
        inputs = {"predictions": predictions, "annotations": annotations, **options}
        for name, value in inputs.items():
            option = "--" + name.replace("_", "-")
            if value is None or value is False:
                continue
            if value is True:
                command.append(option)
                continue
            if not isinstance(value, (str, os.PathLike)):
                written = os.path.join(folder, f"{name}.json")
                with open(written, "w", encoding="utf-8") as file:
                    json.dump(value, file)
                value = written
            command += [option, os.fspath(value)]
        ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        raise EvaluationError(ended.stderr.strip())
    return json.loads(ended.stdout)
