"""The tests on a sanitized core (``make test-asan``, ``make test-tsan``, ``make stress``).

    python -m tests.sanitized.run address [WORD...]    AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer
    python -m tests.sanitized.run thread [WORD...]     ThreadSanitizer
    python -m tests.sanitized.run stress SECONDS       the guest of tests/vmm/test_stress.py for so much CPU time, as address

The words are pytest's. The tree is copied to build/asan or build/tsan and the core is built there, with a python and a
torov-runner that carry the sanitizer, so that every process of a guest is watched: threads, forks and what exec(2) starts.
Exit status 0 only if pytest passed and no process wrote a report.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
KINDS = {
    "address": ("asan", "-fsanitize=address,undefined -fno-sanitize-recover=all"),
    "thread": ("tsan", "-fsanitize=thread"),
}
"""Name of the sanitizer: directory below build, and the compiler's flags."""
UNFIT = ("a_root", "test_filter", "what_a_guest_sees", "rootless_and_root", "executes_nothing", "forbids_namespaces")
TESTS = {
    # a runner with AddressSanitizer cannot be static: not in a root without its interpreter, which is also executed; and a
    # sanitizer makes calls of its own: not for what looks at the filters
    "address": ["tests/vmm", "tests/sanitized/leaks.py", "-k", f"not ({' or '.join(UNFIT)})"],
    # a runner with ThreadSanitizer cannot be static: not for processes without descriptors (full) or rights (drops)
    "thread": ["tests/vmm", "-k", "threads or signals or stress or (processes and not full and not drops)"],
}
COPIED = ("torov", "tests", "samples", "bin", "setup.py", "pyproject.toml")
MADE = (".so", ".pyc", "torov-runner")


def copy_tree(target: Path) -> None:
    """Copy what changed, with its time stamps, so that only that is built again; remove what is gone."""
    wanted = set()
    for name in COPIED:
        top = ROOT / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if not path.is_file() or path.name.endswith(MADE):
                continue
            copy = target / path.relative_to(ROOT)
            wanted.add(copy)
            old, new = copy.stat() if copy.exists() else None, path.stat()
            if old is None or (old.st_mtime_ns, old.st_size) != (new.st_mtime_ns, new.st_size):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
    for name in ("torov", "tests"):
        for path in (target / name).rglob("*"):
            if path.is_file() and path not in wanted and not path.name.endswith(MADE):
                path.unlink()


def make_python(target: Path, compiler: str) -> Path:
    """A python in an environment of its own that has the packages of ours; its path."""
    place, ours = target / "venv", Path(sys.prefix)
    (place / "bin").mkdir(parents=True, exist_ok=True)
    if (ours / "pyvenv.cfg").exists():
        shutil.copy(ours / "pyvenv.cfg", place)
        if not (place / "lib").is_symlink():
            (place / "lib").symlink_to(ours / "lib")
    value = sysconfig.get_config_var
    here = target / "tests" / "sanitized"
    python = place / "bin" / "python"
    command: list[str | Path] = [*compiler.split(), f"-I{sysconfig.get_paths()['include']}", "-o", python, here / "python.c"]
    command += [target / "options.o", f"-L{value('LIBDIR')}", f"-Wl,-rpath,{value('LIBDIR')}", f"-L{value('LIBPL')}"]
    command += [f"-lpython{value('LDVERSION')}", *value("LIBS").split(), *value("SYSLIBS").split()]
    subprocess.run(command, check=True)
    return python


def build(kind: str) -> tuple[Path, Path]:
    """Bring build/asan or build/tsan up to date.

    Args:
        kind: of KINDS.
    Returns:
        The directory, and the python to use there.
    """
    name, flags = KINDS[kind]
    target = ROOT / "build" / name
    target.mkdir(parents=True, exist_ok=True)
    copy_tree(target)
    compiler = f"gcc {flags} -g -fno-omit-frame-pointer"
    linker = f"{compiler} {'-static-libasan ' if kind == 'address' else ''}-rdynamic"
    options = target / "tests" / "sanitized" / "options.c"
    reports = f'-DREPORTS="{target}/reports/report"'
    subprocess.run([*compiler.split(), "-c", reports, "-o", target / "options.o", options], check=True)
    env = {**os.environ, "CC": compiler, "LDSHARED": "gcc -shared"}  # the runtime is the program's
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=target, env=env, check=True)
    objects = sorted(target.glob("build/temp.*/runner/**/*.o"))
    runner = target / "torov" / "vmm" / "torov-runner"
    subprocess.run([*linker.split(), "-o", runner, *objects, target / "options.o", "-lpthread"], check=True)
    return target, make_python(target, linker)


def judged(target: Path, command: Sequence[str | Path]) -> int:
    """Run a command in a sanitized tree.

    Args:
        target: the tree.
        command: what to run there.
    Returns:
        Its exit status; 1 if that is 0 but a process wrote a report. The reports go to standard output.
    """
    reports = target / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir()
    reports.chmod(0o1777)  # a guest may have become another user
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    status = subprocess.run(command, cwd=target, env=env, check=False).returncode
    found = sorted(reports.iterdir())
    for report in found:
        print(f"==== {report.name}", report.read_text(errors="replace"), sep="\n")
    print(f"{len(found)} reports of the sanitizer")
    return status or (1 if found else 0)


def main(words: list[str]) -> int:
    kind, *rest = words
    if kind == "stress":
        os.environ["STRESS_SECONDS"] = rest[0] if rest else "600"
        kind, rest = "address", ["tests/vmm/test_stress.py", "-k", "torov", "-s"]
    target, python = build(kind)
    return judged(target, [python, "-m", "pytest", "-q", *(rest or TESTS[kind])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
