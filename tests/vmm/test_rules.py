"""Rules about paths and addresses. What they allow must be as natively; what they refuse, the test knows from the file system."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from difflib import unified_diff
from pathlib import Path

import pytest
from running import Ran, build, run, torov
from support import Compiler

pytestmark = pytest.mark.kvm

TAKES_PATHS = [
    "open",
    "openat",
    "openat2",
    "creat",
    "stat",
    "lstat",
    "newfstatat",
    "statx",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "execve",
    "execveat",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "rmdir",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "chmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "lchown",
    "fchownat",
    "truncate",
    "utimensat",
    "mknod",
    "mknodat",
    "chdir",
    "statfs",
    "setxattr",
    "getxattr",
    "lgetxattr",
    "lsetxattr",
    "listxattr",
    "llistxattr",
    "removexattr",
    "lremovexattr",
    "inotify_add_watch",
]
TAKES_ADDRESSES = ["connect", "bind", "sendto", "sendmsg", "sendmmsg"]
SENDING = ["connect", "sendto", "sendmsg"]
REFUSED = {"errno": "EXFULL"}  # no file system answers it


def policy(where: Path, *paths: str, more: tuple[dict[str, object], ...] = ()) -> Path:
    """A policy that allows the paths, in all calls that take some, and refuses all others."""
    rules = [
        *more,
        {"calls": TAKES_PATHS, "where": [{"path": list(paths)}], "action": "allow"},
        {"calls": TAKES_PATHS, "action": REFUSED},
        {"calls": TAKES_ADDRESSES, "where": [{"address": {"family": "unix", "path": [*paths, "@**", ""]}}], "action": "allow"},
        {"calls": TAKES_ADDRESSES, "where": [{"address": {"family": "unix"}}], "action": REFUSED},
    ]
    file = where / "p.json"
    file.write_text(json.dumps({"torov": 1, "default": "builtin", "rules": rules}))
    return file


@pytest.mark.parametrize("guest", ["proc", "calls_files", "calls_net", "calls_process", "processes", "pointers", "pointers_net"])
def test_a_rule_that_allows_every_path_changes_nothing(cc: Compiler, tmp_path: Path, guest: str) -> None:
    program = build(cc, guest, "glibc", "-pthread")
    both: list[Ran] = []
    # a bound name is shown by getsockname(2), and is not the one that was given: docs/policy.md
    free: dict[str, object] = {"calls": ["bind"], "action": "allow"}
    options = ("--quiet", "--policy", policy(tmp_path, "/**", more=(free,)))
    for name, command in (("native", [program]), ("guest", torov(program, options=options))):
        cwd = tmp_path / name
        cwd.mkdir()
        both.append(run(command, cwd=cwd))
    native, guest_ran = both
    assert native.out and native.status == guest_ran.status, guest_ran.err
    assert not [*unified_diff(native.out.splitlines(), guest_ran.out.splitlines(), n=0, lineterm="")]


def tree(top: Path) -> socket.socket:
    """Two directories, and ways from one to the other. Returns a socket that listens in out/."""
    for name in ("in", "out"):
        (top / name).mkdir(parents=True)
    (top / "in/a").write_text("in a")
    (top / "out/b").write_text("out b")
    os.link(top / "in/a", top / "in/hard")
    for link, target in (
        ("in/link-out", "../out/b"), ("in/link-in", "a"), ("out/link-in", "../in/a"), ("in/dir-out", "../out"),
        ("in/link-none", "target"), ("in/link-loop", "link-loop"), ("in/link-socket", "../out/listening"),
    ):  # fmt: skip
        (top / link).symlink_to(target)
    listening = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(top)
    listening.bind("out/listening")
    os.chdir(here)
    listening.listen()
    return listening


def test_each_form_of_a_path_is_decided_by_the_file_that_it_leads_to(cc: Compiler, tmp_path: Path) -> None:
    program = build(cc, "rules")
    ports = (
        {"calls": SENDING, "where": [{"address": {"port": [1, 1023], "network": "127.0.0.1/32"}}], "action": REFUSED},
        {"calls": SENDING, "where": [{"address": {"network": "127.1.0.0/16"}}], "action": {"errno": "ENETUNREACH"}},
    )  # fmt: skip
    outs: list[dict[str, list[str]]] = []
    for name in ("native", "guest"):
        top = tmp_path / name
        with tree(top):
            allowed = policy(tmp_path, f"{top}/in/**", f"{top}", "/proc/self/**", more=ports)
            command: list[str | Path | bytes] = [program, str(top)]
            if name == "guest":
                command = torov(program, str(top), options=("--quiet", "--policy", allowed))
            ran = run(command, cwd=tmp_path)
        assert ran.status == 0, ran.err
        groups: dict[str, list[str]] = {}
        for line in ran.out.splitlines():
            if line.startswith("-- "):
                group = groups.setdefault(line[3:], [])
            else:
                group.append(line)
        outs.append(groups)
    native, guest = outs
    inside = (
        "in/a",
        "./in/../in/a",
        "in//a",
        "in/new",
        "in/none/x",
        "in/link-in",
        "in/link-none",
        "in/hard",
        "in/a/",
        "in/",
        "in/.",
        "/proc/self/cwd/in/a",
    )
    for form in inside:
        # of two errors Linux says the first path's, the rule's resolution the one it comes upon
        skip = "rename back" if form == "in/a/" else "-"
        assert [line for line in guest[form] if not line.startswith(skip)] == [
            line for line in native[form] if not line.startswith(skip)
        ], form
    for form in (
        "out/b",
        "in/../out/b",
        "out/new",
        "out/none/x",
        "in/dir-out/b",
        "/proc/self/cwd/out/b",
        "/proc/self/root/etc/passwd",
        "/",
        "/dev/null",
    ):
        done = [line for line in guest[form] if not line.endswith(": refused")]
        # of what stands in in/ itself: the second halves of rename and link
        assert [line.split(":")[0] for line in done if "done" in line] == [], (form, done)
        assert all(line.split(":")[0] in ("rename back", "unlink") for line in done), (form, done)
    for form in ("in/link-out", "in/link-loop"):  # the link itself may be handled, what it leads to may not
        for line in guest[form]:
            what, answer = line.split(": ")
            if what in (
                "open path nofollow",
                "lstat",
                "readlink",
                "rename",
                "rename back",
                "link",
                "unlink",
                "open nofollow",
                "open exclusive",
            ):
                assert line in native[form], (form, line)
            elif form == "in/link-out" and what != "xattr":
                assert answer == "refused", (form, line)
    other = dict(line.split(": ") for line in guest["others"])
    refused = {what for what, answer in other.items() if answer == "refused"}
    assert refused == {
        "openat above", "bind outside", "connect by link", "connect outside", "rename out", "rename in", "mkdir outside",
        "through it", "symlink outside", "truncate by link", "tmpfile outside", "exec", "by descriptor, up", "udp 7", "udp 700",
        "sendto 700", "sendmsg 700",
    }  # fmt: skip
    assert other["sendmsg elsewhere"] == "Network is unreachable"
    told = dict(line.split(": ") for line in native["others"])
    for what in set(other) - refused - {"sendmsg elsewhere"}:
        assert other[what] == told[what], what
    assert (tmp_path / "guest/out/b").read_text() == "out b"


def test_what_is_refused_by_name_leaves_open_descriptors_alone(tmp_path: Path) -> None:
    """fstat(2) is newfstatat(2) with an empty path: a rule about paths is not about it. Every dynamic program makes it."""
    file = tmp_path / "p.json"
    rule = {"calls": ["@file-system"], "where": [{"path": "/etc/shadow*"}], "action": {"errno": "EACCES"}}
    file.write_text(json.dumps({"torov": 1, "default": "builtin", "rules": [rule]}))
    ran = run(torov("/bin/cat", "/etc/hostname", "/etc/shadow", options=("--policy", file)))
    assert ran.out == Path("/etc/hostname").read_text() and ran.status == 1
    assert 'denied openat("/etc/shadow", O_RDONLY) = EACCES' in ran.err and len(ran.err.splitlines()) == 2


def test_exec_looks_at_the_program_and_at_what_a_script_names(cc: Compiler, tmp_path: Path) -> None:
    program = cc(
        """
        #include <stdio.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            if (argc < 2) return puts("ran") < 0;
            execl(argv[1], argv[1], NULL);
            perror("exec");
            return 3;
        }
        """,
        "glibc",
    )
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "program").write_bytes(program.read_bytes())
    (tmp_path / "in/bad").write_text(f"#!{tmp_path}/out/program\n")
    (tmp_path / "out/script").write_text(f"#!{tmp_path}/in/program\n")
    (tmp_path / "in/link").symlink_to("../out/program")
    for file in tmp_path.glob("*/*"):
        file.chmod(0o755)
    rules = [
        {"calls": ["execve"], "where": [{"path": f"{tmp_path}/in/**"}], "action": "allow"},
        {"calls": ["execve"], "action": {"errno": "EXFULL"}},
    ]
    file = tmp_path / "p.json"
    file.write_text(json.dumps({"torov": 1, "default": "builtin", "rules": rules}))
    for name, out, err in (
        ("in/program", "ran\n", ""),
        ("in/link", "", f'execve("{tmp_path}/in/link" -> "{tmp_path}/out/program"'),
        ("in/bad", "", f'execve("#!" -> "{tmp_path}/out/program") = EXFULL'),
        ("out/script", "", f'execve("{tmp_path}/out/script"'),
    ):
        ran = run(torov(program, str(tmp_path / name), options=("--policy", file)))
        assert (ran.status, ran.out) == (0 if out else 3, out), (name, ran.err)
        assert err in ran.err


LOADER = r"""
static long call(long nr, long a, const void *b, long c) {
    __asm__ volatile("syscall" : "+a"(nr) : "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return nr;
}
void _start(void) { call(1, 1, "the loader ran\n", 15); call(231, 0, 0, 0); __builtin_unreachable(); }
"""


def test_exec_looks_at_what_a_program_names_as_its_interpreter(cc: Compiler, tmp_path: Path) -> None:
    """But for the two names that every dynamic program has: nobody writes a rule for those."""
    start = cc('#include <unistd.h>\nint main(int n, char **v) { return n > 1 ? execv(v[1], v + 1) : 1; }', "glibc")
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        gcc: list[str | Path] = ["gcc", "-x", "c", "-", "-o"]
        loader = [*gcc, tmp_path / name / "loader", "-O1", "-nostdlib", "-static-pie"]
        subprocess.run(loader, input=LOADER, text=True, check=True)
        named = [*gcc, tmp_path / "in" / f"by-{name}", f"-Wl,--dynamic-linker={tmp_path}/{name}/loader"]
        subprocess.run(named, input="int main(void) { return 5; }", text=True, check=True)
    subprocess.run([*gcc, tmp_path / "in/usual"], input="int main(void) { return 5; }", text=True, check=True)
    rules = [
        {"calls": ["execve"], "where": [{"path": f"{tmp_path}/in/**"}], "action": "allow"},
        {"calls": ["execve"], "action": {"errno": "EXFULL"}},
    ]
    file = tmp_path / "p.json"
    file.write_text(json.dumps({"torov": 1, "default": "builtin", "rules": rules}))
    for name, status, out in (("by-in", 0, "the loader ran\n"), ("by-out", 0, "the loader ran\n"), ("usual", 5, "")):
        plain = subprocess.run([tmp_path / "in" / name], capture_output=True, text=True, check=False)
        assert (plain.returncode, plain.stdout) == (status, out)
        ran = run(torov(start, str(tmp_path / "in" / name), options=("--policy", file)))
        if name == "by-out":
            assert (ran.status, ran.out) == (255, "")
            assert f'denied execve("PT_INTERP" -> "{tmp_path}/out/loader") = EXFULL: {file}:' in ran.err
        else:
            assert (ran.status, ran.out, ran.err) == (status, out, "")


ONE_ADDRESS = r"""
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
int main(void) {
    static char sent[4096], got[4096];
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t size = sizeof in;
    int to = socket(AF_INET, SOCK_DGRAM, 0), from = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(to, (void *)&in, size) || getsockname(to, (void *)&in, &size)) return 1;
    memset(sent, 7, sizeof sent);
    memcpy(sent, &in, sizeof in);
    long n = sendto(from, sent, sizeof sent, 0, (void *)sent, sizeof in), m = recv(to, got, sizeof got, 0);
    printf("%ld %ld %s\n", n, m, memcmp(sent, got, sizeof sent) ? "other bytes" : "the same");
}
"""


def test_a_buffer_that_begins_where_the_address_does_is_the_guests_own(cc: Compiler, tmp_path: Path) -> None:
    """The address that was decided upon is 128 bytes of the monitor's; the message behind it is not."""
    file = tmp_path / "p.json"
    rules = [
        {"calls": ["sendto"], "where": [{"address": {"network": "127.0.0.0/8"}}], "action": "allow"},
        {"calls": ["sendto"], "action": "deny"},
    ]
    file.write_text(json.dumps({"torov": 1, "default": "builtin", "rules": rules}))
    program = cc(ONE_ADDRESS, "glibc")
    assert run([program]).out == run(torov(program, options=("--policy", file))).out == "4096 4096 the same\n"


def test_a_path_that_is_not_there_costs_no_descriptor(cc: Compiler, tmp_path: Path) -> None:
    """Calls that follow a path resolve it to a descriptor of the monitor's, of which there are some thousands."""
    program = cc(
        r"""
        #include <stdio.h>
        #include <sys/stat.h>
        #include <unistd.h>
        int main(void) {
            int bad = 0;
            for (int i = 0; i < 30000; i++) bad += chmod("missing", 0700) && truncate("missing/x", 1);
            printf("%d %d\n", bad, chmod("there", 0600));
        }
        """,
        "glibc",
    )
    (tmp_path / "there").touch()
    ran = run(torov(program), cwd=tmp_path)
    assert (ran.out, ran.err) == ("30000 0\n", "")
