"""A run as JUnit XML, for CI. The only importer of junitparser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from torov.corpus.results import printable
from torov.errors import TorovError
from torov.loader.files import write_output


def needed() -> None:
    """Import it now, before a long run.

    Raises:
        TorovError: it is not installed.
    """
    try:
        import junitparser  # noqa: F401
    except ImportError:
        raise TorovError("--junit needs junitparser: pip install 'torov[corpus]'") from None


def write(path: str, results: Sequence[Mapping[str, Any]], seconds: float) -> None:
    """Write a run.

    Args:
        path: of the file.
        results: of its cases.
        seconds: how long it took.

    Raises:
        TorovError: it cannot be written.
    """
    import junitparser

    xml: Any = junitparser.JUnitXml("torov corpus")
    suite: Any = junitparser.TestSuite("torov corpus")
    for row in results:
        family, _, name = row["name"].rpartition("/")
        case = junitparser.TestCase(printable(name), printable(family or "corpus"), round(row.get("seconds", 0), 3))
        texts = [printable(one["diff"], "\t\n") for one in row["differs"]]
        whats = ", ".join(one["what"] for one in row["differs"])
        if row["outcome"] in ("different", "fixed", "unstable"):
            failure = junitparser.Failure(printable(f"{row['outcome']}: {whats} {row['error']}".strip()), row["outcome"])
            failure.text = "\n\n".join(texts)
            case.result = [failure]
        elif row["outcome"] == "error":
            case.result = [junitparser.Error(printable(row["error"]), "error")]
        said = [f"outcome: {row['outcome']}, attempts: {row['attempts']}"]
        said += [f"attempt {one['attempt']}: {one['what']} differed\n{one['diff']}" for one in row["before"]]
        if row.get("ratio"):
            said.append(f"of native: {row['ratio']:.3f}")
        said += [f"{one['what']} differs, expected: {one['reason']}" for one in row["differs"] if one["reason"]]
        case.system_out = printable("\n".join(said), "\t\n")
        suite.add_testcase(case)
    suite.time = round(seconds, 3)
    xml.add_testsuite(suite)
    suite.update_statistics()
    xml.update_statistics()
    made = BytesIO()
    xml.write(made, pretty=True)
    try:
        write_output(path, made.getvalue())
    except OSError as error:
        raise TorovError(f"{path}: {error.strerror}") from None
