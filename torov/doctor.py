"""``torov doctor``: can this machine run guests, how, and what to do if not."""

from __future__ import annotations

import os
import platform

from torov.errors import MachineError


class Finding:
    """One thing looked at.

    Fields:
        what: the thing.
        found: what is there.
        good: it is as it should be.
        needed: guests cannot run without it.
        advice: what to do if it is not good.
    """

    __slots__ = ("advice", "found", "good", "needed", "what")

    def __init__(self, what: str, found: str, good: bool, needed: bool = False, advice: str = "") -> None:
        self.what, self.found, self.good, self.needed, self.advice = what, found, good, needed, advice

    def document(self) -> dict[str, object]:
        """The fields as plain values."""
        return {name: getattr(self, name) for name in ("what", "found", "good", "needed", "advice")}


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _modules() -> list[str]:
    return sorted(name for name in os.listdir("/sys/module") if name.startswith("kvm")) if os.path.isdir("/sys/module") else []


def flavour() -> str:
    """Which KVM this is, as far as modules and CPU flags tell: ``kvm_intel (VMX)``, ``kvm_amd (SVM)``, ``kvm_pvm``..."""
    modules = _modules()
    for name, text in (("kvm_intel", "kvm_intel (VMX)"), ("kvm_amd", "kvm_amd (SVM)"), ("kvm_pvm", "kvm_pvm (software)")):
        if name in modules:
            return text
    flags = next((line for line in _read("/proc/cpuinfo").splitlines() if line.startswith("flags")), "").split()
    for flag, text in (("vmx", "VMX, built in"), ("svm", "SVM, built in")):
        if flag in flags:
            return text
    return "software, built in" if modules else "unknown"


def _device() -> Finding:
    path = "/dev/kvm"
    try:
        status = os.stat(path)
    except OSError:
        return Finding(path, "not there", False, True, "load a module (modprobe kvm_intel, kvm_amd), enable virtualisation in "
                       "the firmware, or pass the device into the container (--device /dev/kvm)")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        import grp

        try:
            group = grp.getgrgid(status.st_gid).gr_name
        except KeyError:
            group = str(status.st_gid)
        advice = f"usermod -aG {group} $USER and log in again, or run as root"
        if status.st_mode & 0o060 != 0o060 or group == "root":  # the group would not help, or is too much
            advice = "as root: chgrp kvm /dev/kvm && chmod g+rw /dev/kvm && usermod -aG kvm $USER; then log in again"
        found = f"uid {os.getuid()} may not open it: {error.strerror} (mode {status.st_mode & 0o777:o}, group {group})"
        return Finding(path, found, False, True, advice)
    return Finding(path, f"usable by uid {os.getuid()}, mode {status.st_mode & 0o777:o}", True, True)


def _core() -> Finding:
    try:
        import torov.vmm._core as core
    except ImportError as error:
        return Finding("compiled core", str(error), False, True, "pip install . in the source tree (needs gcc and python3-dev)")
    return Finding("compiled core", os.path.basename(str(core.__file__)), True, True)


