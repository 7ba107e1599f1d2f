from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mirror.compare import Comparison, Fingerprint, compare

objects = st.dictionaries(st.text(max_size=3), st.integers(0, 2))


def test_every_key_finds_its_list() -> None:
    a, b = Fingerprint("a" * 64, 1), Fingerprint("b" * 64, 1)
    wanted = {"same": a, "changed": a, "grown": a, "new": a}
    present = {"same": Fingerprint("a" * 64, 1), "changed": b, "grown": Fingerprint("a" * 64, 2), "old": a}
    assert compare(wanted, present) == Comparison(
        missing=("new",), differing=("changed", "grown"), matching=("same",), extraneous=("old",)
    )


@given(objects, objects)
def test_the_lists_are_sorted_and_share_nothing(wanted: dict[str, int], present: dict[str, int]) -> None:
    found = compare(wanted, present)
    lists = (found.missing, found.differing, found.matching, found.extraneous)
    assert sorted(key for each in lists for key in each) == sorted(wanted.keys() | present.keys())
    assert all(list(each) == sorted(each) for each in lists)


@given(objects, objects)
def test_acting_on_it_makes_both_the_same(wanted: dict[str, int], present: dict[str, int]) -> None:
    found = compare(wanted, present)
    after = {key: value for key, value in present.items() if key not in found.extraneous}
    after.update((key, wanted[key]) for key in (*found.missing, *found.differing))
    assert after == wanted
    assert compare(wanted, after).matching == tuple(sorted(wanted))
