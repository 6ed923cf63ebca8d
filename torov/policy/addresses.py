"""Socket addresses in conditions: family, ports, networks, paths of Unix sockets."""

from __future__ import annotations

from torov.constants import number
from torov.policy.jsonfile import Place, show
from torov.policy.model import Address
from torov.policy.pattern import BadPattern, expand

UNIX, INET, INET6 = 1, 2, 10


def read_addresses(place: Place) -> tuple[list[Address], str]:
    """Read the value of "address".

    Args:
        place: an object, or an array of them: one of them must hold.

    Returns:
        The addresses, and how a person reads them.

    Raises:
        PolicyError: it breaks the form.
    """
    items = place.items() if isinstance(place.value, list) else [place]
    if not items:
        raise place.error("at least one address", "an empty array")
    found: list[Address] = []
    texts = []
    for item in items:
        addresses, text = _address(item)
        found += addresses
        texts.append(text)
    return found, " or ".join(texts)


def _address(place: Place) -> tuple[list[Address], str]:
    members = place.members("", "family port network path")
    if not members:
        raise place.error('one of "family", "port", "network", "path"', "an empty object")
    family = _family(members["family"]) if "family" in members else None
    text = " ".join(f"{key} {_shown(inside.value)}" for key, inside in members.items())
    for key, fits in (("port", (INET, INET6)), ("network", (INET, INET6)), ("path", (UNIX,))):
        if key in members and family is not None and family not in fits:
            wanted = "inet or inet6" if key != "path" else "unix"
            raise members[key].error(f'the family {wanted} with "{key}"', f"{show(members['family'].value)}")
    if "path" in members:
        if "port" in members or "network" in members:
            raise place.error("a path, or a port and a network", "both")
        return [Address(UNIX, paths=_paths(members["path"]))], text
    ports = _ports(members["port"]) if "port" in members else (0, 65535)
    if "network" in members:
        nets = members["network"]
        networks = [_network(item) for item in (nets.items() if isinstance(nets.value, list) else [nets])]
        if not networks:
            raise nets.error("at least one network", "an empty array")
        found = [
            Address(wanted, ports, kind, prefix, data)
            for kind, prefix, data in networks
            for wanted in ((INET, INET6) if kind == 4 else (INET6,))  # IPv4 in IPv6 is matched, too
            if family in (None, wanted)
        ]
        if not found:
            raise nets.error("a network of that family", show(nets.value))
        return found, text
    if "port" in members:
        return [Address(wanted, ports) for wanted in (INET, INET6) if family in (None, wanted)], text
    return [Address(0 if family is None else family)], text


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "-".join(map(str, value)) if value and isinstance(value[0], int) else ",".join(map(str, value))
    return str(value)


def _family(place: Place) -> int:
    value = place.value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 0xFFFF:
        return value
    word = place.text('a family, as "inet" or "AF_UNIX"').upper()
    found = number("family", word if word.startswith("AF_") else f"AF_{word}")
    if found is None:
        import difflib

        from torov.constants import names_of

        known = [name.removeprefix("AF_").lower() for name in names_of("family")]
        near = difflib.get_close_matches(str(value)[:64].lower().removeprefix("af_"), known, 1)
        raise place.error('a family, as "inet" or "AF_UNIX"', hint=near[0] if near else "")
    return found


def _ports(place: Place) -> tuple[int, int]:
    ends = place.items() if isinstance(place.value, list) else [place, place]
    if len(ends) != 2:
        raise place.error("a port, or an array of the lowest and the highest", f"an array of {len(ends)}")
    numbers = []
    for end in ends:
        if not isinstance(end.value, int) or isinstance(end.value, bool) or not 0 <= end.value <= 65535:
            raise end.error("a port, 0 to 65535")
        numbers.append(end.value)
    if numbers[0] > numbers[1]:
        raise place.error("the lowest port first", f"{numbers[0]} above {numbers[1]}")
    return numbers[0], numbers[1]


def _network(place: Place) -> tuple[int, int, bytes]:
    """Kind, bits and address of ``10.0.0.0/8``, ``::1``."""
    import socket

    expected = 'a network, as "10.0.0.0/8" or "fd00::/8"'
    text = place.text(expected)
    name, slash, bits = text.partition("/")
    kind = 6 if ":" in name else 4
    try:
        data = socket.inet_pton(socket.AF_INET6 if kind == 6 else socket.AF_INET, name)
    except (OSError, ValueError):
        raise place.error(expected) from None
    size = 8 * len(data)
    prefix = int(bits) if bits.isascii() and bits.isdecimal() and len(bits) < 4 else size if not slash else -1
    if not 0 <= prefix <= size:
        raise place.error(expected)
    value = int.from_bytes(data, "big")
    whole = value >> (size - prefix) << (size - prefix)
    if whole != value:
        family = socket.AF_INET6 if kind == 6 else socket.AF_INET
        raise place.error("a network without bits behind its prefix",
                          hint=f"{socket.inet_ntop(family, whole.to_bytes(size // 8, 'big'))}/{prefix}")  # fmt: skip
    return kind, prefix, data


def _paths(place: Place) -> tuple[bytes, ...]:
    items = place.items() if isinstance(place.value, list) else [place]
    if not items:
        raise place.error("at least one path", "an empty array")
    found: list[bytes] = []
    for item in items:
        expected = 'a pattern of socket paths, as "/run/*.sock" or "@name"'
        try:
            found += expand(item.text(expected), anywhere=True)
        except BadPattern as error:
            raise item.error(expected, str(error)) from None
    return tuple(found)
