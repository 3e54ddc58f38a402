"""The batch rule: the oldest is always in, bounds hold, only like rows share a batch."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as some

from seatrial_serve.inference.pace import Pace
from seatrial_serve.scheduling.batch_rule import BatchRule


@dataclass(frozen=True)
class Ticket:
    count: int = 1
    shape: int = 0
    length: int = 1
    arrived_s: float = 0.0


tickets = some.lists(
    some.builds(Ticket, some.integers(1, 8), some.integers(0, 2), some.integers(1, 200)),
    min_size=1,
    max_size=40,
)
rules = some.builds(
    BatchRule,
    some.integers(1, 32),
    some.integers(0, 64),
    some.none() | some.integers(1, 3000),
    some.sampled_from([0.0, 0.1, 0.5, 1.0]),
    some.sampled_from([0, 0, 50, 400]),
)


@given(rules, tickets)
def test_a_batch_holds_the_oldest_and_only_its_kin_within_bounds(
    rule: BatchRule, waiting: list[Ticket]
) -> None:
    places = rule.take(waiting)
    batch = [waiting[place] for place in places]
    assert places == sorted(set(places))
    assert places[0] == 0
    assert len({ticket.shape for ticket in batch}) == 1
    if len(batch) > 1:
        rows, longest = (
            sum(ticket.count for ticket in batch),
            max(ticket.length for ticket in batch),
        )
        assert rows <= rule.most_rows
        assert (
            rows <= rule.max_rows or sum(ticket.count for ticket in waiting) >= 2 * rule.deep_rows
        )
        assert rule.max_cost is None or rows * longest <= rule.max_cost
        padding = rows * longest - sum(t.count * t.length for t in batch)
        assert padding <= max(rule.max_padding * rows * longest, rule.free_padding)


@given(rules, tickets)
def test_taking_again_and_again_takes_every_ticket_once(
    rule: BatchRule, waiting: list[Ticket]
) -> None:
    left = list(enumerate(waiting))
    seen = []
    while left:
        places = rule.take([ticket for _, ticket in left])
        seen += [left[place][0] for place in places]
        left = [item for place, item in enumerate(left) if place not in set(places)]
    assert sorted(seen) == list(range(len(waiting)))


def test_rows_of_one_length_fill_a_batch() -> None:
    assert BatchRule(max_rows=4).take([Ticket()] * 9) == [0, 1, 2, 3]


def test_where_many_wait_a_batch_holds_more() -> None:
    rule = BatchRule(max_rows=2, deep_rows=4)
    assert rule.take([Ticket()] * 7) == [0, 1]
    assert rule.take([Ticket()] * 8) == [0, 1, 2, 3]
    assert rule.take([Ticket(count=3), Ticket(count=3), Ticket(count=2)]) == [0]


def test_neighbours_in_length_go_together() -> None:
    waiting = [
        Ticket(length=100),
        Ticket(length=5),
        Ticket(length=98),
        Ticket(length=6),
        Ticket(length=101),
    ]
    assert BatchRule(max_rows=8, max_padding=0.1).take(waiting) == [0, 2, 4]


def test_unlike_lengths_go_together_where_their_padding_costs_less_than_another_batch() -> None:
    waiting = [Ticket(length=100), Ticket(length=5), Ticket(length=60), Ticket(length=90)]
    assert BatchRule(max_rows=8, free_padding=49).take(waiting) == [0, 3]
    assert BatchRule(max_rows=8, free_padding=50).take(waiting) == [0, 2, 3]
    assert BatchRule(max_rows=8, free_padding=145).take(waiting) == [0, 1, 2, 3]


def test_what_a_batch_costs_before_its_first_row_is_what_padding_may_cost() -> None:
    card = {1: 0.00202, 32: 0.00264}  # 2 ms, and 2 us for each token of ten
    processor = {1: 0.01, 32: 0.32}  # 10 ms a row
    assert Pace(card, length=10).free_cost == pytest.approx(1000, rel=0.01)
    assert Pace(processor, length=10).free_cost == 0
    assert Pace({1: 0.002, 2: 0.001}).free_cost == 0


def test_the_wait_ends_when_full_or_when_the_oldest_has_waited_long_enough() -> None:
    rule = BatchRule(max_rows=4, max_wait_s=0.5)
    assert rule.wait_s([Ticket(arrived_s=1.0)], now_s=1.2) == pytest.approx(0.3)
    assert rule.wait_s([Ticket(arrived_s=1.0)] * 4, now_s=1.2) == 0
    assert rule.wait_s([Ticket(arrived_s=1.0)], now_s=2.0) == 0
    assert BatchRule().wait_s([Ticket()], now_s=0) == 0


def test_a_batch_is_the_smallest_that_pays_and_larger_where_many_alike_wait() -> None:
    seconds = {
        1: 1.0,
        2: 1.95,
        4: 3.8,
        8: 7.55,
        16: 15.1,
    }  # rows a second: 1, 1.026, 1.053, 1.060, 1.060
    assert (Pace(seconds).best_rows, Pace(seconds).fastest_rows) == (2, 4)
    assert (Pace(seconds, length=9).best_rows, Pace(seconds, length=9).fastest_rows) == (2, 2)
