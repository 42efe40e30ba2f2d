"""Memory that arrays give back stays with the process, so that the next arrays need not ask the system for it.

A compiled program on CPU asks for the memory of its intermediate values at each call. glibc returns blocks above 32 MB
to the system, so each call faults their pages in again: 1.8 µs for 4 kB, first written with zeros. Kept, a training
step of a small transformer takes 0.8 of the time, and so does the gradient of an LSTM over 128 examples; programs that
need less than 32 MB gain nothing (`python -m experiments bench transformer lstm-128x50x128x256`, without and with
`--keep-memory`).
"""

import ctypes
import sys

__all__ = ["keep_memory"]

# Of glibc's malloc.h, with what to set them to: no block by itself from the system; nothing given back from the end of
# the heap; one heap for all threads, since each would keep what it needed at most in one of its own.
_SETTINGS = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_ARENA_MAX": (-8, 1)}


def keep_memory() -> bool:
    """Lets this process keep the memory that it has freed, until it ends. Call it before the first array.

    The process then holds its peak memory, of all its libraries: leave it out where memory is shared with others.

    Returns:
      True where glibc took the settings, so on most Linux; another allocator that is loaded before it does not read
      them. False elsewhere.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(*setting) == 1 for setting in _SETTINGS.values())
