"""Fetching: from real packages that the tests make, and each way in which it can fail."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from torov import cli
from torov.corpus import CorpusError, Entry, Offline, cache_dir, fetch, packages, read_binaries

BODY = b"\x7fELF, for this test only"


def entry(source: str, member: str = "usr/bin/tool") -> Entry:
    wheel = "pkg-1.0-py3-none-manylinux_2_17_x86_64.whl"
    digest = hashlib.sha256(BODY).hexdigest()
    return Entry("tool", source, "pkg", "1.0", member, wheel, len(BODY), digest, 0, 0, 0, 0)


def make_deb(directory: Path, root: Path) -> None:
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        "Package: pkg\nVersion: 1.0\nArchitecture: amd64\nMaintainer: n <n@e.org>\nDescription: test\n"
    )
    root.chmod(0o755)
    (root / "DEBIAN").chmod(0o755)
    subprocess.run(["dpkg-deb", "-b", root, directory / "pkg_1.0_amd64.deb"], check=True, capture_output=True)


def make_tgz(directory: Path, root: Path) -> None:
    with tarfile.open(directory / "pkg-1.0.tgz", "w:gz") as tar:
        tar.add(root / "usr", "usr")


def make_wheel(directory: Path, root: Path) -> None:
    with zipfile.ZipFile(directory / "pkg-1.0-py3-none-any.whl", "w") as wheel:
        for path in (root / "usr" / "bin").iterdir():
            wheel.write(path, path.relative_to(root))


MAKERS = {"debian": make_deb, "npm": make_tgz, "pypi": make_wheel}


@pytest.fixture(params=MAKERS)
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A source whose package manager is replaced by one that finds a package made here."""
    name = str(request.param)
    tree = tmp_path / "tree"
    (tree / "usr" / "bin").mkdir(parents=True)
    (tree / "usr" / "bin" / "tool").write_bytes(BODY)
    (tree / "usr" / "bin" / "other").write_bytes(BODY[::-1])
    download: Callable[[Entry, Path], None] = lambda _, directory: MAKERS[name](directory, tree)  # noqa: E731
    monkeypatch.setitem(packages._DOWNLOAD, name, download)
    monkeypatch.delenv("TOROV_NO_NETWORK", raising=False)
    return name


