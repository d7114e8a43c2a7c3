"""From a finished Relax module to a shared library."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tvm
import tvm_ffi
from tvm import IRModule, relax, tirx
from tvm.error import InternalError
from tvm.ir.transform import Pass, PassContext, Sequential, module_pass
from tvm.s_tir import dlight
from tvm.support import cc
from tvm.target import Target
from tvm.target.codegen import llvm_get_system_cpu, llvm_get_system_triple, llvm_is_valid_cpu

from dlc_tvm.build_ops import expand
from dlc_tvm.floats import legalizations, plain_floats
from dlc_tvm.guard import Guard
from dlc_tvm.kernel_sizes import own_sizes
from dlc_tvm.layout import cpu_layouts
from dlc_tvm.loops import with_loops
from dlc_tvm.marks import PART
from dlc_tvm.running import RUNNING
from dlc_tvm.schedule import schedule, unscheduled
from dlc_tvm.schedule.machine import machine_of
from dlc_tvm.schedule.nest import TVM_ERRORS, log
from dlc_tvm.schedule.vector_math import PIPELINE

DEFAULT_ARCH = "sm_90"
THREADS = 256  # of a block, where a GPU copies
# Operations of one kernel at most. TVM's own limit of 256 is reached where hundreds of numbers are added up, as for the norm of all gradients:
# analysing such a kernel takes the square of its length, seconds.
FUSED = 64

# Without this, a loop cut into parts of one turn gets a 32-bit zero for its 64-bit variable, which TVM then rejects.
LOWERING = {
    "s_tir.LoopPartition": {"no_unroll_loop_with_extent_one": True},
    "relax.FuseOps.max_depth": FUSED,
}


ROOM = 64 << 20
"""The bytes that a folder for temporary files has to have left."""


class ToolMissing(RuntimeError):
    """A program that this machine lacks, as what a target needs, and where to get it."""


def build(mod: IRModule, target: str = "llvm", *, opt: int = 2, guard: Guard | None = None) -> bytes:
    """The shared library of `mod` for `llvm` (this CPU), `llvm -mcpu=<name>`, `llvm -mtriple=<another machine's>`, `cuda` or
    `cuda -arch=<sm>`; its `main` checks first what `guard` asks for.

    `opt` 0 compiles each operation alone and plainly; 1 fuses and schedules; 2 also chooses layouts and moves work
    on weights into `<function>_transform_params`. A function's weights are its parameters after the first
    `num_input` (a function attribute); without it, all of them are inputs.
    """
    goal = parse_target(target)
    link = linker(goal)
    if goal.kind.name == "cuda":
        return _library(compile_cuda(mod, goal, opt=opt, guard=guard), link)
    return _library(compile_cpu(mod, goal, opt=opt, guard=guard), link)


def linker(target: Target) -> Callable[..., None]:
    """What links for the machine of a target: the system's compiler, or one of another machine by its name. Raises ToolMissing."""
    triple = str((target.host or target).attrs.get("mtriple", ""))
    machine, *rest = triple.split("-")
    if machine == llvm_get_system_triple().split("-")[0]:
        if cc.get_cc() is None:
            raise ToolMissing("a C++ compiler to link with: install g++ or clang")
        return cc.create_shared
    names = dict.fromkeys((triple, "-".join([machine, *rest[-2:]])))  # with and without a vendor
    tools = [f"{name}-{tool}" for name in names for tool in ("g++", "gcc", "clang++", "clang")]
    found = next(filter(shutil.which, tools), None)
    if found is None:
        raise ToolMissing(f"a compiler that links for {triple}: install {tools[0]}")
    return cc.cross_compiler(found, get_target_triple=lambda: triple)


def parse_target(text: str) -> Target:
    kind, *words = text.split()
    pairs = (word.lstrip("-").split("=", 1) for word in words)
    given = {name: int(value) if value.isdecimal() else value for name, value in pairs}
    if kind == "llvm":
        here = {"mcpu": llvm_get_system_cpu(), "mtriple": llvm_get_system_triple()}
        options = given if "mtriple" in given else {**here, **given}  # another machine has another processor
        if "mcpu" in options and not llvm_is_valid_cpu(options["mcpu"], options["mtriple"]):
            raise ValueError(f"LLVM knows no processor {options['mcpu']!r} for {options['mtriple']}")
        return Target({"kind": "llvm", **options})
    if kind == "cuda":
        limits = {"max_threads_per_block": 1024, "max_shared_memory_per_block": 49152, "thread_warp_size": 32}
        return Target({"kind": "cuda", "arch": DEFAULT_ARCH, **limits, **given}, host=parse_target("llvm"))
    raise ValueError(f"unknown target {kind!r}: expected 'llvm' or 'cuda'")


