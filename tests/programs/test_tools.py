"""Compilers, linters and searchers in Go and Rust, with all their threads, over real source trees."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sysconfig
import tarfile
from pathlib import Path

import pytest
from real import program, same

pytestmark = [pytest.mark.kvm, pytest.mark.corpus, pytest.mark.xdist_group("programs")]

STDLIB = Path(sysconfig.get_path("stdlib"))
PACKAGES = ("asyncio", "email", "json", "unittest", "xml", "concurrent", "logging", "importlib", "multiprocessing")


def python_tree(top: Path) -> None:
    for name in PACKAGES:
        shutil.copytree(STDLIB / name, top / "src" / name, ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture(scope="session")
def npm_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose dependencies npm has installed."""
    top = tmp_path_factory.mktemp("npm")
    needs = {"preact": "10.24.3", "lodash-es": "4.17.21", "@types/lodash-es": "4.17.12", "date-fns": "4.1.0"}
    (top / "package.json").write_text(json.dumps({"name": "shop", "version": "1.0.0", "type": "module", "dependencies": needs}))
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=top, check=True, capture_output=True)
    (top / "main.tsx").write_text("""\
import { h, render } from "preact";
import { useState } from "preact/hooks";
import { chunk, sortBy } from "lodash-es";
import { addDays, format } from "date-fns";
type Item = { name: string; price: number };
const items: Item[] = sortBy([{ name: "b", price: 2 }, { name: "a", price: 1 }], (i: Item) => i.price);
function Shop() {
  const [n, set] = useState(0);
  return h("ul", { onClick: () => set(n + 1) },
    chunk(items, 2).flat().map((i: Item) => h("li", null, i.name, format(addDays(new Date(0), n), "P"))));
}
render(h(Shop, null), document.body);
""")
    options = {"strict": True, "module": "esnext", "moduleResolution": "bundler", "target": "es2022", "noEmit": True, "types": []}
    (top / "tsconfig.json").write_text(json.dumps({"compilerOptions": {**options, "skipLibCheck": True}, "files": ["main.tsx"]}))
    return top


def test_esbuild_bundles_an_npm_project(npm_project: Path, tmp_path: Path) -> None:
    def copy(top: Path) -> None:
        shutil.copytree(npm_project, top, dirs_exist_ok=True, symlinks=True)

    native = same(
        program("esbuild"),
        "main.tsx",
        "--bundle",
        "--minify",
        "--sourcemap",
        "--outfile=out.js",
        "--metafile=meta.json",
        "--log-level=warning",
        where=tmp_path,
        prepare=copy,
    )
    assert native.status == 0
    assert (tmp_path / "torov/dir/out.js").stat().st_size > 30_000


