"""Tables answer with the neighbours of an address, also when their entries are in no order."""

from __future__ import annotations

from synthetic import TEXT

from torov.rewrite.tables import LazyTable, SortedTable


def test_unsorted_lazy_table_gives_no_wrong_order() -> None:
    starts = [TEXT + 90, TEXT + 10, TEXT + 50]
    table = LazyTable(3, starts.__getitem__, lambda i: starts[i] + 5)
    for addr in range(TEXT, TEXT + 100):
        here, after = table.around(addr)
        assert here is None or here[0] <= addr
        assert after is None or after > addr


def test_sorted_table_keeps_the_longer_of_two() -> None:
    assert SortedTable([(5, 9), (5, 7), (20, 30)]).around(6) == ((5, 9), 20)


def test_lazy_table_and_sorted_table_agree() -> None:
    functions = [(TEXT + 10, TEXT + 20), (TEXT + 20, TEXT + 25), (TEXT + 40, TEXT + 41)]
    lazy = LazyTable(3, lambda i: functions[i][0], lambda i: functions[i][1])
    listed = SortedTable(functions[::-1])
    for addr in range(TEXT, TEXT + 50):
        assert lazy.around(addr) == listed.around(addr)
    assert lazy.around(TEXT + 30) == ((TEXT + 20, TEXT + 25), TEXT + 40)


def test_lazy_table_leaves_out_an_entry_that_does_not_hold() -> None:
    assert LazyTable(1, lambda _: TEXT, lambda _: None).around(TEXT) == (None, None)
