"""Memory planning: arrays that are alive at the same time do not overlap, and memory is reused afterwards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from striate.passes.memory import ALIGNMENT, Life, lives, place

LIVES = st.lists(
    st.tuples(st.one_of(st.integers(0, 300), st.integers(3000, 20000)), st.integers(0, 12), st.integers(0, 6)).map(
        lambda drawn: Life(drawn[0], drawn[1], drawn[1] + drawn[2])
    ),
    max_size=25,
)


@given(LIVES)
def test_no_two_live_arrays_overlap(wanted: list[Life]) -> None:
    offsets, total = place(dict(enumerate(wanted)))
    assert offsets.keys() == set(range(len(wanted)))
    for i, one in enumerate(wanted):
        assert offsets[i] % ALIGNMENT == 0
        assert 0 <= offsets[i] <= offsets[i] + one.size <= total
        for j, other in enumerate(wanted[:i]):
            together = one.first <= other.last and other.first <= one.last
            apart = offsets[i] + one.size <= offsets[j] or offsets[j] + other.size <= offsets[i]
            assert apart or not together or not one.size or not other.size, (one, other)


@given(LIVES)
def test_placing_is_not_wasteful(wanted: list[Life]) -> None:
    """The arena is never larger than all arrays side by side (in whole pages for large arrays)."""
    _, total = place(dict(enumerate(wanted)))
    assert total <= sum(-(-life.size // 4096) * 4096 if life.size >= 4096 else 4096 for life in wanted)


def test_lives_reach_from_first_to_last_use() -> None:
    found = lives([["a", "b"], ["b", "c"], ["a"], ["d"]], {"a": 1, "b": 2, "c": 3})
    assert found == {"a": Life(1, 0, 2), "b": Life(2, 0, 1), "c": Life(3, 1, 1)}


@given(st.lists(st.integers(1, 20000), min_size=2, max_size=12))
def test_arrays_whose_lives_do_not_meet_share_their_bytes(sizes: list[int]) -> None:
    wanted = {place: Life(size, place, place) for place, size in enumerate(sizes)}
    offsets, total = place(wanted)
    assert set(offsets.values()) == {0}
    assert total == -(-max(sizes) // 4096) * 4096


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=12))
def test_an_array_lives_while_any_phase_touches_it(phases: list[list[int]]) -> None:
    found = lives(phases, dict.fromkeys(range(8), 1))
    for index, operands in enumerate(phases):
        for operand in operands:
            if operand in found:
                assert found[operand].first <= index <= found[operand].last
    assert set(found) == {operand for operands in phases for operand in operands if operand < 8}
    for operand, life in found.items():
        assert operand in phases[life.first]
        assert operand in phases[life.last]
