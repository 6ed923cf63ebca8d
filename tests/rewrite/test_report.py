"""The data of torov patch: summary, rows, document and diff of one small program."""

from __future__ import annotations

import hashlib
import json

from synthetic import TEXT, make_image

from torov.rewrite import report
from torov.rewrite.plan import plan

#      mov $0x50f,%eax     mov $39,%eax   syscall   mov %eax,%edi   jne -8   ret    (behind it: 06, no code)
CODE = bytes.fromhex("b8 0f 05 00 00  b8 27 00 00 00  0f 05  89 c7  75 f0  c3") + bytes.fromhex("06 0f 05")
IMAGE = make_image(CODE, [(0, 17)], ".symtab")
PLAN = plan(IMAGE)


def test_summary() -> None:
    found = report.summary(IMAGE, PLAN)
    assert found["file"] == "synthetic"
    assert found["size"] == len(IMAGE.data)
    assert found["sha256"] == hashlib.sha256(IMAGE.data).hexdigest()
    assert (found["sites"], found["patched"]) == (3, 1)
    assert found["verdicts"] == {"CONFIRMED": 1, "CLEAN_GAP": 0, "EMBEDDED": 1, "AMBIGUOUS": 1, "DATA": 0}
    assert found["kept"] == {
        "switched off": 0, "signal restorer": 0, "prefixed": 0, "writable": 0, "mapped twice": 0}


def test_rows() -> None:
    assert list(report.rows(IMAGE, PLAN)) == [
        report.Row("0x401001", ".text f0+0x1", "EMBEDDED", "keep", "in mov at 0x401000, function of .symtab"),
        report.Row("0x40100a", ".text f0+0xa", "CONFIRMED", "patch", "decoded from a function of .symtab"),
        report.Row("0x401012", ".text", "AMBIGUOUS", "keep",
                   "no function known, and 0x401011 to 0x401014 does not decode as a whole"),
    ]


def test_rows_say_why_a_syscall_is_kept() -> None:
    image = make_image(bytes.fromhex("48c7c00f0000000f05"), [(0, 9)])
    (row,) = report.rows(image, plan(image))
    assert (row.verdict, row.action) == ("CONFIRMED", "keep (signal restorer)")


def test_rows_leave_plain_data_out_unless_asked() -> None:
    image = make_image(b"\xc3", tables={".rodata": b"\x0f\x05"})
    assert list(report.rows(image, plan(image))) == []
    (row,) = report.rows(image, plan(image), data=True)
    assert (row.address, row.verdict) == ("0x600000", "DATA")


def test_document_is_plain_json() -> None:
    found = json.loads(json.dumps(report.document(IMAGE, PLAN)))
    assert found["format"] == "torov-patch-1"
    assert found["patched"] == 1
    assert found["plan"][1] == {
        "address": TEXT + 10, "offset": 0x100A, "section": ".text", "function": TEXT, "function_name": "f0",
        "verdict": "CONFIRMED", "reason": "decoded from a function of .symtab", "executable": True,
        "kept": None, "old": "0f 05", "new": "e7 10"}
    assert found["plan"][2]["function"] is None
    assert found["plan"][2]["new"] is None


def test_diff() -> None:
    lines = [" ".join(line.split()) for line in report.diff(IMAGE, PLAN)]
    assert lines == [
        "@@ 0x40100a .text f0+0xa @@",
        "0x401000 b8 0f 05 00 00 mov eax, 0x50f",
        "0x401005 b8 27 00 00 00 mov eax, 0x27",
        "- 0x40100a 0f 05 syscall",
        "+ 0x40100a e7 10 out 0x10, eax",
        "0x40100c 89 c7 mov edi, eax",
        "0x40100e 75 f0 jne 0x401000",
    ]


def test_diff_of_unanchored_code_shows_what_is_before_it() -> None:
    image = make_image(bytes.fromhex("55 48 89 e5 b8 27 00 00 00 0f 05 5d c3"))
    lines = [" ".join(line.split()) for line in report.diff(image, plan(image))]
    assert lines[0] == "@@ 0x401009 .text @@"
    assert lines[1:3] == ["0x401001 48 89 e5 mov rbp, rsp", "0x401004 b8 27 00 00 00 mov eax, 0x27"]
