"""The order of the tables, and the budget of a scan."""

from __future__ import annotations

from collections.abc import Iterator

from synthetic import TABLES, TEXT, eh_frame, make_image, make_tables

from torov.rewrite import scan as module
from torov.rewrite.regions import candidates, regions
from torov.rewrite.sites import OUT, SYSCALL, Verdict
from torov.rewrite.tables import SortedTable

CODE = bytes.fromhex("b8 01 00 00 00 0f 05 c3")


def test_symbols_are_read_only_if_pairs_are_left() -> None:
    image = make_image(CODE, [(0, 8)])
    read: list[str] = []

    def counted() -> Iterator[tuple[str, SortedTable]]:
        for name in ("first", "second"):
            read.append(name)
            yield name, SortedTable([(TEXT, TEXT + 8)])

    scan = module.Scan(image, SYSCALL, 0.66, 1 << 20)
    found = scan.run(regions(image)[0], candidates(image, SYSCALL), counted())
    assert found[0x1005].verdict is Verdict.CONFIRMED
    assert read == ["first"]


def test_symbols_anchor_what_the_unwind_tables_leave_out() -> None:
    # assembly without unwind information, as musl's clone: .eh_frame knows the function behind it only
    text = CODE + b"\x90" * 8 + CODE
    frames = {".eh_frame": eh_frame([(TEXT + 16, TEXT + 24)], TABLES)[0]}
    image = make_image(text, tables=frames | make_tables([(TEXT, TEXT + 8)], ".symtab"))
    found = module.scan(image, regions(image), candidates(image, SYSCALL))
    assert [found[at].verdict for at in (0x1005, 0x1015)] == [Verdict.CONFIRMED] * 2
    assert ".symtab" in found[0x1005].reason
    assert ".eh_frame" in found[0x1015].reason


def test_a_spent_budget_leaves_pairs_ambiguous() -> None:
    image = make_image(b"\x90" * 10_000 + CODE, [(0, 10_008)])
    pairs = candidates(image, SYSCALL)
    (found,) = module.scan(image, regions(image), pairs, budget=9_000).values()
    assert (found.verdict, found.reason) == (Verdict.AMBIGUOUS, "file too large to decode in bounded time")
    (found,) = module.scan(image, regions(image), pairs, budget=20_000).values()
    assert found.verdict is Verdict.CONFIRMED


def test_tables_that_contradict_each_other_are_not_believed_and_cost_no_time() -> None:
    # every entry of the search table points to an FDE of another function, so nothing says where one ends
    text = CODE * 2_000
    good = make_image(text, [(8 * i, 8 * i + 8) for i in range(2_000)], ".eh_frame_hdr")
    tables = {s.name: good.data[s.offset:s.offset + s.size] for s in good.sections[1:]}
    header = bytearray(tables[".eh_frame_hdr"])
    for i in range(2_000):
        header[12 + 8 * i + 4:12 + 8 * i + 8] = header[16:20]
    image = make_image(text, tables=tables | {".eh_frame_hdr": bytes(header)})
    found = module.scan(image, regions(image), candidates(image, SYSCALL), budget=400_000)
    reasons = [f.reason for f in found.values() if f.verdict is Verdict.AMBIGUOUS]
    assert reasons.count("the function tables contradict each other here") == len(reasons) == 1_998


def test_patched_code_is_judged_like_the_original() -> None:
    text = CODE + bytes.fromhex("b8 e7 10 00 00 c3")
    patched = make_image(text.replace(SYSCALL, OUT), [(0, 8), (8, 14)])
    found = module.scan(patched, regions(patched), candidates(patched, OUT), OUT)
    assert [found[at].verdict for at in (0x1005, 0x1009)] == [Verdict.CONFIRMED, Verdict.EMBEDDED]
