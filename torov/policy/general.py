"""From what one run did to what the next one may do: patterns of paths, networks and ports.

Two runs of a program never name quite the same files: temporary names, process numbers, the fourth file of a directory.
Everything here widens with care: a directory that programs share (``/etc``, a home) is never opened as a whole, and files seen
alone stay exact.
"""

from __future__ import annotations

import re

FEW = 4
"""So many files of one directory stand for the whole directory."""
MANY = 16
"""So many entries of a shared directory that were only looked at: it was listed."""
_DEEP = 3
"""Subdirectories of which the same holds stand for the whole tree."""

_SYSTEM = (
    "/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /usr/bin /usr/lib "
    "/usr/local /usr/local/bin /usr/sbin /usr/share /var /var/lib /var/log /var/run /var/spool /var/tmp"
)
_SHARED = frozenset(_SYSTEM.split())
"""Directories that belong to no program: what is in them is named file by file."""
_HOME = re.compile(r"/home/[^/]+|/root")
_PRIVATE = re.compile(r"/(?:home/[^/]+|root)/\.[^/]+|/etc/[^/]+")
_TEMPORARY = re.compile(r"(?:/tmp|/var/tmp|/dev/shm|/run/user/\d+)$")

_HEX = re.compile(r"[0-9a-f]{16,}|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_LIBRARY = re.compile(r"(.+?\.so)(?:\.\d+)+$|(.+?)-\d[\d.]*\.so$")
_NUMBER = re.compile(r"\d+")
_SPECIAL = re.compile(r"([*?\[\]{},\\])")


def quote(text: str) -> str:
    """A path as a pattern that matches only it."""
    return _SPECIAL.sub(r"\\\1", text)


def literal(pattern: str) -> str | None:
    """The path of a pattern that quote() made; None for one that matches more."""
    bare = re.sub(r"\\.", "", pattern)
    return None if re.search(r"[*?\[{]", bare) else re.sub(r"\\(.)", r"\1", pattern)


def patterns(paths: set[str], look: bool = False, drawn: frozenset[str] = frozenset()) -> list[str]:
    """Patterns for the paths that a program used.

    Args:
        paths: absolute and resolved.
        look: their contents were not read: of a shared directory that was listed, all entries may be looked at.
        drawn: those that were created as no file before was (O_EXCL): among temporary files their names were drawn.

    Returns:
        patterns that match each of them, sorted.
    """
    single: dict[str, set[str]] = {}
    found: set[str] = set()
    for path in paths:
        made = _known(path, path in drawn)
        if made is not None:
            found.add(made)
        else:
            directory, _, name = path.rpartition("/")
            single.setdefault(directory or "/", set()).add(name)
    whole = set()
    for directory, names in single.items():
        if not shared(directory) and len(names) >= FEW:
            whole.add(directory)
        elif look and len(names) >= MANY and directory != "/":
            found.add(f"{quote(directory)}/*")
        else:
            found.update(_siblings(directory, names))
    found |= {f"{quote(directory)}/**" for directory in _trees(whole, set(single))}
    covered = [pattern.removesuffix("**") for pattern in found if pattern.endswith("/**")]
    found |= {f"{quote(directory)}/*" for directory in whole if not quote(directory + "/").startswith(tuple(covered))}
    return sorted(without_covered(found))


def shared(directory: str) -> bool:
    """Whether a directory belongs to no program, so that what is in it is named one by one."""
    return directory in _SHARED or bool(_HOME.fullmatch(directory)) or bool(_TEMPORARY.fullmatch(directory))


def without_covered(found: set[str]) -> set[str]:
    """Leave out the patterns that another one surely matches."""
    from torov.policy.pattern import covers, expand

    made = {pattern: expand(pattern, anywhere=True) for pattern in found}
    wide = [pattern for pattern in found if literal(pattern) is None]

    def inside(one: str) -> bool:
        return any(
            other != one and all(any(covers(a, b) for a in made[other]) for b in made[one])
            and not (other > one and all(any(covers(a, b) for a in made[one]) for b in made[other]))
            for other in wide
        )  # fmt: skip

    return {pattern for pattern in found if not inside(pattern)}


def _known(path: str, drawn: bool) -> str | None:
    """The pattern of a path whose name is known to change from run to run, or None."""
    parts = path.split("/")[1:]
    made: list[str] = []
    changed = False
    for at, part in enumerate(parts):
        here = "/" + "/".join(parts[:at])
        new = quote(part)
        if _TEMPORARY.fullmatch(here):
            new = _temporary(part, drawn and at + 1 == len(parts))
            if new != quote(part) and at + 1 < len(parts):
                return "/".join(("", *made, new, "**"))
        elif part == "__pycache__" and at + 1 < len(parts):
            return "/".join(("", *made, part, "*"))
        elif made[:1] == ["proc"] and part.isdigit():
            new = "[0-9]*"
        elif made[:1] in (["dev"], ["sys"]) and at > 0 and _NUMBER.search(part):
            new = _NUMBER.sub("[0-9]*", new)
        elif _HEX.search(part):
            new = _HEX.sub("*", new)
        elif at + 1 == len(parts) and (library := _LIBRARY.fullmatch(part)):
            stem = library[1] or library[2]
            new = f"{quote(stem)}*" if library[1] else f"{quote(stem)}-*.so"
        changed = changed or new != quote(part)
        made.append(new)
    return "/" + "/".join(made) if changed else None


def _temporary(name: str, sure: bool = False) -> str:
    """A name in a directory for temporary files: what mkstemp(3) and its kin drew becomes ``?``, as many as there are."""
    if _HEX.search(name):
        return _HEX.sub("*", quote(name))
    words = name.split(".")
    made = [_drawn(word) for word in words]
    if sure:
        if re.fullmatch(r"cc[A-Za-z0-9]{6}(\.\w+)+", name):  # gcc's (make_temp_file(3) of libiberty), whatever was drawn
            return ".".join(("cc??????", *map(quote, words[1:])))
        at = max((at for at, word in enumerate(words) if re.search(r"\w{6}$", word)), default=-1)
        # a word of small letters is somebody's, but for Python's eight, which may well be that
        if at >= 0 and (not re.fullmatch("[a-z]+", words[at]) or (len(words) == 1 and len(name) == 8)):
            made[at] = _last_drawn(words[at])
    return ".".join(made)


def _last_drawn(word: str) -> str:
    """The end of a word was drawn for sure: what is behind its last dash, or behind a prefix that is known."""
    head, dash, tail = word.rpartition("-")
    for prefix, size in (("tmp", 8), ("cc", 6)):
        if tail.startswith(prefix) and len(tail) == len(prefix) + size and (size == 8 or not tail.islower()):
            return f"{quote(head + dash)}{prefix}{'?' * size}"
    return f"{quote(head + dash)}{'?' * len(tail)}"


def _drawn(word: str) -> str:
    """One word of such a name: ``cc`` and six letters, ``tmp`` and eight, a process number."""
    if re.fullmatch(r"tmp[a-z0-9_]{8}", word):
        return "tmp????????"
    if word[:2] == "cc" and len(word) == 8 and word[2:].isalnum() and not word.islower():
        return "cc??????"
    made_up = _made_up(word)
    if (counted := re.fullmatch(r"(\D*)\d{3,}", word)) and not (len(word) in _DRAWN and made_up):
        return f"{quote(counted[1])}[0-9]*"
    # no part of what was drawn may stay: the whole word before a prefix of it
    if len(word) in _DRAWN and (made_up or (len(word) == 8 and re.fullmatch(r"[a-z0-9_]*[\d_][a-z0-9_]*", word))):
        return "?" * len(word)
    for size in _DRAWN:
        head, tail = word[:-size], word[-size:]
        if head and _made_up(tail) and not re.search(r"[A-Z0-9]", head):
            return f"{quote(head)}{'?' * size}"
    return _NUMBER.sub("[0-9]*", quote(word)) if re.search(r"\d{3,}", word) else quote(word)


_DRAWN = (6, 8, 10, 12)
"""How many letters are drawn: by mkstemp(3), by tempfile of Python, by mktemp(1), by others."""


def _made_up(word: str) -> bool:
    """Whether a word looks as if a program had drawn its letters: digits among them, or capitals in the middle."""
    if not re.fullmatch(r"[A-Za-z0-9_]{6,}", word):
        return False
    digits = sum(char.isdigit() for char in word)
    if digits == len(word) or (digits and not word.rstrip("0123456789").isalpha()):
        return True
    inner = [char.isupper() for char in word[1:]]
    return any(inner) and not all(inner) and not re.fullmatch(r"(?:[A-Z]?[a-z]{2,})+", word)


def _siblings(directory: str, names: set[str]) -> set[str]:
    """Files of one directory: exact, but for those that differ in their numbers only, and for libraries."""
    base = "" if directory == "/" else quote(directory)
    kinds: dict[str, set[str]] = {}
    for name in names:
        kinds.setdefault(_NUMBER.sub("\0", name), set()).add(name)
    found = set()
    for kind, alike in kinds.items():
        if len(alike) >= FEW - 1 and kind.strip("\0"):
            found.add(f"{base}/{quote(kind)}".replace("\0", "[0-9]*"))
        else:
            found.update(f"{base}/{quote(name)}" for name in alike)
    return found


def _trees(whole: set[str], used: set[str]) -> set[str]:
    """Directories of which so many subdirectories are open as a whole that the tree is."""
    roots: set[str] = set()
    counted: dict[str, set[str]] = {}
    for directory in whole:
        parts = directory.split("/")
        for at in range(3, len(parts)):
            counted.setdefault("/".join(parts[:at]), set()).add("/".join(parts[: at + 1]))
    for directory in sorted(counted):
        full = len(counted[directory]) >= _DEEP and directory.count("/") >= 2
        if full and not shared(directory) and not _PRIVATE.fullmatch(directory):
            roots.add(directory)
    return {root for root in roots if not any(root.startswith(other + "/") for other in roots)}


_LOCAL = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "224.0.0.0/4", "0.0.0.0/32"),
    *("::1/128", "::/128", "fe80::/10", "fc00::/7", "ff00::/8"),
)
EPHEMERAL = (32768, 60999)
"""The ports that Linux hands out by itself: ip_local_port_range in ip(7)."""


def network(address: str) -> str | None:
    """The network that stands for an address: this host, a private one; None for the rest, where names change addresses."""
    import ipaddress

    try:
        one = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(one, ipaddress.IPv6Address) and one.ipv4_mapped is not None:
        one = one.ipv4_mapped  # 4-in-6 addresses match networks of IPv4
    return next((text for text in _LOCAL if one in ipaddress.ip_network(text)), None)


def ports(seen: set[int]) -> list[int | list[int]]:
    """Ports: those that the kernel hands out as their range, others exactly; many become their span above 1023.

    Args:
        seen: at least one.
    """
    own = {port for port in seen if EPHEMERAL[0] <= port <= EPHEMERAL[1]}
    rest = sorted(seen - own)
    high = [port for port in rest if port > 1023]
    found: list[int | list[int]] = [port for port in rest if port < 1024]
    found += [[1024, 65535]] if len(high) > 2 * FEW else high
    return [*found, list(EPHEMERAL)] if own and [1024, 65535] not in found else found
