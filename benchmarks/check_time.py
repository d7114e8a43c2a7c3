"""What checking and summarizing cost, from a cold start: python benchmarks/check_time.py

The goals: `dlc check specs/language/gpt2.dl` under 0.3 s, `dlc summary specs/language/gpt3.dl:GPT3_175B` under 0.5 s and 200 MB,
and no growth with `layers`."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "check gpt2": [sys.executable, "-m", "dlc", "check", "specs/language/gpt2.dl"],
    "summary GPT3_175B": [sys.executable, "-m", "dlc", "summary", "specs/language/gpt3.dl:GPT3_175B", "-q"],
    "summary GPT2, 12 layers": [sys.executable, "-m", "dlc", "summary", "specs/language/gpt2.dl:GPT2", "-q"],
    "summary GPT2, 1,200 layers": [
        sys.executable, "-m", "dlc", "summary", "specs/language/gpt2.dl:GPT2", "-q", "--set", "layers=1200",
    ],
}  # fmt: skip


def main() -> None:
    print("| command | median s | user s | peak MB |\n| --- | --- | --- | --- |")
    for name, command in COMMANDS.items():
        wall, user = [], []
        for _ in range(7):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
            wall.append(time.perf_counter() - start)
            user.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before.ru_utime)
        peak = _peak(command)
        print(f"| {name} | {statistics.median(wall):.3f} | {statistics.median(user):.3f} | {peak:.0f} |")


def _peak(command: list[str]) -> float:
    """Peak memory of one run, measured in a process of its own."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    found = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, cwd=ROOT)
    return float(found.stdout)


if __name__ == "__main__":
    main()
