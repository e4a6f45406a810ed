"""How the scripts that run in a peer's own process time it."""

import statistics
import time
from collections.abc import Callable

# At most so many runs to warm up: one that takes longer than the time asked for is enough.
WARM_UP = 3
# At least so many runs to take the median of, however long they take.
FEWEST = 3


def measured(run: Callable[[], object], seconds: float) -> dict[str, float]:
    """Medians and minima of runs, with the keys of `trine bench --json`."""
    begin = time.perf_counter()
    for _ in range(WARM_UP):
        run()
        if time.perf_counter() - begin > seconds:
            break
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < FEWEST or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return {"median_s": statistics.median(times), "min_s": min(times)}
