"""Prints, as JSON, how long a run of a tiny model takes from Python, in microseconds: the median of many."""

import json
import statistics
import sys
import time

import numpy as np
from support import MLP

import trine


def main() -> None:
    session = trine.InferenceSession(MLP, threads=1)
    feed = {"x": np.full((1, 64), 0.5, np.float32)}
    times = []
    for _ in range(int(sys.argv[1])):
        start = time.perf_counter_ns()
        session.run(None, feed)
        times.append(time.perf_counter_ns() - start)
    print(json.dumps({"median": statistics.median(times) / 1000, "least": min(times) / 1000}))


if __name__ == "__main__":
    main()
