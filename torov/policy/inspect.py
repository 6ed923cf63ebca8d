"""Looking at a policy: what a call's steps are, which of them decide, what can never be reached, how two policies differ."""

from __future__ import annotations

from torov.policy import args
from torov.policy.compile import ALWAYS, alternatives, guarded, own, reaches, steps_of
from torov.policy.evaluate import Subject, holds
from torov.policy.model import ADDR, ALLOW, ALLOWED, ANY, LOG, PATH, RANGE, REFUSING, Address, Cond, Rule, Step
from torov.policy.pattern import covers
from torov.syscalls import CALLS, DENY, Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.policy.source import Source


def steps(source: Source, call: Call) -> list[Step]:
    """What becomes of a call, in order; the last step has no conditions."""
    return [Step(None, (), ALLOWED)] if call.name in ALWAYS else steps_of(call, source.rules, source.default)


def why(source: Source, call: Call, step: Step) -> str:
    """Where a step comes from, as a person reads it."""
    if step.rule is not None:
        return source.rules[step.rule].label
    if call.name in ALWAYS:
        return "always allowed: a program needs it to end or to go on"
    if call.serve == DENY:
        return f"not served: {call.why}"
    if guarded(call) and step.action == own(call) and (source.default is None or source.default.kind not in REFUSING):
        return f"refused unless a rule names it: {call.why}"
    return f"the default of {source.file}"


def conditions(step: Step) -> str:
    """The conditions of a step on one line."""
    return " and ".join(cond.text for cond in step.conds)


class Known:
    """What is known of a call's arguments.

    Fields:
        subject: the call, with what is not known left 0.
        registers: registers that are known.
        fields: offsets of fields that are known.
        paths: registers of paths that are known.
        address: the socket address is known.
    """

    __slots__ = ("address", "fields", "paths", "registers", "subject")

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.registers: set[int] = set()
        self.fields: set[int] = set()
        self.paths: set[int] = set()
        self.address = False

    def holds(self, step: Step) -> bool | None:
        """Whether a step's conditions hold; None if that depends on what is not known."""
        answers = [holds(cond, self.subject) if self._knows(cond) else None for cond in step.conds]
        if False in answers:
            return False
        return None if None in answers else True

    def _knows(self, cond: Cond) -> bool:
        if cond.op == PATH:
            return cond.arg in self.paths
        if cond.op == ADDR:
            return self.address
        return cond.field in self.fields if cond.width else cond.arg in self.registers


class Finding:
    """What is wrong with a rule, or worth knowing.

    Fields:
        kind: "dead" (no call can reach it), "allows nothing", "part dead" (some of its calls cannot).
        rule: the rule.
        text: a clause that says why.
    """

    __slots__ = ("kind", "rule", "text")

    def __init__(self, kind: str, rule: Rule, text: str) -> None:
        self.kind, self.rule, self.text = kind, rule, text


def findings(source: Source) -> list[Finding]:
    """Rules that have no effect, in the order of the rules."""
    live: dict[int, set[str]] = {}
    shadows: dict[int, dict[str, int]] = {}
    for call in CALLS:
        if call.name not in ALWAYS:
            _look(source.rules, call, live, shadows)
    found = []
    for index, rule in enumerate(source.rules):
        if rule.literal:
            continue
        reached = [call for call in CALLS if reaches(rule, call) and call.name not in ALWAYS]
        alive, dead = live.get(index, set()), shadows.get(index, {})
        if not alive:
            found.append(Finding("dead", rule, _dead(source.rules, rule, reached, dead)))
            continue
        if rule.action.kind in (ALLOW, LOG) and all(call.serve == DENY for call in reached if call.name in alive):
            found.append(Finding("allows nothing", rule, "torov serves none of its calls, and no policy can allow them"))
        lost = sorted(name for name in dead if name in rule.names and name not in alive)
        if lost:
            by = sorted({source.rules[dead[name]].label for name in lost})
            found.append(Finding("part dead", rule, f"{_some(lost)}: decided before, by {'; '.join(by[:3])}"))
    return found


def _look(rules: list[Rule], call: Call, live: dict[int, set[str]], shadows: dict[int, dict[str, int]]) -> None:
    """Note which rules a call can reach, and which rule stands before the others."""
    before: list[tuple[int, tuple[Cond, ...]]] = []
    for index, rule in enumerate(rules):
        if not reaches(rule, call):
            continue
        for conds in alternatives(rule, call):
            if _impossible(conds):
                continue
            by = next((other for other, wider in before if all(_implied(cond, conds) for cond in wider)), None)
            if by is None:
                live.setdefault(index, set()).add(call.name)
                before.append((index, conds))
            elif by != index:
                shadows.setdefault(index, {})[call.name] = by


