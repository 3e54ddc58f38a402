"""Calls that may hang, in threads that hold up neither the caller's stop nor the process's end."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
AT_ONCE = 8


def call_each(
    do: Callable[[Item], Result], items: Sequence[Item], at_once: int = AT_ONCE
) -> list[Result]:
    """Call `do` with each item, up to `at_once` beside each other; return the results in order.

    Raises what the first item raised that raised anything, once all calls have ended.
    """
    if len(items) < 2:
        return [do(item) for item in items]
    left = queue.SimpleQueue[int]()
    for place in range(len(items)):
        left.put(place)
    results: dict[int, Result] = {}
    errors: dict[int, BaseException] = {}

    def work() -> None:
        with suppress(queue.Empty):
            while True:
                place = left.get_nowait()
                try:
                    results[place] = do(items[place])
                except BaseException as error:  # raised again by the caller's thread
                    errors[place] = error

    threads = [start(work) for _ in range(min(at_once, len(items)))]
    for thread in threads:
        thread.join()
    if errors:
        raise errors[min(errors)]
    return [results[place] for place in range(len(items))]


async def in_daemon(do: Callable[[], Result]) -> Result:
    """Await a blocking call. If the awaiting task is cancelled, the call goes on by itself."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, fault = None, None
        try:
            result = do()
        except BaseException as error:  # raised again by whoever awaits
            fault = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, fault)

    start(work)
    return await future


def start(work: Callable[[], None]) -> threading.Thread:
    """A daemon thread that runs."""
    thread = threading.Thread(target=work, name="seatrial-look", daemon=True)
    thread.start()
    return thread
