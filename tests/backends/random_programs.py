"""Random programs through all backends, of any number, from any seed:

    python tests/backends/random_programs.py --seed 0 --count 1000 --backends torch jax onnx

What is wrong is shrunk and printed. They run in a process of their own, so that one that a framework ends is told like the others. The
tests run a few of a fixed seed (`test_random_programs.py`)."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections import Counter

from random_blocks import program
from random_runs import BACKENDS, Refused, faults, shrunk


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first program; the next ones follow")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--length", type=int, default=10, help="statements of a program, about")
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--sizes", type=int, default=3, help="at how many sizes each is run")
    parser.add_argument(
        "--longest", type=int, default=19, help="and at this size of each dim alone; 0 for none"
    )
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--no-gradients", action="store_true")
    parser.add_argument("--show", action="store_true", help="print every program")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def one(seed: int, options: argparse.Namespace, counts: Counter[str]) -> None:
    """A program, and what is wrong with it."""
    made = program(seed, options.length)
    if options.show:
        print(made.text())
    gradients = not options.no_gradients
    try:
        found = list(
            faults(
                made,
                options.backends,
                most=options.sizes,
                gradients=gradients,
                longest=options.longest,
                count=lambda each: counts.update([each]),
            )
        )
    except Refused as refused:
        counts[f"refused {refused.code}"] += 1
        return
    counts["programs"] += 1
    for like in dict.fromkeys(each.like for each in found):
        counts[f"FAULT {': '.join(like)}"] += 1
        fault = next(each for each in found if each.like == like)
        smaller = made
        if not options.no_shrink:
            smaller, fault = shrunk(made, options.backends, fault, longest=options.longest)
        print(f"== seed {seed}: {fault.backend}, {fault.kind}\n{smaller.text()}{fault.text}\n", flush=True)


def inside(options: argparse.Namespace) -> None:
    """Lines that begin with `#` are for the process outside: the seed at work, and at last the counts."""
    counts: Counter[str] = Counter()
    for seed in range(options.seed, options.seed + options.count):
        print(f"#{seed}", flush=True)
        one(seed, options, counts)
    print(f"#{json.dumps(counts)}", flush=True)


def main() -> int:
    options = parsed()
    if options.inside:
        inside(options)
        return 0
    counts: Counter[str] = Counter()
    start, seed, end = time.time(), options.seed, options.seed + options.count
    while seed < end:
        chunk = min(50, end - seed)
        argv = [
            sys.executable,
            __file__,
            *sys.argv[1:],
            "--inside",
            "--seed",
            str(seed),
            "--count",
            str(chunk),
        ]
        at = seed
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                if line.startswith("#{"):
                    counts.update(json.loads(line[1:]))
                elif line.startswith("#"):
                    at = int(line[1:])
                else:
                    print(line, end="", flush=True)
        seed += chunk
        if process.returncode:
            name = signal.Signals(-process.returncode).name if process.returncode < 0 else process.returncode
            print(
                f"== seed {at}: the process ended: {name}\n{program(at, options.length).text()}", flush=True
            )
            counts[f"FAULT ended: {name}"] += 1
            seed = at + 1
    print(f"{json.dumps(counts, indent=1)}\nin {time.time() - start:.0f} s")
    return any(each.startswith("FAULT") for each in counts)


if __name__ == "__main__":
    sys.exit(main())
