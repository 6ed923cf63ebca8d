"""What the portability lane boots: guests and their image files, the test program, a kernel, an initramfs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from torov.loader import elf
from torov.loader.image import write_image
from torov.rewrite.plan import plan
from torov.vmm import build_core

HERE = Path(__file__).resolve().parent
CORE = build_core.CORE
MODULES = ("irqbypass", "ccp", "kvm", "kvm-amd")
KERNEL = "linux-image-cloud-amd64"
BUSYBOX = "busybox-static"

_STATIC = ("gcc", "-O1", "-static", "-fno-pie", "-no-pie")
_BARE = ("gcc", "-static", "-nostdlib")
GUESTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "hello-asm": ("hello.S", _BARE),
    "hello-late": ("hello.S", _BARE),
    "hello-glibc": ("hello.c", _STATIC),
    "hello-pie": ("hello.c", ("gcc", "-O1", "-static-pie")),
    "hello-musl": ("hello.c", ("musl-gcc", "-O1", "-static")),
    "adjacent": ("adjacent.S", _BARE),
    "cases": ("cases.c", (*_STATIC, "-Wall", "-Wextra")),
}
"""Name to source in guests/ and compiler. hello-late is rewritten without the sites in no known function."""

INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tmpfs tmp /tmp
for module in {modules}; do
    /bin/busybox insmod /modules/$module.ko || echo "cannot load $module"
done
/bin/smoke -i /guests
/bin/busybox poweroff -f
"""


class BuildError(Exception):
    """A step that failed; its text is for the user."""


def _run(*command: str | Path, cwd: Path | None = None, stdin: bytes | None = None) -> bytes:
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(map(str, command))}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def guests(target: Path) -> None:
    """Compile the guests and make their image files by the loader and the rewriter.

    Args:
        target: directory; gets NAME and NAME.img of each.

    Raises:
        BuildError: a compiler refused.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name, (source, command) in GUESTS.items():
        program = target / name
        _run(*command, "-o", program, HERE / "guests" / source)
        image = elf.load(str(program))
        made = plan(image, clean_gap=name != "hello-late")
        digest = hashlib.sha256(image.data).digest()
        body = made.patched_bytes(image.data)
        write_image(f"{program}.img", image, body, made.patched(), made.traps(), digest)


def smoke(target: Path, generated: Path) -> None:
    """Link the test program from the core's own sources.

    Args:
        target: the program.
        generated: directory for the core's generated headers.

    Raises:
        BuildError: the compiler refused.
    """
    build_core.generate(generated)
    sources = [HERE / "smoke.c", HERE / "debugger.c", *sorted(CORE.glob("*.c"))]
    flags = [*build_core.FLAGS, "-Werror", "-static", f"-I{CORE}", f"-I{generated}"]
    _run("gcc", *flags, "-o", target, *sources, "-lpthread")


def _about(package: str) -> str | None:
    """What apt knows of the newest version of a package."""
    command = ("apt-cache", "show", "--no-all-versions", package)
    show = subprocess.run(command, capture_output=True, text=True, check=False)
    return show.stdout if show.returncode == 0 and show.stdout else None


def _unpack(package: str, cache: Path) -> Path:
    """Download a Debian package, without installing it, and unpack it; both only once per version."""
    text = _about(package)
    if text is None and os.geteuid() == 0:
        _run("apt-get", "update", "-q")
        text = _about(package)
    if text is None:
        raise BuildError(f"apt knows no package {package}: this lane needs Debian; try apt-get update")
    version = re.search(r"^Version: (.*)$", text, re.MULTILINE)
    depends = re.search(r"^Depends:.*\b(linux-image-\d[^ ,]*-cloud-amd64)", text, re.MULTILINE)
    if depends:  # the package that only names the newest kernel
        return _unpack(depends[1], cache)
    if version is None:
        raise BuildError(f"apt-cache show {package}: no version")
    root = cache / f"{package}_{version[1].replace(':', '%')}"
    if not root.exists():
        scratch = cache / f".{package}.{os.getpid()}"
        scratch.mkdir(parents=True)
        try:
            try:
                _run("apt-get", "download", "-q", package, cwd=scratch)
            except BuildError:
                if os.geteuid() != 0:
                    raise
                _run("apt-get", "update", "-q")  # the list is older than the mirror
                _run("apt-get", "download", "-q", package, cwd=scratch)
            _run("dpkg-deb", "-x", next(scratch.glob("*.deb")), scratch / "root")
            (scratch / "root").rename(root)
        finally:
            shutil.rmtree(scratch)
    return root


def kernel(cache: Path) -> tuple[Path, Path]:
    """The kernel of Debian's cloud images.

    Args:
        cache: directory of unpacked packages.

    Returns:
        Its bzImage and the directory of its modules.

    Raises:
        BuildError: apt cannot get it.
    """
    root = _unpack(KERNEL, cache)
    return next(root.glob("boot/vmlinuz-*")), next(root.glob("**/modules/*/kernel"))


def initramfs(target: Path, guest_dir: Path, program: Path, modules: Path, cache: Path) -> None:
    """Pack what the lane's kernel boots.

    Args:
        target: the archive, a cpio of the kind newc.
        guest_dir: what guests() filled.
        program: what smoke() linked.
        modules: the kernel's modules, plain or compressed by xz.
        cache: directory of unpacked packages.

    Raises:
        BuildError: a module or a tool is missing.
    """
    root = target.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "dev", "proc", "sys", "tmp", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copytree(guest_dir, root / "guests")
    shutil.copy(program, root / "bin" / "smoke")
    shutil.copy(next(_unpack(BUSYBOX, cache).glob("**/bin/busybox")), root / "bin" / "busybox")
    found = []
    for name in MODULES:
        path = next(modules.rglob(f"{name}.ko*"), None)
        if path is None:
            if name == "ccp":  # built in, or not built at all, as Debian does
                continue
            raise BuildError(f"{modules}: no module {name}")
        data = _run("xz", "-dc", path) if path.suffix == ".xz" else path.read_bytes()
        (root / "modules" / f"{name}.ko").write_bytes(data)
        found.append(name)
    (root / "init").write_text(INIT.format(modules=" ".join(found)))
    (root / "init").chmod(0o755)
    names = b"\0".join(os.fsencode(path.relative_to(root)) for path in sorted(root.rglob("*"))) + b"\0"
    target.write_bytes(_run("cpio", "-0", "-o", "--quiet", "-H", "newc", "-R", "0:0", cwd=root, stdin=names))
    shutil.rmtree(root)