def compile_cpu(mod: IRModule, target: Target, *, opt: int, guard: Guard | None = None) -> Any:
    """With schedules as they come; if TVM fails at that, with those that it can lower; if not even so, without any."""
    guards = [guard.before(reads=True)] if guard is not None else []
    with target, PassContext(opt_level=3, config=LOWERING):
        for accepts in (lambda _: True, lambda kernel: lowers(kernel, target)) if opt >= 1 else ():
            try:
                kernels = cpu_kernels(mod, target, opt=opt, accepts=accepts)
                return _compile(kernels, target, guards, lowering=PIPELINE)
            except TVM_ERRORS as error:
                log.info("TVM failed, and is asked for less: %s", error)
        if opt >= 1:
            log.warning("TVM could not compile this with schedules: it will run slowly")
        return _compile(cpu_kernels(mod, target, opt=0), _hasty(target), guards)


def _hasty(target: Target) -> Target:
    """The target with LLVM's level 1: kernels without schedules lose a tenth by it, and compile a third faster."""
    return Target({**target.export(), "opt-level": 1})


def cpu_kernels(
    mod: IRModule, target: Target, *, opt: int, accepts: Callable[[Any], bool] = lambda _: True
) -> IRModule:
    """The module as calls of kernels, scheduled from `opt` 1 on; each says by which rule (`schedule.RULE`)."""
    machine = machine_of(target)
    mod = expand(mod, RUNNING)
    mod = cpu_layouts(mod, machine) if opt >= 2 else mod
    kernels = Sequential(_to_kernels(fuse=opt >= 1))(mod)
    scheduled = schedule(own_sizes(kernels), machine, accepts=accepts) if opt >= 1 else unscheduled(kernels)
    return with_loops(scheduled, parted=opt >= 1)


def compile_cuda(mod: IRModule, target: Target, *, opt: int, guard: Guard | None = None) -> Any:
    guards = [guard.before(reads=False)] if guard is not None else []
    gpu = dlight.gpu
    rules = [gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction()] if opt >= 1 else []
    with target, PassContext(opt_level=3, config=LOWERING):
        kernels = Sequential(_to_kernels(fuse=opt >= 1))(expand(mod))
        scheduled = dlight.ApplyDefaultSchedule(*rules, gpu.Fallback())(kernels)
        return _compile(with_loops(scheduled, threads=THREADS), target, guards)


def _to_kernels(*, fuse: bool) -> list[Any]:
    """Operations to loops. Constants are folded before fusion, so that none is computed at run time."""
    transform = relax.transform
    fusion = [transform.FuseOps(), transform.FuseTIR()] if fuse else []
    return [
        relax.backend.DispatchSampling(),
        relax.backend.DispatchSortScan(),
        transform.LegalizeOps(legalizations()),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        *fusion,
        without_scopes,
        plain_floats,
        transform.DeadCodeElimination(),
    ]


@module_pass(opt_level=0, name="dlc.WithoutScopes")
def without_scopes(mod: IRModule, _: Any) -> IRModule:
    """Kernels without the mark that TVM's own builder leaves around statements in a row: its code generator does not know it, and says
    so on stderr."""

    def inside(statement: Any) -> Any:
        return statement.body if statement.attr_key == "pragma_scope" else statement

    functions = {
        var: func.with_body(tvm_ffi.structural_map(func.body, (tirx.AttrStmt, inside), order="post"))
        if isinstance(func, tirx.PrimFunc)
        else func
        for var, func in mod.functions_items()
    }
    return IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)


def _to_machine(guards: Sequence[Pass] = ()) -> list[Any]:
    """Dataflow to virtual machine instructions, with memory planned where sizes are known; what `main` checks before it works comes
    in where TVM no longer drops what nobody reads."""
    transform = relax.transform
    return [
        transform.ToNonDataflow(),
        transform.RemovePurityChecking(),
        transform.CallTIRRewrite(),
        *guards,
        transform.StaticPlanBlockMemory(),
        transform.LowerAllocTensor(),
        transform.KillAfterLastUse(),
        transform.LowerRuntimeBuiltin(),
        transform.ComputePrimValue(),
        transform.VMShapeLower(),
        sort_shape_functions,
        transform.AttachGlobalSymbol(),
        own_parts,
    ]


