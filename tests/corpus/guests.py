"""Case files that tests write, with tiny guests that do what is asked of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torov.corpus import attempt
from torov.corpus.form import Case, read_cases

TELLING = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
/* A guest may not open its own memory by name: it would be the monitor's. */
static int by_torov(void) {
    char line[512];
    FILE *f = fopen("/proc/self/mem", "r");
    int denied = !f;
    if (f) fclose(f);
    return denied;
}
int main(int argc, char **argv) {
    int differs = by_torov() && argc > 1;
    if (differs && !strcmp(argv[1], "stdout")) puts("guest");
    else puts("native");
    fprintf(stderr, differs && !strcmp(argv[1], "stderr") ? "guest\\n" : "native\\n");
    if (differs && !strcmp(argv[1], "file")) fclose(fopen("left", "w"));
    if (differs && !strcmp(argv[1], "child") && !fork()) { setsid(); sleep(1000); _exit(0); }
    if (differs && !strcmp(argv[1], "hang")) sleep(1000);
    if (differs && !strcmp(argv[1], "crash")) { fflush(stdout); abort(); }
    return differs && !strcmp(argv[1], "status") ? 3 : 0;
}
"""


def write(where: Path, *cases: dict[str, Any], guest: str = TELLING, compiler: str = "static") -> Path:
    """A case file.

    Args:
        where: its directory.
        cases: members of each; the binary is the guest if none is named.
        guest, compiler: the source of the binary ``guest``.
    """
    parts = [f"[binary.guest]\nsource = 'compile'\ncompiler = '{compiler}'\ntext = {json.dumps(guest)}\n"]
    for case in cases:
        full = {"binary": "guest", **case} if "shell" not in case else case
        parts.append("[[case]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in full.items()))
    path = where / "cases.toml"
    path.write_text("\n".join(parts))
    return path


def toml(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value)


def ran(where: Path, case: dict[str, Any], **words: Any) -> dict[str, Any]:
    """The result of one case, without a trace if none is asked for."""
    (made,) = read_cases([write(where, case)])
    return attempt.attempt(made.document(), **{"trace": "none", **words})


def cases_of(where: Path, *cases: dict[str, Any]) -> list[Case]:
    """Some cases over the guest."""
    return read_cases([write(where, *cases)])
