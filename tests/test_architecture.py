"""docs/architecture.md in executable form: who may import whom, and how long a file may be."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "torov").rglob("*.py"))

LAYERS: dict[str, set[str]] = {
    "torov.errors": set(),
    "torov.callshape": set(),
    "torov.calls_x86_64": {"torov.callshape"},
    "torov.syscalls": {"torov.callshape", "torov.calls_x86_64"},
    "torov.constants": {"torov.callshape"},
    "torov.loader": {"torov.errors"},
    "torov.rewrite": {"torov.errors", "torov.loader"},
    "torov.vmm": {"torov.errors"},
    "torov.gdb": {"torov.errors", "torov.vmm"},
    "torov.policy": {"torov.errors", "torov.syscalls", "torov.callshape", "torov.constants", "torov.loader"},
    "torov.corpus": {"torov.errors", "torov.loader", "torov.prepare", "torov.rewrite"},
    "torov.profile": {"torov.errors"},
    "torov.perf": {"torov.errors", "torov.loader", "torov.syscalls", "torov.profile", "torov.report"},
    "torov.figure": {"torov.errors", "torov.loader", "torov.profile"},
    "torov.prepare": {"torov.errors", "torov.loader", "torov.rewrite"},
    "torov.strict": {"torov.prepare", "torov.loader", "torov.rewrite"},
    "torov.inferred": {"torov.callshape", "torov.syscalls", "torov.loader", "torov.rewrite"},
    "torov.tracing": {"torov.errors", "torov.callshape", "torov.constants", "torov.syscalls", "torov.vmm"},
    "torov.learned": {"torov.errors", "torov.loader", "torov.policy", "torov.prepare", "torov.vmm"},
}  # fmt: skip
"""What each part may import besides itself; the parts above these (api, cli, report, doctor) may import all."""

ONLY = {"lief": "torov/loader/elf.py", "capstone": "torov/rewrite/decode.py", "keystone": "torov/vmm/stub.py",
        "rich": "torov/report.py", "argparse": "torov/cli.py", "pyseccomp": "torov/seccomp.py",
        "matplotlib": "torov/figure.py", "elftools": "torov/perf/objects.py",
        "jinja2": "torov/corpus/page.py", "junitparser": "torov/corpus/junit.py", "jsonschema": "torov/corpus/form.py",
        "distributed": "torov/corpus/pool.py"}  # fmt: skip
"""Third parties and the one file that imports each."""


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def part_of(module: str) -> str:
    words = module.split(".")
    return ".".join(words[:2])


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    own = part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if own not in LAYERS or path.name == "build_core.py":  # builds the core from the table, at installation only
        return
    used = {part_of(name) for name in imports(path) if name.startswith("torov.")} - {own}
    names = {part.split(".")[1] for part in LAYERS}
    parts = {part for part in used if part.split(".")[1] in names}
    assert parts <= LAYERS[own]


@pytest.mark.parametrize("name", sorted(ONLY))
def test_a_third_party_has_one_importer(name: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in MODULES
        if any(used == name or used.startswith(name + ".") for used in imports(path))
    }
    assert users == {ONLY[name]}


def test_the_compiled_core_has_two_importers() -> None:
    users = {str(path.relative_to(ROOT)) for path in MODULES if "torov.vmm._core" in imports(path)}
    assert users == {"torov/vmm/machine.py", "torov/vmm/confine.py", "torov/doctor.py"}  # doctor looks whether it is there


def test_only_the_command_line_prints() -> None:
    tools = {"cli.py", "cli_exec.py", "report.py", "syscalls_doc.py", "__main__.py"}
    for path in MODULES:
        nodes = ast.walk(ast.parse(path.read_text()))
        calls = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
        assert path.name in tools or "print" not in calls, path


def test_files_can_be_read_in_a_sitting() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in MODULES if path.name != "calls_x86_64.py"}
    assert {name for name, count in lines.items() if count > 400} == set()
    core = ROOT / "torov" / "vmm" / "core"
    assert {path.name for path in core.iterdir() if len(path.read_text().splitlines()) > 600} == set()


def test_the_core_neither_prints_nor_exits() -> None:
    for path in sorted((ROOT / "torov" / "vmm" / "core").glob("*.c")):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        assert not re.search(r"\b(printf|fprintf|dprintf|puts|exit|_exit|abort)\s*\(", text), path.name


def test_every_file_of_the_package_is_installed() -> None:
    """The tests run on the tree; what pyproject.toml forgets is missing only where torov is installed."""
    said = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert {*said["packages"]} == {".".join(path.parent.relative_to(ROOT).parts) for path in MODULES}
    data = {path for pattern in said["package-data"]["torov"] for path in (ROOT / "torov").glob(pattern)}
    others = {".py", ".c", ".h", ".so", ".pyc"}  # and what setup.py builds
    files = {path for path in (ROOT / "torov").rglob("*") if path.is_file() and path.name != "torov-runner"}
    there = {path for path in files if path.suffix not in others}
    assert there and there - data == set()


@pytest.mark.xdist_group("held")
def test_groups_hold(request: pytest.FixtureRequest) -> None:
    """What must not run side by side runs in one worker: pytest-xdist says so in the name of the test."""
    if request.config.getoption("loadgroup", False):
        assert request.node.nodeid.endswith("@held")