@module_pass(opt_level=0, name="dlc.OwnParts")
def own_parts(mod: IRModule, _: Any) -> IRModule:
    """What only loops of the library call has no symbol: such calls are those of plain functions, not of TVM's packed ones."""
    functions = {
        var: func.without_attr("global_symbol") if func.attrs and PART in func.attrs else func
        for var, func in mod.functions_items()
    }
    return IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)


@module_pass(opt_level=0, name="dlc.SortShapeFunctions")
def sort_shape_functions(mod: IRModule, _: Any) -> IRModule:
    """The stores of functions that compute sizes, by their slots: TVM emits them in the order of addresses in memory."""
    functions = {
        var: func.with_body(tirx.SeqStmt(sorted(func.body.seq, key=lambda store: int(store.indices[0]))))
        if _computes_sizes(func)
        else func
        for var, func in mod.functions_items()
    }
    return IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)


def _computes_sizes(func: Any) -> bool:
    of_host = bool(func.attrs and "tirx.is_host_func" in func.attrs) and isinstance(func.body, tirx.SeqStmt)
    return of_host and all(isinstance(each, tirx.BufferStore) for each in func.body.seq)


def _compile(kernels: IRModule, target: Target, guards: Sequence[Pass], *, lowering: str = "s_tir") -> Any:
    machine_code = Sequential(_to_machine(guards))(_free_reshapes(kernels))
    return tvm.compile(machine_code, target, relax_pipeline=None, tir_pipeline=lowering)


def _free_reshapes(kernels: IRModule) -> IRModule:
    """Reshapes become views instead of copies, if TVM understands all of them."""
    try:
        return relax.transform.RewriteDataflowReshape()(kernels)
    except InternalError as error:  # it can't divide by symbolic sizes such as w - 4
        log.info("reshapes stay copies: %s", error)
        return kernels


def lowers(func: Any, target: Target) -> bool:
    """Whether TVM can turn a scheduled kernel into plain loops."""
    pipeline, host, _ = tvm.tirx.get_tir_pipeline(PIPELINE)
    bound = tvm.tirx.transform.BindTarget(target.with_host(target))
    try:
        with target, PassContext(opt_level=3, config=LOWERING):
            host()(pipeline(bound(IRModule({"main": func.with_attr("global_symbol", "main")}))))
    except TVM_ERRORS:
        return False
    return True


def _library(executable: Any, link: Callable[..., None]) -> bytes:
    """Linked without a build id or paths, so that equal modules give equal bytes. Raises ToolMissing where there is no room for files in between:
    LLVM ends the process when it can't write one."""
    with TemporaryDirectory() as folder:
        free = shutil.disk_usage(folder).free
        if free < ROOM:
            where = Path(folder).parent
            raise ToolMissing(
                f"{ROOM >> 20} MB to compile in, and {where} has {free >> 20} left: TMPDIR=FOLDER names a folder that has room"
            )
        path = Path(folder) / "model.so"
        options = ["-Wl,--build-id=none", "-s"]
        executable.export_library(str(path), fcompile=link, workspace_dir=folder, options=options)
        return path.read_bytes()


def cuda_source(library: bytes | Path) -> str:
    """The CUDA kernels that a library built for `cuda` carries.

    Found in the bytes, as text after its length: loading the library would need a GPU's driver.
    """
    content = library if isinstance(library, bytes) else library.read_bytes()
    texts = re.findall(rb"[\t\n\r\x20-\x7e]{64,}", content)
    sources = [text for text in texts if b"__global__" in text]
    if len(sources) != 1:
        raise ValueError("this library carries no CUDA source: was it built for 'cuda'?")
    length = len(sources[0]).to_bytes(8, "little")
    if content.find(length + sources[0]) < 0:
        raise ValueError(
            "the CUDA source in this library is damaged, or was written by another version of TVM"
        )
    return sources[0].decode("ascii")


def compile_cubin(source: str, arch: str = DEFAULT_ARCH) -> bytes:
    """Machine code of CUDA source for one architecture, made by nvcc; needs no GPU."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise ToolMissing(
            "nvcc not found: install the CUDA toolkit (12 or newer) and put its bin folder on PATH"
        )
    with TemporaryDirectory() as folder:
        code, cubin = Path(folder) / "kernels.cu", Path(folder) / "kernels.cubin"
        code.write_text(source)
        command = [nvcc, "-cubin", f"-arch={arch}", "-O3", "-o", str(cubin), str(code)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"nvcc failed:\n{result.stderr}")
        return cubin.read_bytes()
