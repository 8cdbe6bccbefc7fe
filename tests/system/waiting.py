"""Waiting for what must come: poll with a deadline, never sleep for a fixed time."""

import time

STEP = 0.005
DEADLINE = 20.0  # seconds; generous, because a sanitizer makes everything ten times slower


class NotInTime(AssertionError):
    pass


def wait_until(what, attempt, seconds=DEADLINE):
    """Calls attempt() until it returns something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        result = attempt()
        if result:
            return result
        if time.monotonic() > end:
            raise NotInTime(f"not within {seconds} s: {what} (last: {result!r})")
        time.sleep(STEP)