def test_tsgo_checks_types(npm_project: Path, tmp_path: Path) -> None:
    """The type checker, its library files beside it as in its package."""
    from torov.corpus import read_binaries

    entry = read_binaries()["tsgo"]
    subprocess.run(["npm", "pack", "-s", f"{entry.package}@{entry.version}"], cwd=tmp_path, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as package:
        package.extractall(tmp_path, filter="data")
    binary = next(p for p in (tmp_path / "package/lib").iterdir() if p.name == "tsgo")
    assert binary.read_bytes() == program("tsgo").read_bytes()
    binary.chmod(0o755)

    def copy(top: Path) -> None:
        shutil.copytree(npm_project, top, dirs_exist_ok=True, symlinks=True)
        (top / "wrong.ts").write_text("const x: number = 'a';\nexport const y: string = x.toFixed(2) + missing;\n")

    native = same(binary, "-p", ".", "--pretty", "false", where=tmp_path / "good", prepare=copy)
    assert native.status == 0, native.out
    native = same(binary, "--ignoreConfig", "--noEmit", "--pretty", "false", "wrong.ts", where=tmp_path / "bad", prepare=copy)
    assert native.status != 0 and "TS2322" in native.out and "TS2304" in native.out


def test_biome_checks_a_source_tree(npm_project: Path, tmp_path: Path) -> None:
    def copy(top: Path) -> None:
        shutil.copytree(npm_project / "node_modules/preact/src", top / "src")
        shutil.copytree(npm_project / "node_modules/preact/compat/src", top / "src/compat")

    def lines(text: str) -> str:  # files are reported as threads are done with them
        return "\n".join(sorted(re.sub(r"in \d+(\.\d+)?\s?[mµ]?s\b", "in TIME", text).splitlines()))

    native = same(
        program("biome"), "check", "--max-diagnostics=none", "--colors=off", "src", where=tmp_path, prepare=copy, tidy=lines
    )
    assert "Checked" in native.out + native.err


def test_ruff_checks_a_source_tree(tmp_path: Path) -> None:
    native = same(
        program("ruff"),
        "check",
        "--isolated",
        "--select=ALL",
        "--no-cache",
        "--output-format=concise",
        "-q",
        ".",
        where=tmp_path,
        prepare=python_tree,
    )
    assert native.status == 1 and native.out.count("\n") > 5000


def test_rg_searches_with_all_threads(tmp_path: Path) -> None:
    def lines(text: str) -> str:
        return "\n".join(sorted(text.splitlines()))  # files come in the order in which threads are done

    native = same(
        program("rg"), "--no-config", "-n", "-j8", r"(def|class) \w+", ".", where=tmp_path, prepare=python_tree, tidy=lines
    )
    assert native.out.count("\n") > 3000
    native = same(
        program("rg"),
        "--no-config",
        "-c",
        "-U",
        r"\btry:\n\s+\w+",
        ".",
        where=tmp_path / "multi",
        prepare=python_tree,
        tidy=lines,
    )
    assert native.status == 0


GO = """package main

import ( "fmt"
 "os" )
func main( ) {
  x:= []int{1,2,
   3}
  for _,v:=range x { fmt.Println( v*2 ) }
  os.Exit( 3 ) }
"""


def test_gofmt(tmp_path: Path) -> None:
    def write(top: Path) -> None:
        for i in range(20):
            more = "\n".join(f"func f{n}( a int,b string ) (int,error) {{ return a*{n},nil }}" for n in range(50))
            (top / f"f{i}.go").write_text(GO + more)

    native = same(program("gofmt-2"), "-l", "-w", ".", where=tmp_path, prepare=write)
    assert native.status == 0 and native.out.count("\n") == 20


def test_shfmt(tmp_path: Path) -> None:
    def write(top: Path) -> None:
        for i in range(20):
            body = "#!/bin/sh\nif true;then echo a   b;fi\nfor i in 1 2\ndo\n  cat <<E | sort\n$i\nE\ndone\n"
            (top / f"s{i}.sh").write_text(body * 20)

    native = same(program("shfmt"), "-d", ".", where=tmp_path, prepare=write)
    assert native.status == 1 and "for i in 1 2; do" in native.out


COMPILED = """package main

type node struct { left, right *node; key int }

func (n *node) add(k int) *node {
	if n == nil { return &node{key: k} }
	if k < n.key { n.left = n.left.add(k) } else { n.right = n.right.add(k) }
	return n
}

func sum[T int | float64](xs []T) (s T) { for _, x := range xs { s += x }; return }

func main() {
	var root *node
	for i := 0; i < 100; i++ { root = root.add(i * 7919 % 101) }
	println(sum([]int{root.key, 2, 3}), sum([]float64{1.5}))
	defer func() { println(recover() != nil) }()
	var m map[string]int
	m["x"] = 1
}
"""


def test_the_go_compiler(tmp_path: Path) -> None:
    """cmd/compile itself, with its own threads; -complete without imports needs no other file of Go."""

    def write(top: Path) -> None:
        (top / "main.go").write_text(COMPILED)

    here = f"{tmp_path / 'native/dir'};{tmp_path / 'torov/dir'}"
    native = same(
        program("compile"),
        "-p",
        "main",
        "-trimpath",
        here,
        "-complete",
        "-c=4",
        "-o",
        "main.o",
        "-S",
        "main.go",
        where=tmp_path,
        prepare=write,
    )
    assert native.status == 0, native.out + native.err
    assert (tmp_path / "torov/dir/main.o").stat().st_size > 5000


VIDEO = ("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100")


def test_ffmpeg_encodes_with_threads(tmp_path: Path) -> None:
    """The same frames come out: hashes of what the encoders made, and of the file decoded again."""
    tool = program("ffmpeg")
    quiet = ("-hide_banner", "-nostdin", "-loglevel", "error", "-y")
    native = same(
        tool,
        *quiet,
        *VIDEO,
        "-t",
        "2",
        "-c:v",
        "libx264",
        "-preset",
        "fast",
        "-threads",
        "4",
        "-c:a",
        "aac",
        "-bitexact",
        "out.mkv",
        where=tmp_path,
    )
    assert native.status == 0, native.err
    made = tmp_path / "torov/dir/out.mkv"
    assert made.stat().st_size > 50_000
    native = same(tool, *quiet, "-threads", "4", "-i", made, "-f", "framehash", "-", where=tmp_path / "again")
    assert native.out.count("\n") > 100
