"""Optimizers that a script writes out, as classes beside PyTorch's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dlc.backend import EmitOptions
from dlc.backend.script import Form, Memory
from dlc.emit.layout import layout
from dlc.emit.script import OPTIMIZERS, pascal
from dlc.emit.script_rules import Blocks, Said, Written, blocks_of, drawing, memories
from dlc.ir.nodes import Program
from dlc_torch.emit import emit

Lines = list[str]
DTYPES = {"f64": "float64", "f16": "float16", "bf16": "bfloat16", "bool": "bool", "u8": "uint8"}
FRESH = frozenset(
    [
        "add",
        "sub",
        "mul",
        "div",
        "neg",
        "pow",
        "exp",
        "sqrt",
        "rsqrt",
        "maximum",
        "minimum",
        "where",
        "abs",
        "matmul",
        "sum",
        "max",
        "min",
        "mean",
        "sign",
    ]
)
"""Ops whose results are tensors of their own, whatever they are given."""
COUNT = "step"
"""What a state calls the number of steps, as PyTorch's own do: it alone is no float of the parameter's kind when it is loaded."""


def _key(memory: Memory) -> str:
    return f"own_{COUNT}" if memory.name == COUNT else memory.name


def emitted(program: Program) -> Blocks:
    """The functions of a form, its own last."""
    made = emit(program, EmitOptions(name="rule"))
    blocks = blocks_of(str(made.files["rule.py"]))
    own = blocks.pop(str(made.meta["class"]))
    return {**blocks, str(made.meta["class"]): own}


def definitions(rules: Sequence[Written | None]) -> Iterator[Lines]:
    """What is remembered at first, and the classes."""
    made = {each.name: each for each in rules if each is not None}.values()
    for said in {said.name: said for each in made if _remembers(each) for said in each.functions}.values():
        yield _memory(said)
    if any(each.draws for each in made):
        yield OPTIMIZERS
    for said in {said.name: said for each in made if each.draws for said in each.functions}.values():
        yield _draws(said)
    for each in made:
        yield from _definition(each)


def _definition(written: Written) -> Iterator[Lines]:
    if len(written.functions) > 1:
        yield written.tabled()
    yield [
        f"class {pascal(written.name)}(torch.optim.Optimizer):",
        f'    """`{written.functions[0].name}`, for each parameter by itself."""',
        "",
        *layout(NAMED if written.draws else UNNAMED, 1),
        '        super().__init__(params, {"lr": lr})',
        *(["        self.names, self.turn = names, 0"] if written.draws else []),
        *(_begun(written) if _remembers(written) else []),
        "",
        "    @torch.no_grad()",
        "    def step(self, closure: None = None) -> None:",
        "        for group in self.param_groups:",
        '            for p in group["params"]:',
        "                g = torch.zeros_like(p) if p.grad is None else p.grad",
        *_stepped(written),
        *(_loaded() if written.dtypes - {"f32"} else []),
    ]


UNNAMED = "def __init__(self, params: Iterable[Tensor], lr: float = 0.0) -> None:"
NAMED = "def __init__(self, params: Iterable[Tensor], names: dict[Tensor, str], lr: float = 0.0) -> None:"


def _draws(said: Said) -> Lines:
    lines = [f"def {said.name}_draws(p: Tensor, name: str, step: int) -> list[Tensor]:"]
    lines += [f'    """What `{said.name}` draws for a parameter."""']
    found = ", ".join(drawing(said, "optimizer_rng(name, step, {})".format))
    lines += layout(f"found = [{found}]", 1)
    return [*lines, "    return [torch.from_numpy(np.asarray(each)).to(p.device) for each in found]"]


def _memory(said: Said) -> Lines:
    found = {_key(each): _begins(each, shape.format(p="p")) for each, shape in memories(said)}
    lines = [f"def {said.name}_memory(p: Tensor) -> dict[str, Tensor]:"]
    lines += [f'    """What `{said.name}` remembers of a parameter, at first."""']
    items = ", ".join(f'"{name}": {value}' for name, value in found.items())
    return [*lines, *layout(f"return {{{items}}}", 1)]


def _begins(memory: Memory, shape: str) -> str:
    dtype = (
        "" if memory.dtype == "f32" else f", dtype=torch.{DTYPES.get(memory.dtype) or _integer(memory.dtype)}"
    )
    if memory.value == 0:
        alike = shape == "p.shape" and not dtype
        return "torch.zeros_like(p)" if alike else f"torch.zeros({shape}{dtype}, device=p.device)"
    return f"torch.full({shape}, {memory.value!r}{dtype}, device=p.device)"


def _integer(dtype: str) -> str:
    return dtype.replace("i", "int").replace("u", "uint")


def _begun(written: Written) -> Lines:
    memory = f"{written.functions[0].name}_memory(p)"
    lines: Lines = []
    if len(written.functions) > 1:
        drawn = ", _" if written.draws else ""
        lines, memory = [f"                _, memory{drawn} = {written.table}"], "memory(p)"
    lines = ["        for group in self.param_groups:", '            for p in group["params"]:', *lines]
    return [*lines, *layout(f'self.state[p] = {{"{COUNT}": torch.tensor(0), **{memory}}}', 4)]


def _remembers(written: Written) -> bool:
    """Whether there is anything to remember; what steps are counted for is `t`."""
    return "t" in written.takes or any(form.memory for form in written.forms)


def _stepped(written: Written) -> Lines:
    """One step of one parameter."""
    lines = ["state = self.state[p]", f'state["{COUNT}"] += 1'] if _remembers(written) else []
    lines += [f't = state["{COUNT}"].to(p.device)'] if "t" in written.takes else []
    lines += ['lr = torch.tensor(group["lr"], device=p.device)'] if "lr" in written.takes else []
    further = "".join(f", {name}" for name in written.takes) + (", *drawn" if written.draws else "")
    name = written.functions[0].name
    forms = [*written.forms]
    several = len(written.functions) > 1
    if written.draws:
        lines += [f"*_, draw = {written.table}"] if several else []
        draw = "draw" if several else f"{name}_draws"
        lines += [f"drawn = {draw}(p, self.names[p], self.turn)"]
    if not several and not any(map(_is_shared, forms)):
        held = [f'state["{_key(each)}"]' for each in forms[0].memory]
        call = f"{name}({', '.join(('p', 'g', *held))}{further})"
        lines += [f"{', '.join(('new', *held))} = {call}"]
    else:
        lines += (
            [f"update, *_ = {written.table}" if written.draws else f"update, _ = {written.table}"]
            if several
            else []
        )
        update = "update" if several else name
        lines += [f'names = [name for name in state if name != "{COUNT}"]']
        lines += [f"found = {update}(p, g, *(state[name] for name in names){further})"]
        lines += ["new, *now = found if isinstance(found, tuple) else (found,)"]
        lines += ["# (Copies: what is remembered may be the parameter as it was.)"]
        lines += ["state.update(zip(names, (each.clone() for each in now), strict=True))"]
    return [line for each in (*lines, "p.copy_(new)") for line in layout(each, 4)]


def _is_shared(form: Form) -> bool:
    """Whether what is remembered may be a tensor that is another one, too."""
    main = form.program.main
    made = {value.name: op.op for op in main.body for value in op.outputs}
    kept = [value for _, value in main.outputs[1:]]
    return len(set(kept)) < len(kept) or any(made.get(value) not in FRESH for value in kept)


def _loaded() -> Lines:
    return [
        "",
        "    def load_state_dict(self, state_dict: dict[str, Any]) -> None:",
        '        """With the dtypes that it was saved with: PyTorch makes all of it floats."""',
        "        super().load_state_dict(state_dict)",
        '        for p, saved in zip(self.state, state_dict["state"].values(), strict=True):',
        "            self.state[p] = {name: each.to(p.device) for name, each in saved.items()}",
    ]
