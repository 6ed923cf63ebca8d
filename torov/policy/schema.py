"""The JSON Schema of our form (draft 2020-12), made from the tables: `python -m torov.policy.schema` writes schema.json.

The schema says what may stand where. It does not know which arguments a call has, what a pattern or an address may be in
every detail, or that a delegate is declared: the reader (form.py, where.py, settings.py) has the last word.
"""

from __future__ import annotations

import errno
import json
import os

from torov.policy.compile import MAX_CONDS
from torov.policy.settings import CAPABILITIES, MOST_DELEGATES, NAMESPACES, NETWORKS
from torov.syscalls import CALLS, GROUPS

Json = dict[str, object]

_COMMENT: Json = {"type": "string"}


def _object(properties: Json, required: tuple[str, ...] = (), **more: object) -> Json:
    made: Json = {"type": "object", "properties": {**properties, "comment": _COMMENT}, "additionalProperties": False}
    if required:
        made["required"] = list(required)
    return {**made, **more}


def _some(item: Json) -> Json:
    """One, or an array of at least one."""
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


def _ref(name: str) -> Json:
    return {"$ref": f"#/$defs/{name}"}


def _number(least: int, most: int) -> Json:
    return {"type": "integer", "minimum": least, "maximum": most}


_TEXT: Json = {"type": "string", "minLength": 1, "maxLength": 4096, "pattern": "^[^\\u0000]*$"}
_INNER: Json = {"type": "string", "pattern": "^/", "maxLength": 4096, "not": {"pattern": "(^|/)\\.\\.(/|$)|\\u0000"}}
_COUNT = _number(1, (1 << 31) - 1)
_SIZE: Json = {"anyOf": [_number(1, 1 << 62), {"type": "string", "pattern": "^0*[1-9][0-9]{0,14}[KMGT]?$", "maxLength": 16}]}
_TIME: Json = {"type": "string", "pattern": "^0*[1-9][0-9]*(ms|s|m|h)$", "maxLength": 14}
_VALUE: Json = {"anyOf": [_number(-(1 << 63), (1 << 64) - 1), {"type": "string", "minLength": 1}]}


def _conditions() -> Json:
    kinds: list[Json] = [
        {"required": ["arg", "is"]}, {"required": ["arg", "not"]}, {"required": ["arg", "range"]}, {"required": ["path"]},
        {"required": ["not-path"]}, {"required": ["address"]}, {"required": ["not-address"]},
    ]  # fmt: skip
    properties: Json = {
        "arg": {"type": "string"}, "is": _some(_VALUE), "not": _some(_VALUE), "mask": _VALUE,
        "range": {"type": "array", "items": _VALUE, "minItems": 2, "maxItems": 2},
        "path": _some(_ref("pattern")), "not-path": _some(_ref("pattern")),
        "address": _some(_ref("address")), "not-address": _some(_ref("address")),
    }  # fmt: skip
    numeric: Json = {"anyOf": [{"required": ["is"]}, {"required": ["not"]}]}
    plain: Json = {"not": {"required": ["arg"]}}
    return _object(properties, oneOf=kinds, dependentSchemas={"mask": numeric, "address": plain, "not-address": plain})


def _address() -> Json:
    port = _number(0, 65535)
    properties: Json = {
        "family": {"anyOf": [_number(0, 65534), {"type": "string"}]},
        "port": {"anyOf": [port, {"type": "array", "items": port, "minItems": 2, "maxItems": 2}]},
        "network": _some({"type": "string"}),
        "path": _some({"type": "string"}),
    }
    with_path: Json = {"not": {"anyOf": [{"required": ["port"]}, {"required": ["network"]}]}}
    some = [{"required": [name]} for name in properties]
    return _object(properties, anyOf=some, dependentSchemas={"path": with_path})


def _mount() -> Json:
    return {
        "oneOf": [
            _object({"bind": _TEXT, "to": _INNER, "mode": {"enum": ["ro", "rw"]}}, ("bind",)),
            _object({"tmpfs": _INNER, "size": _SIZE}, ("tmpfs",)),
            _object({"proc": _INNER}, ("proc",)),
        ]
    }


def _definitions() -> Json:
    errors = sorted({name for name in vars(errno) if name.startswith("E")})
    names = [call.name for call in CALLS] + [f"@{group}" for group in GROUPS]
    words: Json = {"enum": ["allow", "deny", "kill", "log", "ask"]}
    error = _object({"errno": {"anyOf": [{"enum": errors}, _number(0, 4095)]}}, ("errno",))
    return {
        "action": {"anyOf": [words, error, _object({"delegate": {"type": "string"}}, ("delegate",))]},
        "calls": {"type": "array", "items": {"enum": names}, "minItems": 1},
        "pattern": {"type": "string", "minLength": 1},
        "condition": _conditions(),
        "address": _address(),
        "mount": _mount(),
        "rule": _object(
            {
                "calls": _ref("calls"),
                "where": {"type": "array", "items": _ref("condition"), "maxItems": MAX_CONDS // 2},
                "action": _ref("action"),
            },
            ("calls", "action"),
        ),
    }


def _limits() -> Json:
    sizes = dict.fromkeys(("memory", "file-size", "output"), _SIZE)
    return _object(
        {**sizes, **dict.fromkeys(("cpu", "wall"), _TIME), **dict.fromkeys(("processes", "threads", "descriptors"), _COUNT)}
    )


def document() -> Json:
    """The schema."""
    port = _number(1, 65535)
    capabilities = [*CAPABILITIES, *(name.removeprefix("CAP_") for name in CAPABILITIES)]
    user = _object({"uid": _number(0, 4294967294), "gid": _number(0, 4294967294)}, ("uid", "gid"))
    properties: Json = {
        "torov": {"const": 1, "type": "integer"},
        "extends": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
        "default": {"anyOf": [{"const": "builtin"}, _ref("action")]},
        "rules": {"type": "array", "items": _ref("rule"), "maxItems": 65534},
        "strict": {"type": "boolean"},
        "limits": _limits(),
        "environment": _object({
            "pass": {"type": "array", "items": _TEXT},
            "set": {"type": "object", "propertyNames": {"pattern": "^[^=\\u0000]+$"},
                    "additionalProperties": {"type": "string", "pattern": "^[^\\u0000]*$"}},
        }),
        "arguments": _object({"allow": {"type": "array", "items": {"type": "string"}}, "most": _number(0, (1 << 31) - 1)}),
        "root": _TEXT,
        "mounts": {"type": "array", "items": _ref("mount")},
        "network": {"enum": list(NETWORKS)},
        "namespaces": {"type": "array", "items": {"enum": list(NAMESPACES)}},
        "hostname": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[^\\u0000]*$"},
        "user": {"anyOf": [{"type": "string"}, user]},
        "delegates": {"type": "object", "propertyNames": {"minLength": 1, "maxLength": 64}, "maxProperties": MOST_DELEGATES,
                      "additionalProperties": _object({"socket": _TEXT})},
        "debug": _object({"allowed": {"type": "boolean"}, "port": port}),
        "trace": _object({"calls": _ref("calls"), "file": _TEXT, "format": {"enum": ["text", "json", "perfetto"]}}),
        "capabilities": {"type": "array", "items": {"enum": capabilities}},
    }  # fmt: skip
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A policy of torov (docs/policy.md)",
        **_object(properties, ("torov", "default")),
        "$defs": _definitions(),
    }


def text() -> str:
    """The schema as the file has it."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "schema.json"), "w", encoding="utf-8") as stream:
        stream.write(text())
