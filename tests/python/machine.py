"""Which machine a measurement is of, and whether it was left alone."""

import os
import re
import time
from pathlib import Path

CPU = Path("/sys/devices/system/cpu")
# What decides which kernels an engine has.
FLAGS = ["avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512vbmi", "amx_int8"]


def machine() -> dict:
    text = Path("/proc/cpuinfo").read_text()
    flags = set(_first(r"^flags\s*: (.*)$", text).split())
    return {
        "cpu": _first(r"^model name\s*: (.*)$", text),
        "family, model, stepping": [_first(rf"^{key}\s*: (.*)$", text) for key in ("cpu family", "model", "stepping")],
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in FLAGS if flag in flags],
        "caches": dict(_caches()),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
    }


def described(machine: dict) -> str:
    """A machine in one line."""
    caches = ", ".join(f"{level} {size}" for level, size in machine["caches"].items())
    cores = f"{machine['cores']} core{'s' * (machine['cores'] > 1)} ({' '.join(machine['flags'])})"
    return f"{machine['cpu']}, {cores}, {caches}, {machine['memory_gib']} GiB"


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else "unknown"


def _caches():
    for index in sorted((CPU / "cpu0/cache").glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            yield f"L{level}", size


class Others:
    """Measures what part of the CPU time of the machine is taken by other processes than this one and its children."""

    def __init__(self):
        self._start = self._now()

    def share(self) -> float:
        """Since this was made, or since the last call; children count when they have ended."""
        start, self._start = self._start, self._now()
        wall, busy, own = (now - before for now, before in zip(self._start, start, strict=True))
        return max(0.0, busy - own) / (wall * os.cpu_count())

    @staticmethod
    def _now() -> tuple[float, float, float]:
        # user, nice, system, idle, iowait, irq, softirq, steal, of which guests are a part.
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        times = os.times()
        return time.monotonic(), busy, sum(times[:4])
