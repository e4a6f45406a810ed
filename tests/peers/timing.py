"""How the scripts that run in a peer's own process time it."""

import statistics
import time
from collections.abc import Callable

# Of runs that last longer than the time asked for one is enough, and so are a few for the median.
WARM_UP = 3
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
