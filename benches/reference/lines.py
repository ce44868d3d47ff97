"""Requests as lines of JSON on stdin, their answers as lines of stdout.

Not for what they ask.
"""

import json
import sys


def serve(answer):
    """Answers until stdin ends; a request that fails is answered by {"error": ...}, and the asker decides what that means."""
    for line in sys.stdin:
        try:
            said = answer(**json.loads(line))
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


def save(rows, out):
    """Writes rows to the file `out`, if there is to be one."""
    if out:
        with open(out, "w", encoding="utf-8") as file:
            json.dump(rows.tolist(), file)
