"""The compiled core and its runner; everything else is in pyproject.toml."""

from __future__ import annotations

import os

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import LinkError


class BuildCore(build_ext):
    """Also links the core into torov-runner, the program that goes on after a guest's exec(2)."""

    def build_extension(self, ext) -> None:  # type: ignore[no-untyped-def]
        super().build_extension(ext)
        if ext.name != "torov.vmm._core":
            return
        place = os.path.dirname(self.get_ext_fullpath(ext.name))
        core = [source for source in ext.sources if os.path.basename(os.path.dirname(source)) == "core"]
        objects = self.compiler.compile(
            [*core, "torov/vmm/runner/main.c"],
            output_dir=os.path.join(self.build_temp, "runner"),
            include_dirs=ext.include_dirs,
            extra_postargs=ext.extra_compile_args,
            depends=ext.depends,
        )
        runner = os.path.join(place, "torov-runner")
        try:  # starts sooner, and needs no descriptor to find its libraries
            self.compiler.link_executable(objects, runner, libraries=["pthread"], extra_postargs=["-static"])
        except LinkError:  # no static C library here
            self.compiler.link_executable(objects, runner, libraries=["pthread"])

    def copy_extensions_to_source(self) -> None:  # build_ext --inplace
        super().copy_extensions_to_source()
        self.copy_file(os.path.join(self.build_lib, "torov", "vmm", "torov-runner"), os.path.join("torov", "vmm", "torov-runner"))


setup(cffi_modules=["torov/vmm/build_core.py:builder"], cmdclass={"build_ext": BuildCore})
