"""How layers that stand for others begin: as those would, so that a fresh network is distributed as the public one.

q_proj, k_proj, v_proj    qkv_proj begins as each of them does, or its rows in several ways (`parameter.data.split`)
conv1, bn1                conv1 begins as it did, times what the norm begins with: nothing as a rule, as 1 / sqrt(1 + eps) is 1
                          but for a millionth
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain

from dlc.emit.initial import Form, Shape, close_forms, fans, recognise
from dlc.emit.origins import forgotten
from dlc.ir.nodes import Function, Fused, Op, Parameter, Program
from dlc.ir.paths import Paths
from dlc.ir.splice import Draws, Names, Splice, prefixed
from dlc.records import dataclass, replace
from dlc.types.terms import untraced
from dlc_torch.initial import Change, agreed

# (leaf, shape, path of the public parameter) -> how that begins
Begin = Callable[[str, Shape, str], Change]
NEAR = 1e-3


def standing(program: Program) -> dict[str, Fused]:
    """The layers of a program that stand for others, by path, with the paths of those in a checkpoint."""
    found: dict[str, Fused] = {}
    stack = [(program.entry, "")]
    while stack:
        name, prefix = stack.pop()
        for child in chain.from_iterable(each.each() for each in program.functions[name].children):
            path = prefixed(prefix, child.path)
            stack.append((child.function, path))
            if child.fused is not None:
                found[path] = child.fused.moved(partial(prefixed, prefix))
    return found


def with_functions(program: Program) -> Program:
    """The program with a function for each parameter of a folded layer that begins as no distribution says: with a norm whose
    scale is drawn, say."""
    public = {each.path: each for each in program.parameters}
    folded = {path: each for path, each in standing(program).items() if each.how == "folded"}
    if all(_is_told(program, public, each) for each in folded.values()):
        return program
    made: dict[str, Function] = {}
    for prefix, param in Paths(program.functions).expand(program.entry):
        path = prefixed(prefix, param.name)
        fused = folded.get(path.rpartition(".")[0])
        if fused is not None and param.init and not _is_told(program, public, fused):
            begin = [program.functions[public[prefixed(prefix, source)].init] for source in param.sources]
            made[name_of(path)] = _computed(path, program.functions[param.init], begin)
    return program.with_functions({**made, **program.functions})


def _is_told(program: Program, public: Mapping[str, Parameter], fused: Fused) -> bool:
    layer, norm = fused.parts
    own = [f"{layer}.{leaf}" for leaf in ("weight", *(("bias",) if fused.bias else ()))]
    forms = [recognise(program.functions[public[f"{norm}.{leaf}"].init]) for leaf in norm_leaves(fused)]
    return all(map(is_number, forms)) and all(
        recognise(program.functions[public[path].init]) is not None for path in own
    )


def _computed(path: str, prepare: Function, begin: Sequence[Function]) -> Function:
    """What a prepared tensor is of initial values."""
    names, draws = Names.of(prepare), Draws()
    values: dict[str, str] = {}
    body: list[Op] = []
    for value, function in zip(prepare.inputs, begin, strict=True):
        splice = Splice(names, draws, {}, {}, str)
        body += splice.body(function.body)
        values[value.name] = splice.values[function.outputs[0][1]]
    body += (op.renamed(values) for op in prepare.body)
    leaf = path.rpartition(".")[2]
    plain = (replace(op, attrs=tuple((key, untraced(value)) for key, value in op.attrs)) for op in body)
    return forgotten(Function(name_of(path), leaf, "init", (), prepare.outputs, tuple(plain)))


def name_of(path: str) -> str:
    """What the function is called that computes how a parameter begins."""
    return f"begin {path}"


@dataclass(frozen=True)
class Beginning:
    """How a parameter `leaf` of a layer that stands for others begins."""

    fused: Fused
    leaf: str
    public: Mapping[str, Parameter]
    begin: Begin

    def changes(self, shape: Shape, weight: Shape) -> Iterator[Change]:
        """What is to be done where PyTorch begins otherwise; `weight` is the shape of the layer's weight."""
        bound = 1 / math.sqrt(fans(weight)[0])
        own = Form("uniform", 2 * bound, -bound)
        made = self._joined(shape) if self.fused.how == "joined" else self._folded()
        begins_so = all(close_forms(each.form, own) for each in made.parts or (made,))
        if not begins_so or (made.factor, made.shift) != (1.0, 0.0):
            yield made

    def _source(self, part: int, leaf: str) -> Change:
        path = f"{self.fused.parts[part]}.{leaf}"
        return self.begin(self.leaf, self.public[path].type.shape or (), path)

    def _joined(self, shape: Shape) -> Change:
        parts = tuple(self._source(i, self.leaf) for i in range(len(self.fused.parts)))
        whole = replace(parts[0], shape=shape, rule="", parts=parts)
        return replace(whole, parts=()) if agreed(whole) else replace(whole, form=None, init="")

    def _folded(self) -> Change:
        """The bias of a layer that had none begins as a number; what no distribution says, a function computes."""
        numbers = [self._source(1, leaf).form for leaf in norm_leaves(self.fused)]
        mean, var, gamma, beta = (*numbers, Form("constant", shift=1.0), Form("constant"))[:4]
        has_own = self.leaf == "weight" or self.fused.bias
        made = self._source(0, self.leaf) if has_own else self._source(1, "running_mean")
        form = made.form if has_own else Form("constant")
        if form is None or not all(map(is_number, (mean, var, gamma, beta))):
            return replace(made, form=None, init=name_of(made.path), rule="")
        assert mean and var and gamma and beta
        factor = gamma.shift / math.sqrt(var.shift + self.fused.eps)
        shift = 0.0 if self.leaf == "weight" else beta.shift - mean.shift * factor
        if is_number(form) or not factor:
            return replace(made, form=Form("constant", shift=form.shift * factor + shift), rule="")
        factor = 1.0 if abs(factor - 1.0) < NEAR else float(factor)
        return replace(made, form=form, factor=factor, shift=float(shift), rule="")


def norm_leaves(fused: Fused) -> tuple[str, ...]:
    return ("running_mean", "running_var", *(("weight", "bias") if fused.affine else ()))


def is_number(form: Form | None) -> bool:
    return form is not None and form.draw == "constant"
