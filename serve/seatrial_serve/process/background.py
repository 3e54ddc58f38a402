"""Work that nobody waits for: a thread of its own does it, one piece after another.

If too much waits already, a piece is passed over.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger("seatrial.aside")
Work = TypeVar("Work")


class BackgroundWorker(Generic[Work]):
    """Calls `do` in the thread with each piece that was offered.

    What `do` raises is logged as a bug.
    """

    def __init__(self, name: str, do: Callable[[Work], None], kept: int) -> None:
        self._do, self._waiting = do, queue.Queue[Work | None](kept)
        threading.Thread(target=self._work, name=f"seatrial-{name}", daemon=True).start()

    def offer(self, work: Work) -> bool:
        """Have it done, unless as many pieces wait as may: is it going to be? Never waits."""
        try:
            self._waiting.put_nowait(work)
        except queue.Full:
            return False
        return True

    def _work(self) -> None:
        while True:
            work = self._waiting.get()
            if work is None:
                return
            try:
                self._do(work)
            except Exception:  # the next piece is another one's
                log.exception("work aside failed; this is a bug in seatrial")
            finally:
                del work  # it may hold a model, and the next piece may be long in coming
                self._waiting.task_done()

    def wait_idle(self, within_s: float) -> bool:
        """Wait until all is done, but not for longer: is it?"""
        done = self._waiting.all_tasks_done
        with done:
            return done.wait_for(lambda: not self._waiting.unfinished_tasks, within_s)

    def close(self, within_s: float) -> None:
        """Let what waits be done and end the thread, but wait no longer for it."""
        if self.wait_idle(within_s):
            self._waiting.put(None)
