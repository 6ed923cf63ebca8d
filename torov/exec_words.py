"""The words of ``torov exec``: read without argparse (7 ms), since they are on the path of every start."""

from __future__ import annotations

from torov.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from torov.tracing.options import Tracing


class ExecWords:
    """The words of ``torov exec``, read.

    Args:
        words: options, the program, options, and what stands behind ``--``.
        options: long name, the name of its value or "" (in brackets if it may be left out), and what it does.

    Fields:
        file, args: the program and its arguments; called: its argv[0], where that is not the path; given: options by their long
            names; trace: what is traced, if that is known.

    Raises:
        UsageError: an option that is not there.
    """

    __slots__ = ("_options", "args", "called", "file", "given", "trace")

    def __init__(self, words: list[str], options: Sequence[tuple[str, str, str]]) -> None:
        self._options = options
        self.file: str | None = None
        self.args: list[str] = []
        self.given: dict[str, str] = {}
        self.trace: Tracing | None = None
        self.called: str | None = None
        valued = {name: value for name, value, _ in options}
        rest = iter(words)
        for word in rest:
            if word == "--":
                self.args = list(rest)
                if self.file is None and self.args:
                    self.file = self.args.pop(0)
                break
            name, equals, value = word.partition("=")
            name = {"-h": "--help", "-q": "--quiet", "-p": "--policy"}.get(name, name)
            if name in valued:
                if valued[name].startswith("["):
                    pass  # the value may be left out
                elif valued[name] and not equals:
                    value = next(rest, "")
                    if not value:
                        raise UsageError(f"{name} needs a value: {name} {valued[name]}")
                elif equals and not valued[name]:
                    raise UsageError(f"{name} takes no value")
                self.given[name] = value
            elif self.file is None and not (word.startswith("-") and len(word) > 1):
                self.file = word
            else:
                raise self._stray(word, list(rest))

    def _stray(self, word: str, rest: list[str]) -> UsageError:
        if self.file is None:
            import difflib

            near = difflib.get_close_matches(word, [name for name, _, _ in self._options], 1)
            hint = f"did you mean {near[0]}?" if near else "see torov exec --help"
            return UsageError(f"{word}: no such option of torov exec; {hint}")
        import shlex

        line = shlex.join(["torov", "exec", self.file, "--", word, *(w for w in rest if w != "--")])
        kind = "is no option of torov exec" if word.startswith("-") else "belongs to the program"
        return UsageError(f"{word} {kind}; what is the program's comes after --, as: {line}")