def test_fetch_takes_the_named_member(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    path = fetch(entry(source), cache=cache)
    assert path == cache / "tool"
    assert path.read_bytes() == BODY
    assert path.stat().st_mode & 0o777 == 0o755
    assert sorted(p.name for p in cache.iterdir()) == [".lock", "tool"]
    monkeypatch.setitem(packages._DOWNLOAD, source, pytest.fail)  # the second time nothing is fetched
    assert fetch(entry(source), cache=cache) == path


def test_fetch_takes_what_the_package_has_for_others(source: str, tmp_path: Path) -> None:
    digest = hashlib.sha256(BODY[::-1]).hexdigest()
    other = replace(entry(source), id="other", member="usr/bin/other", sha256=digest)
    stranger = replace(other, id="stranger", package="another")
    fetch(entry(source), [other, stranger], tmp_path / "cache")
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [".lock", "other", "tool"]


def test_fetch_again_if_the_cached_file_was_changed(source: str, tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(BODY[:-1] + b"!")
    assert fetch(entry(source), cache=tmp_path).read_bytes() == BODY


def test_another_file_than_the_manifest_names(source: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is not the file of the table"):
        fetch(replace(entry(source), sha256="0" * 64), cache=tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [".lock"]


def test_no_such_member(source: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"pkg 1\.0 has no member usr/bin/none"):
        fetch(entry(source, "usr/bin/none"), cache=tmp_path / "cache")


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOROV_NO_NETWORK", "1")
    with pytest.raises(Offline, match="TOROV_NO_NETWORK=1 forbids"):
        fetch(entry("debian"), cache=tmp_path / "cache")
    (tmp_path / "tool").write_bytes(BODY)
    assert fetch(entry("debian"), cache=tmp_path) == tmp_path / "tool"


@pytest.mark.parametrize(("source", "program"), [("debian", "apt-get"), ("npm", "npm")])
def test_missing_package_manager(source: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TOROV_NO_NETWORK", raising=False)
    monkeypatch.setattr(packages, "_apt_updated", True)
    with pytest.raises(CorpusError, match=f"{program} is not installed"):
        fetch(entry(source), cache=tmp_path / "cache")


def test_what_a_package_manager_says_is_one_line(tmp_path: Path) -> None:
    script = tmp_path / "manager"
    script.write_text("#!/bin/sh\necho W: nothing >&2\necho E: Version 1.0 was not found >&2\nexit 100\n")
    script.chmod(0o755)
    with pytest.raises(CorpusError) as caught:
        packages._run(entry("debian"), [str(script)], tmp_path)
    assert str(caught.value) == (
        f"corpus: tool: pkg 1.0 cannot be fetched: {script} ended with status 100: E: Version 1.0 was not found"
    )


def test_unknown_source(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="unknown source cargo: expected debian, npm, pypi, path, compile"):
        fetch(entry("cargo"), cache=tmp_path)


def test_table() -> None:
    entries = read_binaries()
    assert len(entries) == 38
    assert {e.source for e in entries.values()} == {"debian", "npm", "pypi"}
    assert all(len(e.sha256) == 64 and e.size for e in entries.values())
    assert all(e.wheel.endswith(".whl") == (e.source == "pypi") for e in entries.values())
    assert entries["rg"].package == "ripgrep"
    assert entries["rg"].wheel == "ripgrep-14.1.0-py3-none-musllinux_1_2_x86_64.whl"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a]\nsource = 'npm'\n", "a: a binary of source 'npm' needs package, version, member, size, sha256"),
        ("[a]\nsource = 'path'\n", "a: a binary of source 'path' needs path"),
        ("[a]\nsource = 'path'\npath = 'cat'\ncolour = 1\n", "a: a binary has not such members: .*'colour'"),
        ("[a]\nsource = 'compile'\nfile = 'none.c'\n", "a: its source none.c: No such file"),
        ("[a\n", "is not TOML"),
    ],
)
def test_bad_table(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(CorpusError, match=problem):
        read_binaries(path)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read: No such file"):
        read_binaries(tmp_path / "none")


def test_a_program_of_the_distribution(tmp_path: Path) -> None:
    assert fetch(Entry("cat", "path", path="cat")) == Path("/usr/bin/cat")
    with pytest.raises(CorpusError, match="its SHA-256 differs"):
        fetch(Entry("cat", "path", path="cat", sha256="0" * 64))
    with pytest.raises(CorpusError, match="no-such-program is not installed: apt-get install nothing"):
        fetch(Entry("x", "path", path="no-such-program", package="nothing"))


def test_a_program_that_is_compiled(tmp_path: Path) -> None:
    one = Entry("one", "compile", text="int main(void) { return 7; }", compiler="static", flags=("-DX=1",))
    path = fetch(one, cache=tmp_path)
    assert subprocess.run([path], check=False).returncode == 7
    before = path.stat()
    assert fetch(one, cache=tmp_path) == path and path.stat() == before
    assert fetch(replace(one, text="int main(void) { return 8; }"), cache=tmp_path) != path
    with pytest.raises(CorpusError, match=r"one: gcc refuses its source: .*error"):
        fetch(replace(one, text="int main(void) { return x; }"), cache=tmp_path)
    with pytest.raises(CorpusError, match="unknown compiler tcc: expected gcc"):
        fetch(replace(one, compiler="tcc"), cache=tmp_path)


def test_command_line(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOROV_CORPUS", str(tmp_path))
    monkeypatch.setenv("TOROV_NO_NETWORK", "1")
    assert cli.main(["corpus", "fetch", "rg"]) == 1
    assert capfd.readouterr().err.startswith(f"torov: corpus: rg: is not in {tmp_path}")
    assert cli.main(["corpus", "fetch", "cat"]) == 0
    assert capfd.readouterr().out.startswith("cat\t/")
    assert cli.main(["corpus", "fetch", "nothing"]) == 125
    assert cli.main(["corpus"]) == 125


def test_cache_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("TOROV_CORPUS", raising=False)
    assert cache_dir() == Path("/x/torov/corpus")
    monkeypatch.setenv("TOROV_CORPUS", "/y")
    assert cache_dir() == Path("/y")