def _dead(rules: list[Rule], rule: Rule, reached: list[Call], dead: dict[str, int]) -> str:
    if not reached:
        if any(call.name in rule.names | rule.grouped and call.name not in ALWAYS for call in CALLS):
            return "its calls change the host, and a group does not allow them: name them"
        return "its calls are always allowed"
    if not dead:
        return "its conditions can never hold"
    by = sorted({rules[index].label for index in dead.values()})
    return f"its calls are decided before, by {'; '.join(by[:3])}{'; ...' if len(by) > 3 else ''}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _implied(wide: Cond, conds: tuple[Cond, ...]) -> bool:
    """Whether a condition surely holds wherever others do; False if in doubt."""
    return any(wide.target() == cond.target() and (wide.key() == cond.key() or _covers(wide, cond)) for cond in conds)


def _covers(wide: Cond, narrow: Cond) -> bool:
    if wide.op == PATH:
        if wide.negate != narrow.negate:
            return False
        outer, inner = (narrow, wide) if wide.negate else (wide, narrow)
        texts = [value for value in outer.values if isinstance(value, bytes)]
        return all(any(covers(one, value) for one in texts) for value in inner.values if isinstance(value, bytes))
    if wide.op == ADDR:
        keys = {value.key() for value in wide.values if isinstance(value, Address)}
        return not wide.negate and not narrow.negate and {v.key() for v in narrow.values if isinstance(v, Address)} <= keys
    values = _values(narrow)
    if values is not None and narrow.mask & wide.mask == wide.mask:
        return all(_within(wide, value & wide.mask) for value in values)
    if wide.mask != narrow.mask or wide.op != RANGE or narrow.op != RANGE or wide.negate or narrow.negate:
        return False
    return wide.lo <= narrow.lo and narrow.hi <= wide.hi


def _values(cond: Cond) -> tuple[int, ...] | None:
    """The only values that a condition lets through; None if there are others."""
    if cond.negate:
        return None
    if cond.op == ANY:
        return tuple(value for value in cond.values if isinstance(value, int))
    return (cond.lo,) if cond.lo == cond.hi else None


def _within(cond: Cond, value: int) -> bool:
    inside = cond.lo <= value <= cond.hi if cond.op == RANGE else value in cond.values
    return inside != cond.negate


def _impossible(conds: tuple[Cond, ...]) -> bool:
    """Whether conditions surely contradict each other."""
    for cond in conds:
        if cond.op == RANGE and cond.lo > cond.hi and not cond.negate:
            return True
        values = _values(cond) if cond.op < PATH else None
        if values is None:
            continue
        for other in conds:
            if other.op < PATH and other.target() == cond.target() and other.mask & cond.mask == other.mask:
                values = tuple(value for value in values if _within(other, value & other.mask))
        if not values:
            return True
    return False


class Change:
    """Calls for which two policies decide differently, and alike among themselves.

    Fields:
        calls: their names.
        before, after: lines, one a step: conditions and action.
    """

    __slots__ = ("after", "before", "calls")

    def __init__(self, calls: list[str], before: list[str], after: list[str]) -> None:
        self.calls, self.before, self.after = calls, before, after


def differences(one: Source, other: Source) -> list[Change]:
    """The calls that two policies treat differently, those with the same change together."""
    found: dict[tuple[object, ...], Change] = {}
    for call in CALLS:
        first, second = _shortest(steps(one, call)), _shortest(steps(other, call))
        key = (tuple(_key(step) for step in first), tuple(_key(step) for step in second))
        if key[0] == key[1]:
            continue
        texts = [_line(step) for step in first], [_line(step) for step in second]
        found.setdefault((key, str(texts)), Change([], *texts)).calls.append(call.name)
    return list(found.values())


def _key(step: Step) -> tuple[object, ...]:
    return tuple(sorted(repr(cond.key()) for cond in step.conds)), step.action.key()


def _shortest(steps: list[Step]) -> list[Step]:
    """Steps without those that decide nothing: never reached, or followed by their like only."""
    kept: list[Step] = []
    for step in steps:
        if not _impossible(step.conds) and not any(all(_implied(cond, step.conds) for cond in before.conds) for before in kept):
            kept.append(step)
    while len(kept) > 1 and kept[-2].action == kept[-1].action:
        del kept[-2]
    return kept


def _line(step: Step) -> str:
    return f"{step.action} if {conditions(step)}" if step.conds else str(step.action)


def settings_changed(one: Source, other: Source) -> list[tuple[str, object, object]]:
    """Settings besides the rules that differ: name, then what each policy says."""
    names = (
        "strict", "limits", "environment", "arguments", "root", "mounts", "network", "namespaces", "hostname", "user",
        "delegates", "debug", "trace", "binary", "startaddr",
    )  # fmt: skip
    pairs = [(name, getattr(one.settings, name), getattr(other.settings, name)) for name in names]
    return [pair for pair in pairs if (pair[1] or None) != (pair[2] or None)]


def path_registers(call: Call) -> dict[str, int]:
    """The paths of a call by name."""
    return {call.args[at].name: at for at in args.paths(call)}
