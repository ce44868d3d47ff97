"""Writes episodes.parquet as LeRobot 3.0 writes meta/episodes/chunk-000/file-000.parquet (`_flush_metadata_buffer` in
src/lerobot/datasets/dataset_metadata.py): tables of pyarrow with the columns of `save_episode`, by snappy, with dictionaries.

    pip install pyarrow==26.0.1 && python make.py
"""

import pyarrow as pa
import pyarrow.parquet as pq

KEY = "videos/observation.images.top"

# Episode, tasks, frames, file, first and last second: three episodes of 25 frames a second in the first MP4, one in the second.
EPISODES = [
    (0, ["pick up the cube"], 24, 0, 0.0, 0.96),
    (1, ["pick up the cube", "open the drawer"], 16, 0, 0.96, 1.6),
    (2, [], 20, 0, 1.6, 2.4000000000000004),
    (3, ["open the drawer"], 18, 1, 0.0, 0.72),
]


def rows(episodes):
    first = sum(episode[2] for episode in EPISODES[: episodes[0][0]])
    lengths = [episode[2] for episode in episodes]
    starts = [first + sum(lengths[:k]) for k in range(len(episodes))]
    return {
        "episode_index": [episode[0] for episode in episodes],
        "tasks": pa.array([episode[1] for episode in episodes], pa.list_(pa.string())),
        "length": lengths,
        "data/chunk_index": [0] * len(episodes),
        "data/file_index": [0] * len(episodes),
        "dataset_from_index": starts,
        "dataset_to_index": [start + length for start, length in zip(starts, lengths)],
        f"{KEY}/chunk_index": [0] * len(episodes),
        f"{KEY}/file_index": [episode[3] for episode in episodes],
        f"{KEY}/from_timestamp": [episode[4] for episode in episodes],
        f"{KEY}/to_timestamp": [episode[5] for episode in episodes],
        "stats/action/min": [[0.0, -1.0]] * len(episodes),
        "stats/observation.images.top/mean": [[[[0.5]], [[0.25]], [[0.125]]]] * len(episodes),
        "meta/episodes/chunk_index": [0] * len(episodes),
        "meta/episodes/file_index": [0] * len(episodes),
    }


# The writer is fed a buffer of episodes at a time, each a row group.
tables = [pa.Table.from_pydict(rows(EPISODES[:3])), pa.Table.from_pydict(rows(EPISODES[3:]))]
with pq.ParquetWriter("episodes.parquet", schema=tables[0].schema, compression="snappy", use_dictionary=True) as writer:
    for table in tables:
        writer.write_table(table)