def examine() -> list[Finding]:
    """Look at everything that a run needs.

    Returns:
        The findings, in the order in which they matter.
    """
    findings = [
        Finding("machine", f"{platform.machine()}, Linux {platform.release()}", platform.machine() == "x86_64", True,
                "only x86-64 is served"),
        _core(),
        _device(),
    ]
    if not all(finding.good for finding in findings):
        return findings
    findings.append(Finding("KVM", flavour(), True))
    from torov.vmm.machine import probe

    try:
        info = probe()
    except MachineError as error:
        return [*findings, Finding("a guest of one loop", str(error), False, True, "report this with the lines above")]
    rows = (
        ("KVM_GET_API_VERSION", str(info["api"]), info["api"] == 12, True, "a kernel since 2.6.22 is needed"),
        ("registers in kvm_run", "yes" if info["sync_regs"] else "no", bool(info["sync_regs"]), True, "Linux 4.17 is needed"),
        ("immediate exit", "yes" if info["immediate_exit"] else "no", bool(info["immediate_exit"]), True, "Linux 4.11 is needed"),
        ("guest addresses", f"{info['maxphyaddr']} bits", info["maxphyaddr"] >= 36, True, "36 bits are needed"),
        ("memslots", str(info["nr_memslots"]), info["nr_memslots"] >= 509, False, "large programs may not fit"),
        ("time without an exit", "yes" if info["readonly_mem"] and info["tsc_offset"] else "no",
         bool(info["readonly_mem"] and info["tsc_offset"]), False, "clock_gettime costs an exit; Linux 5.16 offers it"),
        ("transparent huge pages", _read("/sys/kernel/mm/transparent_hugepage/enabled") or "none",
         "[never]" not in _read("/sys/kernel/mm/transparent_hugepage/enabled"), False,
         "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled makes new memory many times cheaper"),
        ("RIP at an exit", "past the instruction" if info["rip_past"] else "on the instruction", True, False, ""),
        ("floor of a hypercall", f"{info['floor_ns'] / 1000:.2f} us", True, False, ""),
        ("VM to first exit", f"{info['create_ns'] / 1000:.0f} us", True, False, ""),
    )
    return [*findings, *(Finding(*row) for row in rows), *_around()]


def _around() -> list[Finding]:
    """What can be put around the monitor (docs/isolation.md): tried, not guessed."""
    from torov.vmm import confine

    abi = confine.landlock_abi()
    return [
        _jail(),
        _filters(),
        Finding("Landlock", f"version {abi}" if abi else "none", abi >= 6, False,
                "rules about files since Linux 5.13, ports since 6.7, signals since 6.12; lsm=landlock,... on the kernel's "
                "command line if it is built in"),
        Finding("cgroups", _cgroups(), True),
    ]  # fmt: skip


def _jail() -> Finding:
    import time

    from torov import jail
    from torov.vmm import confine, machine

    runner = os.open(machine.RUNNER, os.O_PATH | os.O_CLOEXEC)
    began = time.perf_counter()
    made = jail.plan(None, None, wanted=True)
    assert made is not None
    try:
        if confine.jail(made, [runner], runner) is None:
            os._exit(0)  # this is the process inside
    except MachineError as error:
        advice = jail.advice() or "namespaces(7): a container or an older kernel may forbid them"
        return Finding("jail", str(error), False, False, advice)
    finally:
        os.close(runner)
    who = "with root's rights" if os.geteuid() == 0 else "by user namespaces"
    return Finding("jail", f"{' '.join(made.spaces)} {who}, made and gone in {1e3 * (time.perf_counter() - began):.1f} ms", True)


def _filters() -> Finding:
    from torov import seccomp
    from torov.vmm import confine

    try:
        made = seccomp.load(seccomp.builtin())
    except MachineError as error:
        return Finding("seccomp", "libseccomp is missing", False, False, error.advice)
    child = os.fork()
    if child == 0:
        try:
            confine.seccomp(made["start"])
            os._exit(0)
        except MachineError as error:
            os._exit(error.errno or 1)
    error_number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if error_number:
        return Finding("seccomp", f"refused: {os.strerror(error_number)}", False, False, "CONFIG_SECCOMP_FILTER is needed")
    sizes = " and ".join(f"{len(code) // 8}" for code in made.values())
    return Finding("seccomp", f"filters of {sizes} instructions for the built-in policy", True)


def _cgroups() -> str:
    """Limits of torov need none; a service manager may use them around it."""
    lines = _read("/proc/self/cgroup").splitlines()
    unified = [line.partition("::")[2] for line in lines if line.startswith("0::")]
    if len(lines) > len(unified):
        return "version 1, not used"
    return "version 2, not used" if unified else "none"
