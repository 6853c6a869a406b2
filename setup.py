"""Puts configs/ into the wheel, as jomold_dist/configs; all else is in pyproject.toml. A checkout, and an editable
install of it, use configs/ itself."""

from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """The package's modules, and its configs."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            copytree("configs", Path(self.build_lib, "jomold_dist", "configs"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithConfigs})
