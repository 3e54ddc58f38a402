"""Background work: done in order by a thread of its own, and ended with its owner.

If too much waits, work is passed over.
"""

from __future__ import annotations

import logging
import threading

import pytest

from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.observers.observer import tell_observers
from seatrial_serve.process.background import BackgroundWorker
from seatrial_serve.process.token_bucket import TokenBucket


def test_what_does_not_fit_the_queue_is_passed_over() -> None:
    free, done = threading.Event(), list[int]()

    def do(work: int) -> None:
        free.wait(10)
        done.append(work)

    aside = BackgroundWorker[int]("test", do, 2)
    taken = [work for work in range(10) if aside.offer(work)]
    assert 2 <= len(taken) <= 3, "two wait, and one may be under way"
    assert not aside.wait_idle(0)
    free.set()
    assert aside.wait_idle(10)
    assert done == taken
    aside.close(10)


def test_a_piece_that_fails_is_logged_and_the_next_one_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = list[float]()
    aside = BackgroundWorker[int]("test", lambda work: done.append(1 / work), 8)
    for work in (1, 0, 2):
        aside.offer(work)
    assert aside.wait_idle(10)
    assert done == [1.0, 0.5]
    assert "work aside failed" in caplog.text
    aside.close(10)


def test_a_closed_one_leaves_no_thread() -> None:
    aside = BackgroundWorker[int]("gone", lambda _: None, 1)
    (thread,) = [each for each in threading.enumerate() if each.name == "seatrial-gone"]
    aside.close(10)
    thread.join(10)
    assert not thread.is_alive()


def test_an_observer_that_fails_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    told = list[str]()

    class Fails:
        def ended(self, record: RequestRecord) -> None:
            raise ValueError

    class Works:
        def ended(self, record: RequestRecord) -> None:
            told.append(record.request_id)

    with caplog.at_level(logging.ERROR):
        tell_observers([Fails(), Works()], [RequestRecord("r1", "/", 0.0)])
    assert told == ["r1"]
    assert "an observer failed" in caplog.text


def test_a_rate_lets_so_many_through_and_one_after_a_long_pause_however_low_it_is() -> None:
    times = [0.0]
    twice, seldom, never = (TokenBucket(per_s, lambda: times[-1]) for per_s in (2.0, 0.01, 0.0))
    assert [rate.take() for rate in (twice, twice, twice, seldom, seldom, never)] == [
        True,
        True,
        False,
        True,
        False,
        False,
    ]
    times.append(1.0)
    assert [rate.take() for rate in (twice, twice, twice, seldom)] == [True, True, False, False]
    times.append(101.0)
    assert [rate.take() for rate in (twice, seldom, seldom, never)] == [True, True, False, False]
