"""Scripts as processes of their own that need not load their framework again: each is forked of one that has loaded it and done
nothing else, so that what one script leaves behind no other sees. That they run by themselves, `tests/backends/test_without_dlc.py`
shows in new processes."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import traceback
import warnings
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

MODULES = {
    "torch": ("torch", "torch.nn.functional", "safetensors.torch", "numpy"),
    "jax": ("jax", "jax.numpy", "optax", "safetensors.numpy", "numpy"),
}


def run(script: Path, options: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The script run beside itself, where a user's warning is an error."""
    framework = "torch" if "import torch" in script.read_text(encoding="utf-8") else "jax"
    out, err = (script.with_suffix(each) for each in (".out", ".err"))
    server = _server(framework)
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(json.dumps([str(script), list(options), str(out), str(err)]) + "\n")
    server.stdin.flush()
    code = int(server.stdout.readline())
    said, told = (each.read_text(encoding="utf-8") for each in (out, err))
    out.unlink()
    err.unlink()
    return subprocess.CompletedProcess([str(script), *options], code, said, told)


@cache
def _server(framework: str) -> subprocess.Popen[str]:
    """It ends with this process: then there is nothing more to read."""
    command = [sys.executable, "-W", "error::UserWarning", __file__, framework]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def serve(framework: str) -> None:
    for module in MODULES[framework]:
        import_module(module)
    for line in sys.stdin:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # JAX warns of forks, which are safe before it has computed anything
            child = os.fork()
        if not child:
            become(*json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(script: str, options: list[str], out: str, err: str) -> None:
    """Be the process of a script."""
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - open until the process ends
    os.chdir(Path(script).parent)
    sys.argv, sys.path[0] = [script, *options], str(Path(script).parent)
    code = 1
    try:
        runpy.run_path(script, run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
