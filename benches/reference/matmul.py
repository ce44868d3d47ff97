"""Times NumPy's product of the rows of a search index, in single precision, with 100 queries.

Not for search. Usage: matmul.py INDEX QUERIES; then prints seconds for each line on stdin. Queries are `[n, dim]` float32, bare bytes.
"""

import json
import sys
import time

import numpy as np

index, queries = sys.argv[1:]
with open(index, "rb") as file:
    header = json.loads(file.read(4096))
shape = header["rows"], header["stride"]
rows = np.memmap(index, "<f2", "r", 4096, shape)[:, : header["dim"]].astype(np.float32)
queries = np.fromfile(queries, np.float32).reshape(-1, header["dim"])
rows @ queries.T
print("ready", flush=True)
for _ in sys.stdin:
    started = time.perf_counter()
    scores = rows @ queries.T
    print(time.perf_counter() - started, flush=True)
    del scores
