"""How much memory this process has needed."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def peak_memory_mb() -> float | None:
    """The most memory this process has had so far, in MiB; None where the system does not say (Windows)."""
    try:
        # Linux counts what the parent had into `ru_maxrss` of a new process, so its own record is asked first.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
        if found:
            return round(int(found[1]) / 2**10, 1)
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
