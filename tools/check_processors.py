"""The tests that compare figures, as other processors and other numbers of threads would compute them.

    python tools/check_processors.py [--only intel] [pytest's arguments, instead of the tests that compare figures]

The libraries choose their kernels by the processor, and each kernel adds in an order of its own. Their switches choose
others; MKL also asks who made the processor, and is told another maker by a small library that is put before it (for
which a C compiler is needed). A table says what each setting passed and failed; the exit code is 1 if anything failed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from jomold_dist.command_line import command, command_parser
from jomold_dist.errors import UserError
from jomold_dist.tables import markdown_table

ROOT = Path(__file__).resolve().parents[1]
NUMERIC = (
    "tests/multirank",
    *(f"tests/end_to_end/test_{name}.py" for name in ("train", "resume")),
    *(
        f"tests/unit/test_{name}.py"
        for name in (
            "engine", "features", "losses", "metrics", "network", "noise_ratio", "parsing", "predict_labels",
            "removal", "simulate_tool", "simulation", "sweep_report", "tracking", "trajectory", "weights",
        )
    ),
)  # fmt: skip
MAKER = "MAKER"  # of the processor, as MKL is told it
SETTINGS: tuple[dict[str, str], ...] = (
    {},
    {"TEST_THREADS": "2"},
    {"ATEN_CPU_CAPABILITY": "default"},
    {"ATEN_CPU_CAPABILITY": "avx2"},
    {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"MKL_CBWR": "COMPATIBLE"},
    {MAKER: "another"},
    {MAKER: "intel"},
    {MAKER: "intel", "TEST_THREADS": "2"},
    {MAKER: "intel", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    {MAKER: "intel", "MKL_CBWR": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    {"OPENBLAS_CORETYPE": "Haswell"},  # numpy's own
)
ASKED_BY_MKL = "int mkl_serv_intel_cpu_true(void) { return INTEL; }\nint mkl_serv_intel_cpu(void) { return INTEL; }\n"


class Outcome(NamedTuple):
    """What a setting's tests gave."""

    passed: int
    failed: list[str]
    seconds: float


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--only", default="", help="only settings whose line has this in it")
    asked, rest = parser.parse_known_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for setting in SETTINGS:
            line = " ".join(f"{key}={value}" for key, value in setting.items()) or "as it is"
            if asked.only in line:
                found = run(environment(setting, Path(name)), rest or list(NUMERIC), Path(name) / "report.xml")
                rows.append([line, str(found.passed), str(len(found.failed)), f"{found.seconds:.0f}"])
                print(
                    "\n".join([f"{line}: {found.passed} passed, {len(found.failed)} failed", *found.failed]), flush=True
                )
    print(markdown_table(["setting", "passed", "failed", "seconds"], rows))
    return int(not rows or any(row[2] != "0" for row in rows))


def environment(setting: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What the tests of a setting find in their environment."""
    switches = {key: value for key, value in setting.items() if key != MAKER}
    if maker := setting.get(MAKER):
        switches["LD_PRELOAD"] = str(answer(folder, int(maker == "intel")))
    return os.environ | switches


def answer(folder: Path, intel: int) -> Path:
    """A library that answers MKL's question whether the processor is Intel's."""
    library, source = folder / f"intel{intel}.so", folder / "answer.c"
    if not library.exists():
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise UserError("settings with another maker of the processor need a C compiler, and there is no cc")
        source.write_text(ASKED_BY_MKL)
        subprocess.run([compiler, "-shared", "-fPIC", f"-DINTEL={intel}", "-o", library, source], check=True)
    return library


def run(environment: Mapping[str, str], arguments: list[str], report: Path) -> Outcome:
    """Run pytest and read its report."""
    start = time.monotonic()
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-m", "not slow", "--numprocesses=2", "--dist=loadfile"]
    done = subprocess.run(
        [*command, f"--junit-xml={report}", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if not report.exists():
        raise UserError(f"pytest ended with {done.returncode}\n{done.stdout}{done.stderr}")
    passed, failed = 0, []
    for case in ElementTree.parse(report).iter("testcase"):
        problem = case.find("failure") if case.find("failure") is not None else case.find("error")
        if problem is not None:
            failed.append(
                f"  {case.get('classname')}::{case.get('name')}: {problem.get('message', '').splitlines()[0]}"
            )
        passed += problem is None and case.find("skipped") is None
    return Outcome(passed, failed, time.monotonic() - start)


if __name__ == "__main__":
    sys.exit(main())
