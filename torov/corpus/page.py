"""A run as one HTML page that needs nothing else. The only importer of jinja2.

Everything that programs have written is hostile: jinja2 escapes all text, control characters are shown as escapes, and the page's
own Content-Security-Policy lets no other script, style, image or address in.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torov.corpus import results
from torov.errors import TorovError
from torov.loader.files import write_output

_SCRIPT = """\
const words = document.getElementById("words"), cases = [...document.querySelectorAll("details.case")];
const kinds = [...document.querySelectorAll("input[name=kind]")];
function show() {
  const on = new Set(kinds.filter(k => k.checked).map(k => k.value)), text = words.value.toLowerCase().split(/\\s+/);
  for (const c of cases) c.hidden = !on.has(c.dataset.outcome) || !text.every(t => c.dataset.words.includes(t));
}
words.addEventListener("input", show);
kinds.forEach(k => k.addEventListener("change", show));
if (location.hash) { const at = document.getElementById(decodeURIComponent(location.hash.slice(1))); if (at) at.open = true; }
"""


def needed() -> None:
    """Import it now, before a long run.

    Raises:
        TorovError: it is not installed.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise TorovError("--html needs jinja2: pip install 'torov[corpus]'") from None


def page(document: Mapping[str, Any]) -> str:
    """The page of a run.

    Args:
        document: results.document(), with ``changes`` if it was compared with an earlier run.
    """
    import jinja2
    import markupsafe

    def finalize(value: Any) -> Any:
        """Whatever is put into the page: no control characters, but in what the page itself brings."""
        return value if isinstance(value, markupsafe.Markup) else results.printable(str(value), "\t\n")

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, finalize=finalize, trim_blocks=True,
                                     lstrip_blocks=True, loader=jinja2.FileSystemLoader(Path(__file__).parent))  # fmt: skip
    environment.filters.update({"seconds": _seconds, "diff": _diff})
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    cases = sorted(document["cases"], key=lambda row: (results.OUTCOMES.index(row["outcome"]), row["name"]))
    return environment.get_template("page.html").render(
        run=document, cases=cases, outcomes=[name for name in results.OUTCOMES if name in document["counts"]],
        families=results.by_binary(document["cases"]), plot=_plot(document["cases"]), script=_SCRIPT, digest=digest,
        plans={row["binary"]: row for row in document["binaries"]})  # fmt: skip


def write(path: str, document: Mapping[str, Any]) -> None:
    """Write the page.

    Args:
        path: of the file.
        document: as page().

    Raises:
        TorovError: it cannot be written.
    """
    text = page(document)
    try:
        write_output(path, text.encode(errors="backslashreplace"))
    except OSError as error:
        raise TorovError(f"{path}: {error.strerror}") from None


def _seconds(value: float | None) -> str:
    """``12.3 ms``, ``4.56 s``, or nothing."""
    if value is None:
        return ""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def _diff(text: str) -> list[tuple[str, str]]:
    """Lines of a diff with the class that colours each."""
    kinds = {"-": "native", "+": "torov", "@": "place"}
    return [(kinds.get(line[:1], ""), line) for line in text.split("\n")]


def _plot(rows: Any) -> dict[str, Any]:
    """Ratios of each binary on a common logarithmic scale, as percentages of its width."""
    known = [row for row in rows if row.get("ratio")]
    if not known:
        return {"ticks": [], "rows": []}
    low = min(0.5, *(row["ratio"] for row in known))
    high = max(2.0, *(row["ratio"] for row in known))
    wide = math.log(high / low)

    def at(ratio: float) -> float:
        return round(2 + 96 * math.log(ratio / low) / wide, 2)

    ticks = [value for power in range(-3, 5) for value in (10.0**power, 3 * 10.0**power) if low <= value <= high]
    lines = []
    for row in results.by_binary(known):
        dots = [{"at": at(case["ratio"]), "name": case["name"], "ratio": case["ratio"], "outcome": case["outcome"]}
                for case in known if case["binary"] == row["binary"]]  # fmt: skip
        lines.append({"name": row["binary"], "median": at(row["ratio"]), "ratio": row["ratio"], "dots": dots})
    return {
        "ticks": [{"at": at(value), "text": f"{value:g}", "kind": "minor" if "3" in f"{value:g}" else ""} for value in ticks],
        "one": at(1.0),
        "rows": lines,
    }
