"""The compiled core; everything else is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["torov/vmm/build_core.py:builder"])
