"""Verdicts on byte vectors: each expectation follows from the encodings of the Intel SDM."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import TEXT, make_image

from torov.errors import RewriteError
from torov.loader.image import PF_R, PF_W, PF_X, Image, Section, Segment
from torov.rewrite.plan import KEEP, OUT, Kept, Plan, Site, Verdict, plan

SOURCES = [".eh_frame", ".eh_frame_hdr", ".symtab", ".gopclntab"]
SYSCALL = bytes.fromhex("0f05")
RET = b"\xc3"
RESTORER = bytes.fromhex("48c7c00f0000000f05")


def whole(text: bytes, source: str = ".eh_frame", flags: int = PF_R | PF_X) -> Plan:
    """Plan code that is one known function."""
    return plan(make_image(text, [(0, len(text))], source, flags))


def only(made: Plan) -> Site:
    (site,) = made.sites
    return site


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "code",
    [
        "c7 44 24 b8 10 00 00 00 0f 05 c3",  # movl $0x10,-0x48(%rsp); reads as mov $imm,%eax from inside
        "41 b8 01 00 00 00 0f 05 c3",  # mov $1,%r8d
        "b8 50 00 00 00 eb 05 b8 51 00 00 00 0f 05 c3",  # two values of eax reach one syscall
        "0f 05",  # a function that is nothing else
    ],
)
def test_confirmed(source: str, code: str) -> None:
    text = bytes.fromhex(code)
    site = only(whole(text, source))
    assert (site.verdict, site.kept, site.new) == (Verdict.CONFIRMED, None, bytes.fromhex("e710"))
    assert (site.vaddr, site.function, site.section) == (TEXT + text.index(SYSCALL), TEXT, ".text")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "code",
    [
        "b8 0f 05 00 00 c3",  # mov $0x50f,%eax
        "e8 00 0f 05 00 c3",  # call
        "0f 84 0f 05 00 00 c3",  # je
        "66 0f f5 2d 0f 05 11 01 c3",  # pmaddwd 0x111050f(%rip),%xmm5
        "48 b8 00 00 00 00 00 00 0f 05 c3",  # movabs
        "b0 0f 05 01 00 00 00 c3",  # mov $0xf,%al; add $1,%eax: the pair lies across two instructions
    ],
)
def test_embedded(source: str, code: str) -> None:
    site = only(whole(bytes.fromhex(code), source))
    assert (site.verdict, site.kept, site.new) == (Verdict.EMBEDDED, Kept.VERDICT, None)


@pytest.mark.parametrize("prefix", ["48", "66", "f3", "f2", "2e"])
def test_prefixed_form_is_kept(prefix: str) -> None:
    made = whole(bytes.fromhex(f"31 c0 {prefix} 0f 05 c3"))
    site = only(made)
    assert (site.verdict, site.kept) == (Verdict.CONFIRMED, Kept.PREFIXED)
    assert made.traps() == [(site.vaddr, KEEP)]


def test_lock_before_syscall_is_no_instruction() -> None:
    assert only(whole(bytes.fromhex("31 c0 f0 48 0f 05 c3"))).verdict is Verdict.AMBIGUOUS  # SDM: LOCK, #UD


def test_signal_restorer_is_kept_and_never_to_be_patched() -> None:
    made = whole(RESTORER)
    assert only(made).kept is Kept.RESTORER
    assert made.traps() == [(TEXT + 7, KEEP)]
    assert made.patched() == []


def test_unproven_signal_restorer_is_never_to_be_patched_either() -> None:
    made = plan(make_image(b"\x06" + RESTORER))
    assert (only(made).verdict, only(made).kept) == (Verdict.AMBIGUOUS, Kept.RESTORER)
    assert made.traps() == [(TEXT + 8, KEEP)]


def test_similar_mov_is_patched() -> None:
    assert only(whole(bytes.fromhex("48c7c00e0000000f05"))).new == OUT  # 14, rt_sigprocmask


def test_writable_code_is_kept() -> None:
    made = whole(SYSCALL + RET, flags=PF_R | PF_W | PF_X)
    assert (only(made).verdict, only(made).kept) == (Verdict.CONFIRMED, Kept.WRITABLE)
    assert made.traps() == [(TEXT, KEEP)]


def test_bytes_that_a_writable_segment_maps_too_are_kept() -> None:
    base = make_image(SYSCALL + RET, [(0, 3)])
    second = Segment(0x700000, 0x100, 0x1000, 3, PF_R | PF_W)
    image = Image(base.path, base.data, pie=False, entry=TEXT, phdr=0, phentsize=56, phnum=3,
                  segments=(*base.segments, second), sections=base.sections)
    assert only(plan(image)).kept is Kept.WRITABLE


def test_bytes_mapped_twice_are_kept() -> None:
    base = make_image(SYSCALL + RET, [(0, 3)])
    second = Segment(0x700000, 0x100, 0x1000, 3, PF_R)
    image = Image(base.path, base.data, pie=False, entry=TEXT, phdr=0, phentsize=56, phnum=3,
                  segments=(*base.segments, second), sections=base.sections)
    assert only(plan(image)).kept is Kept.SHARED


def test_function_that_ends_at_the_syscall() -> None:
    # glibc's clone: the FDE ends before the syscall. What stands behind is another function's.
    text = bytes.fromhex("b8 38 00 00 00 0f 05 c3 90 90")
    assert only(plan(make_image(text, [(0, 5), (8, 10)]))).verdict is Verdict.CONFIRMED


def test_bytes_behind_a_function_that_returns_are_not_confirmed() -> None:
    text = bytes.fromhex("31 c0 90 90 c3 0f 05 06 06 06")
    site = only(plan(make_image(text, [(0, 5)])))
    assert (site.verdict, site.function) == (Verdict.AMBIGUOUS, None)


def test_bad_instruction_before_it() -> None:
    # 06 is no instruction in 64-bit mode (SDM volume 2, appendix A, opcode map).
    assert only(whole(bytes.fromhex("06 0f 05 c3"))).verdict is Verdict.AMBIGUOUS


def test_instruction_across_the_end_of_the_function() -> None:
    text = bytes.fromhex("90 b8 0f 05 00 00 c3")
    site = only(plan(make_image(text, [(0, 3)])))
    assert site.verdict is Verdict.AMBIGUOUS
    assert site.reason.startswith("an instruction crosses the function's end")


def test_clean_gap_and_its_switch() -> None:
    image = make_image(bytes.fromhex("55 48 89 e5 b8 27 00 00 00 0f 05 5d c3"))
    made = plan(image)
    assert (only(made).verdict, only(made).new) == (Verdict.CLEAN_GAP, OUT)
    off = plan(image, clean_gap=False)
    assert (only(off).verdict, only(off).kept, only(off).new) == (Verdict.CLEAN_GAP, Kept.SWITCHED_OFF, None)
    assert off.traps() == [(TEXT + 9, int(Verdict.CLEAN_GAP))]


def test_gap_with_a_table_of_data_is_ambiguous() -> None:
    # as GHC's info tables: data (no instructions) between two pieces of code
    text = bytes.fromhex("55 48 89 e5 c3 06 07 0e 16 17 b8 27 00 00 00 0f 05 5d c3")
    site = only(plan(make_image(text)))
    assert site.verdict is Verdict.AMBIGUOUS
    assert "0x401000 to 0x401013 does not decode as a whole" in site.reason


def test_gap_must_land_on_the_next_function() -> None:
    # b8 takes four bytes more, so the decode of the gap runs over the start of the function at 8
    text = bytes.fromhex("31 c0 0f 05 90 b8 00 00 90 90 90 90 c3")
    site = only(plan(make_image(text, [(8, 13)])))
    assert site.verdict is Verdict.AMBIGUOUS
    assert "0x401000 to 0x401008 does not decode as a whole" in site.reason


def test_gap_without_consensus_is_ambiguous_and_an_anchored_site_needs_none() -> None:
    # movabs swallows what would be movl $imm32,disp32(%rbp,%rax): streams that start there pass the syscall.
    text = bytes.fromhex("48 b8") + bytes.fromhex("c7 84 05 c7 84 05 48 b8") + bytes.fromhex("0f 05 c3")
    text += bytes.fromhex("90") * 16
    site = only(plan(make_image(text)))
    assert site.verdict is Verdict.AMBIGUOUS
    assert "consensus only 0.10" in site.reason  # of ten streams the true one lands
    assert only(whole(text)).verdict is Verdict.CONFIRMED


def test_no_section_table() -> None:
    made = plan(make_image(SYSCALL + RET, [(0, 3)], sections=False))
    assert only(made).verdict is Verdict.AMBIGUOUS
    assert made.traps() == [(TEXT, int(Verdict.AMBIGUOUS))]


def test_data_in_an_executable_segment_can_trap_and_other_data_cannot() -> None:
    base = make_image(SYSCALL + RET, [(0, 3)])
    data = base.data[:0x800] + SYSCALL + base.data[0x802:] + SYSCALL
    segments = (Segment(0x400000, 0x1003, 0, 0x1003, PF_R | PF_X), *base.segments[1:])
    image = Image(base.path, data, pie=False, entry=TEXT, phdr=0, phentsize=56, phnum=2,
                  segments=segments, sections=base.sections)
    made = plan(image)
    assert [(s.vaddr, s.verdict, s.executable) for s in made.sites] == [
        (0x400800, Verdict.DATA, True), (TEXT, Verdict.CONFIRMED, True), (None, Verdict.DATA, False)]
    assert made.traps() == [(0x400800, int(Verdict.DATA))]


def test_executable_section_outside_executable_segments_is_data() -> None:
    assert only(whole(SYSCALL + RET, flags=PF_R)).verdict is Verdict.DATA


def test_pair_across_the_end_of_a_section() -> None:
    base = make_image(bytes.fromhex("90 0f 05 c3"))
    first = Section(".init", TEXT, 0x1000, 2, 6, 1)
    second = Section(".text", TEXT + 2, 0x1002, 2, 6, 1)
    image = Image(base.path, base.data, pie=False, entry=TEXT, phdr=0, phentsize=56, phnum=1,
                  segments=base.segments, sections=(first, second))
    assert (only(plan(image)).verdict, only(plan(image)).new) == (Verdict.AMBIGUOUS, None)


def test_patched_bytes_change_the_sites_only_and_refuse_another_file() -> None:
    image = make_image(bytes.fromhex("b8 0f 05 00 00 0f 05 c3"), [(0, 8)])
    made = plan(image)
    body = made.patched_bytes(image.data)
    assert body[0x1000:0x1008] == bytes.fromhex("b8 0f 05 00 00 e7 10 c3")
    assert body[:0x1000] + body[0x1008:] == image.data[:0x1000] + image.data[0x1008:]
    with pytest.raises(RewriteError, match=r"0x401005: the plan is for another file"):
        made.patched_bytes(body)


def test_more_pairs_than_any_program() -> None:
    with pytest.raises(RewriteError, match="more than 200000 pairs 0f 05"):
        plan(make_image(SYSCALL * 200_001))


# Instructions with their encodings by the SDM: bytes before a field, size of the field, bytes behind it.
FIELDS = [
    ("b8", 4, ""), ("41b8", 4, ""), ("48b8", 8, ""), ("66b8", 2, ""), ("b0", 1, ""),  # mov $imm
    ("c74424b8", 4, ""), ("488b85", 4, ""), ("488d05", 4, ""), ("48c7c0", 4, ""), ("0fb605", 4, ""),
    ("e8", 4, ""), ("e9", 4, ""), ("0f84", 4, ""), ("eb", 1, ""), ("74", 1, ""),  # branches
    ("05", 4, ""), ("3d", 4, ""), ("a9", 4, ""), ("68", 4, ""), ("6a", 1, ""), ("81c0", 4, ""),
    ("83c0", 1, ""),
    ("660ff52d", 4, ""), ("f30f6f05", 4, ""), ("c5fd6f05", 4, ""), ("62f17c481005", 4, ""),
    ("90", 0, ""), ("c3", 0, ""), ("4889e5", 0, ""), ("0f0b", 0, ""), ("f30f1efa", 0, ""),
    ("0f1f4000", 0, ""), ("698005000000", 4, ""), ("480fbae0", 1, ""),
]  # fmt: skip
FIELD = st.one_of(st.just(bytes.fromhex("0f050f050f050f05")), st.just(bytes.fromhex("050f050f050f050f")),
                  st.binary(min_size=8, max_size=8))
INSTRUCTION = st.one_of(
    st.builds(lambda form, field: bytes.fromhex(form[0]) + field[:form[1]] + bytes.fromhex(form[2]),
              st.sampled_from(FIELDS), FIELD),
    st.just(SYSCALL))


@settings(max_examples=300, deadline=None)
@given(st.lists(INSTRUCTION, min_size=1, max_size=60), st.sampled_from(SOURCES))
def test_only_whole_instructions_are_patched(stream: list[bytes], source: str) -> None:
    """In a known function the verdicts are exactly what the stream was built of."""
    text, true = b"", set()
    for instruction in stream:
        if instruction == SYSCALL:
            true.add(TEXT + len(text))
        text += instruction
    made = whole(text, source)
    judged = {s.vaddr: s for s in made.sites if s.section}
    assert {a for a, s in judged.items() if s.verdict is Verdict.CONFIRMED} == true
    assert all(s.verdict is Verdict.EMBEDDED for a, s in judged.items() if a not in true)
    restorers = {a for a in true if text[:a - TEXT].endswith(RESTORER[:-2])}
    assert set(made.patched()) == true - restorers


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=300), st.binary(max_size=300),
       st.sampled_from([".eh_frame", ".eh_frame_hdr", ".symtab", ".gopclntab"]))
def test_hostile_tables_never_break_the_plan(text: bytes, frames: bytes, table: bytes, name: str) -> None:
    text = text + SYSCALL + text
    image = make_image(text, tables={".eh_frame": frames} | {name: table})
    made = plan(image)
    pairs = [i for i in range(len(image.data) - 1) if image.data[i:i + 2] == SYSCALL]
    assert [s.offset for s in made.sites] == pairs
    assert all(0x1000 <= s.offset <= 0x1000 + len(text) - 2 for s in made.sites if s.new)
