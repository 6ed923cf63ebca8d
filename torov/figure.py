"""The histogram of ``torov profile`` as a picture. The only importer of matplotlib."""

from __future__ import annotations

from torov.errors import TorovError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from torov.profile import Histogram, Subject

_COLOURS = ("#3b6ea8", "#c8702a")


def needed() -> None:
    """Import it now, before hours of measuring.

    Raises:
        TorovError: it is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise TorovError("a PNG needs matplotlib: pip install 'torov[png]'") from None


def histograms(subjects: Sequence[Subject], made: Sequence[Histogram], path: str) -> Any:
    """Draw one histogram for each subject, below each other, its median as a line; on one scale where they are alike.

    Args:
        subjects: measured ones.
        made: of their totals.
        path: of the PNG.

    Returns:
        The figure: for each subject axes, whose patches are the bars.

    Raises:
        UsageError: it cannot be written.
    """
    needed()
    import statistics
    from io import BytesIO

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from torov.loader.files import write_output

    figure = Figure(figsize=(9, 1.5 + 3.5 * len(made)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    medians = [statistics.median(subject.total) / 1e6 for subject in subjects]
    places = figure.subplots(len(made), 1, sharex=max(medians) < 3 * min(medians), squeeze=False)[:, 0]
    for axes, subject, one, median, colour in zip(places, subjects, made, medians, _COLOURS, strict=False):
        edges = [edge / 1e6 for edge in one.edges]
        axes.bar(edges[:-1], one.counts, edges[1] - edges[0], align="edge", color=colour, edgecolor="white", linewidth=0.4)
        axes.axvline(median, color="black", linestyle="--", linewidth=1, label=f"median {median:.3f} ms")
        axes.set_title(f"{subject.name}: {len(subject.total)} runs")
        axes.set_xlabel("milliseconds from start to end" + (" (last bar: and all above)" if one.open else ""))
        axes.set_ylabel("runs")
        axes.legend()
    made_of = BytesIO()
    figure.savefig(made_of, format="png")
    try:
        write_output(path, made_of.getvalue())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    return figure
