"""Optimizers that a script writes out, as optax's transformations."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from dlc.backend import EmitOptions
from dlc.backend.script import Memory
from dlc.emit.layout import layout
from dlc.emit.relaid import laid_out
from dlc.emit.script import OPTIMIZERS
from dlc.emit.script_rules import Blocks, Said, Written, blocks_of, drawing, memories
from dlc.ir.nodes import Program
from dlc_jax.emit import emit

Lines = list[str]
DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "bool": "bool_", "u8": "uint8"}
WIDE = [
    "def wide() -> Any:",
    '    """JAX with numbers of 64 bits, for a while."""',
    '    if hasattr(jax, "enable_x64"):',
    "        return jax.enable_x64(True)",
    "    from jax.experimental import enable_x64",
    "",
    "    return enable_x64()",
]


class Rules:
    """The functions of optimizers, and which of them need numbers of 64 bits."""

    def __init__(self) -> None:
        self.wide: set[str] = set()

    def emitted(self, program: Program) -> Blocks:
        """The functions of a form, its own last: under the optimizer's name, and without parameters of a network."""
        made = emit(program, EmitOptions(name="rule"))
        self.wide |= {program.main.source} if made.meta["x64"] else set()
        blocks = blocks_of(str(made.files["rule.py"]))
        own, name = blocks.pop("apply"), program.main.source
        text = re.sub(r"\bapply\((\s*)params: Params,\s*", rf"{name}(\1", own)
        return {**blocks, name: laid_out(text, name)}


def definitions(rules: Sequence[Written | None], *, wide: Collection[str], stacked: bool) -> Iterator[Lines]:
    """What is remembered at first, and the transformations."""
    made = {each.name: each for each in rules if each is not None}.values()
    if not made:
        return
    if wide:
        yield WIDE
    if stacked:
        yield STACKED
    draws = any(each.draws for each in made)
    yield _each_by_itself(stacked=stacked, draws=draws)
    if draws:
        yield OPTIMIZERS
    for said in {said.name: said for each in made if each.draws for said in each.functions}.values():
        yield _draws(said)
    for said in {said.name: said for each in made for said in each.functions}.values():
        yield _memory(said)
    for each in made:
        if len(each.functions) > 1:
            yield each.tabled()
        is_wide = any(form.program.main.source in wide for form in each.forms)
        yield _transformation(each, wide=is_wide, draws=draws)


STACKED = [
    "def stacked(path: tuple[Any, ...], rule: Callable[..., Any], *axes: int | None) -> Any:",
    '    """A rule for one layer as one for all, which stand along the first axes of a leaf."""',
    '    names = [str(getattr(each, "key", "")) for each in path]',
    "    for n in range(1, len(names)):",
    '        if callable(PATHS.get(".".join(names[:n]))):',
    "            rule = jax.vmap(rule, axes)",
    "    return rule",
]


def _each_by_itself(*, stacked: bool, draws: bool) -> Lines:
    also = ", None" if draws else ""
    begun = "stacked(path, begin, 0)(p)" if stacked else "begin(p)"
    done = f"stacked(path, rule, 0, 0, 0, None, None{also})" if stacked else "rule"
    drawn = ['        noise = rates.get("noise", {})'] if draws else []
    given = ", noise.get(path[0].key, ())" if draws else ""
    return [
        "def each_by_itself(",
        "    rule: Callable[..., Any], begin: Callable[[Array], Any], label: str",
        ") -> optax.GradientTransformationExtraArgs:",
        '    """A rule for one parameter as an optimizer of all: its steps are subtracted as they are."""',
        "",
        "    def init(params: Params) -> Any:",
        "        def begun(path: tuple[Any, ...], p: Array) -> Any:",
        f"            return {begun}",
        "",
        "        return jnp.zeros((), jnp.int32), jax.tree_util.tree_map_with_path(begun, params)",
        "",
        "    def update(gradients: Params, state: Any, params: Params, **rates: Any) -> Any:",
        "        t = state[0] + 1",
        *drawn,
        "        leaves, form = jax.tree_util.tree_flatten_with_path(params)",
        "        given = zip(form.flatten_up_to(gradients), form.flatten_up_to(state[1]), strict=True)",
        "        found = [",
        *layout(f"{done}(p, g, memory, t, rates[label]{given})", 3),
        "            for (path, p), (g, memory) in zip(leaves, given, strict=True)",
        "        ]",
        "        steps, memory = zip(*found, strict=True)",
        "        return form.unflatten(steps), (t, form.unflatten(memory))",
        "",
        "    return optax.GradientTransformationExtraArgs(init, update)",
    ]


def _memory(said: Said) -> Lines:
    found = [_begins(each, shape.format(p="p")) for each, shape in memories(said)]
    lines = [f"def {said.name}_memory(p: Array) -> tuple[Array, ...]:"]
    lines += [f'    """What `{said.name}` remembers of a parameter, at first."""']
    return [*lines, *layout(f"return ({', '.join(found)}{',' * (len(found) == 1)})", 1)]


def _begins(memory: Memory, shape: str) -> str:
    if memory.dtype == "f32" and shape == "p.shape" and memory.value == 0:
        return "jnp.zeros_like(p)"
    dtype = "int" if memory.dtype == "i64" else f"jnp.{DTYPES.get(memory.dtype) or _integer(memory.dtype)}"
    if memory.value == 0:
        return f"jnp.zeros({shape}, {dtype})"
    return f"jnp.full({shape}, {memory.value!r}, {dtype})"


def _integer(dtype: str) -> str:
    return dtype.replace("i", "int").replace("u", "uint")


def _draws(said: Said) -> Lines:
    lines = [f"def {said.name}_draws(p: jax.ShapeDtypeStruct, name: str, step: int) -> list[np.ndarray]:"]
    lines += [f'    """What `{said.name}` draws for a parameter."""']
    found = ", ".join(drawing(said, "optimizer_rng(name, step, {})".format))
    return [*lines, *layout(f"return [{found}]", 1)]


def _transformation(written: Written, *, wide: bool, draws: bool) -> Lines:
    """The optimizer as one of optax, by the label of its rate."""
    name, several = written.functions[0].name, len(written.functions) > 1
    takes = "".join(f", {each}" for each in written.takes) + (", *noise" if written.draws else "")
    rule, memory = ("rule", f"lambda p: {written.table}[1](p)") if several else (name, f"{name}_memory")
    remembers = any(form.memory for form in written.forms)
    call = f"{rule}(p, g{', *memory' if remembers else ''}{takes})"
    lines = (
        [f"rule, *_ = {written.table}" if written.draws else f"rule, _ = {written.table}"] if several else []
    )
    if not remembers:
        lines += [f"return p - {call}, memory"]
    else:
        plain = all(form.memory for form in written.forms)
        lines += [f"new, *now = {call}"] if plain else [f"found = {call}"]
        lines += [] if plain else ["new, *now = found if isinstance(found, tuple) else (found,)"]
        lines += ["now = (each.astype(old.dtype) for each, old in zip(now, memory, strict=True))"]
        lines += ["return p - new, tuple(now)"]
    if wide:
        lines = ["with wide():", *(f"    {each}" for each in lines)]
    return [
        f"def {written.name}_optimizer(label: str) -> optax.GradientTransformationExtraArgs:",
        f'    """`{name}` with the rate of that label."""',
        "",
        f"    def step(p: Array, g: Array, memory: Any, t: Array, lr: Array{', noise: Any' if draws else ''}) -> Any:",
        *(f"        {each}" for each in lines),
        "",
        f"    return each_by_itself(step, {memory}, label)",
    ]
