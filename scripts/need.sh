#!/bin/sh
# need.sh NAME... : makes sure that commands and headers are there, by apt-get where that is possible.
# A name is a command, or one of the special words below. Prints what to install if it cannot.
set -u
python=${PYTHON:-python3}
packages=
for name in "$@"; do
    case $name in
        python-venv) "$python" -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv" ;;
        python-headers)
            "$python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ||
                packages="$packages python3-dev" ;;
        static-libc) echo 'int main(void){return 0;}' | gcc -static -x c -o /dev/null - 2>/dev/null || packages="$packages libc6-dev gcc" ;;
        musl-gcc) command -v musl-gcc >/dev/null || packages="$packages musl-tools" ;;
        fpc) command -v fpc >/dev/null || packages="$packages fp-compiler fp-units-rtl" ;;
        go) command -v go >/dev/null || packages="$packages golang-go" ;;
        mkfs.ext4) PATH="$PATH:/usr/sbin:/sbin" command -v mkfs.ext4 >/dev/null || packages="$packages e2fsprogs" ;;
        npm) command -v npm >/dev/null || packages="$packages npm" ;;
        qemu) command -v qemu-system-x86_64 >/dev/null || packages="$packages qemu-system-x86" ;;
        objdump) command -v objdump >/dev/null || packages="$packages binutils" ;;
        libseccomp) # the library alone: pyseccomp loads it
            "$python" -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("seccomp"))' || packages="$packages libseccomp2" ;;
        bwrap) command -v bwrap >/dev/null || packages="$packages bubblewrap" ;;
        ps) command -v ps >/dev/null || packages="$packages procps" ;;
        redis-server) command -v redis-benchmark >/dev/null && command -v redis-server >/dev/null || packages="$packages redis-server redis-tools" ;;
        python-tests) # the interpreter's own tests
            "$python" -c 'import test.test_os' 2>/dev/null || /usr/bin/python3 -c 'import test.test_os' 2>/dev/null ||
                packages="$packages libpython3-testsuite" ;;
        libfuzzer) # clang and its runtime; 17 or newer, whose AddressSanitizer stands a fork of a process with threads
            if ! command -v clang-19 >/dev/null || ! command -v llvm-symbolizer-19 >/dev/null; then
                clang=
                for version in 20 21 22 18 17; do command -v clang-$version >/dev/null && clang=yes; done
                [ -n "$clang" ] || packages="$packages clang-19 libclang-rt-19-dev llvm-19"
            fi ;;
        setpriv) command -v setpriv >/dev/null || packages="$packages util-linux" ;;
        xz) command -v xz >/dev/null || packages="$packages xz-utils" ;;
        *) command -v "$name" >/dev/null || packages="$packages $name" ;;
    esac
done
[ -n "$packages" ] || exit 0
run=
[ "$(id -u)" = 0 ] || { sudo -n true 2>/dev/null && run=sudo; } || { [ "$(id -u)" = 0 ] || run=no; }
if [ "$run" = no ] || ! command -v apt-get >/dev/null; then
    echo "missing:$packages" >&2
    echo "install them, on Debian or Ubuntu with: apt-get install$packages" >&2
    exit 1
fi
echo "installing$packages" >&2
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $run apt-get install -y -q --no-install-recommends $packages >/dev/null 2>&1 ||
    { $run apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive $run apt-get install -y -q --no-install-recommends $packages >/dev/null; }
