from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from weavedns.records.table import Table

# More than there are parts, so that some share one.
NAMES = [b"n%d" % number for number in range(600)]
NAME = st.sampled_from(NAMES[:8] + NAMES[-8:])


def filled() -> Table[int]:
    table: Table[int] = Table()
    for value, name in enumerate(NAMES):
        table[name] = value
    return table


def test_a_name_is_found_until_it_is_taken_out() -> None:
    table = filled()
    assert table[b"n7"] == table.get(b"n7", -1) == 7
    assert sorted(table.values()) == list(range(len(NAMES)))
    assert table.pop(b"n7", -1) == 7
    assert table.pop(b"n7", -1) == table.get(b"n7", -1) == -1
    del table[b"n8"]
    assert len(list(table.values())) == len(NAMES) - 2


def test_draining_gives_each_name_once_and_leaves_nothing() -> None:
    table = filled()
    twin = table.copy()
    assert sorted(table.drain()) == sorted(zip(NAMES, range(len(NAMES)), strict=True))
    assert list(table.drain()) == []
    table[b"new"] = 1
    assert list(table.values()) == [1]
    assert sorted(twin.values()) == list(range(len(NAMES)))


def test_what_changes_while_a_copy_is_drained_does_not_show_in_it() -> None:
    table = filled()
    drawn = dict[bytes, int]()
    for name, value in table.copy().drain():
        drawn[name] = value
        table[name] = -1
        table.pop(NAMES[-1], 0)
    assert drawn == dict(zip(NAMES, range(len(NAMES)), strict=True))
    assert set(table.values()) == {-1}


class Copies(RuleBasedStateMachine):
    """Tables and copies of copies, each beside a dict that is copied whole."""

    tables: Bundle[tuple[Table[int], dict[bytes, int]]] = Bundle("tables")

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[Table[int], dict[bytes, int]]] = []

    def _keep(self, table: Table[int], model: dict[bytes, int]) -> tuple[Table[int], dict[bytes, int]]:
        self.pairs.append((table, model))
        return table, model

    @rule(target=tables)
    def begin(self) -> tuple[Table[int], dict[bytes, int]]:
        return self._keep(Table(), {})

    @rule(target=tables, pair=tables)
    def copy(self, pair: tuple[Table[int], dict[bytes, int]]) -> tuple[Table[int], dict[bytes, int]]:
        return self._keep(pair[0].copy(), pair[1].copy())

    @rule(pair=tables, name=NAME, value=st.integers(0, 9))
    def put(self, pair: tuple[Table[int], dict[bytes, int]], name: bytes, value: int) -> None:
        pair[0][name] = value
        pair[1][name] = value

    @rule(pair=tables, name=NAME)
    def take_out(self, pair: tuple[Table[int], dict[bytes, int]], name: bytes) -> None:
        assert pair[0].pop(name, -1) == pair[1].pop(name, -1)

    @rule(pair=tables)
    def drain(self, pair: tuple[Table[int], dict[bytes, int]]) -> None:
        assert dict(pair[0].drain()) == pair[1]
        pair[1].clear()

    @invariant()
    def each_table_holds_what_its_dict_does(self) -> None:
        for table, model in self.pairs:
            assert sorted(table.values()) == sorted(model.values())
            assert {name: table[name] for name in model} == model


TestCopies = Copies.TestCase
TestCopies.settings = settings(max_examples=50, stateful_step_count=30)
