"""Layers that stand for others, from -O2 on: each class that holds some fills them from a public state dict.

q_proj, k_proj, v_proj    ->    self.qkv_proj = nn.Linear(d, 3 * d)
                                JoinLinears({"qkv_proj": ["q_proj", "k_proj", "v_proj"]})      a hook of load_state_dict
conv1, bn1                ->    self.conv1 = nn.Conv2d(c, width, 3)
                                FoldNorms({"conv1": "bn1"})
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dlc.emit.body import Lines
from dlc.emit.forms import indexed
from dlc.emit.origins import expression
from dlc.emit.ranges import over
from dlc.emit.tree import Call, Expr, Keyword, Num, Pairs, Seq, Text, Word
from dlc.ir.index import has_index
from dlc.ir.nodes import Child, Function, Fused, Op, Program, walk
from dlc.once import once
from dlc.records import replace
from dlc.types.dims import Dim
from dlc_torch.standing import with_functions
from dlc_torch.structure import Init

JOIN = '''class JoinLinears:
    """A hook of `load_state_dict`: where the public network has several layers that read the
    same value, this one has a layer that does the work of all, in which their weights follow
    one another. A state dict with this file's own names loads as it is.
    """

    def __init__(self, layers: dict[str, list[str]]) -> None:
        self.layers = layers

    def __call__(
        self,
        module: nn.Module,
        state: dict[str, Tensor],
        prefix: str,
        metadata: dict[str, Any],
        strict: bool,
        missing: list[str],
        *_: object,
    ) -> None:
        own = module.state_dict(prefix=prefix)
        for layer, parts in self.layers.items():
            for name in ("weight", "bias"):
                key = f"{prefix}{layer}.{name}"
                if key in state or key not in own:
                    continue
                public = [f"{prefix}{part}.{name}" for part in parts]
                missing += [each for each in public if each not in state]
                found = [state.pop(each) for each in public if each in state]
                state[key] = torch.cat(found) if len(found) == len(public) else own[key]'''

FOLD = '''class FoldNorms:
    """A hook of `load_state_dict`: where the public network has a batch norm behind a layer, this
    one has it in the layer's weight and bias, which is the same in inference. A state dict with
    this file's own names loads as it is.
    """

    def __init__(
        self, norms: dict[str, str], eps: float = 1e-5, affine: bool = True, bias: bool = False
    ) -> None:
        self.norms = norms
        self.eps = eps
        self.affine = affine
        self.bias = bias  # whether the public layers have one

    def __call__(
        self,
        module: nn.Module,
        state: dict[str, Tensor],
        prefix: str,
        metadata: dict[str, Any],
        strict: bool,
        missing: list[str],
        *_: object,
    ) -> None:
        own = module.state_dict(prefix=prefix)
        for layer, norm in self.norms.items():
            keys = [f"{prefix}{layer}.weight", f"{prefix}{layer}.bias"]
            names = ["running_mean", "running_var", *(["weight", "bias"] if self.affine else [])]
            public = [f"{prefix}{norm}.{name}" for name in names]
            if all(key in state for key in keys) and not any(key in state for key in public):
                continue
            state.pop(f"{prefix}{norm}.num_batches_tracked", None)
            needed = [*keys[: 2 if self.bias else 1], *public]
            missing += [key for key in needed if key not in state]
            if all(key in state for key in needed):
                folded = self.fold(*(state[key] for key in needed))
            else:
                folded = own[keys[0]], own[keys[1]]
            for key in public:
                state.pop(key, None)
            state.update(zip(keys, folded, strict=True))

    def fold(self, weight: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(weight.dtype, torch.float32)
        bias, *norm = others if self.bias else (torch.zeros(()), *others)
        mean, var, *more = (each.to(wide) for each in norm)
        gamma, beta = more if self.affine else (torch.ones(()), torch.zeros(()))
        scale = gamma * torch.rsqrt(var + self.eps)
        folded = weight.to(wide) * scale.view(-1, *[1] * (weight.ndim - 1))
        return folded.to(weight.dtype), (beta + (bias - mean) * scale).to(weight.dtype)'''

TRAIN = '''
    def train(self, mode: bool = True) -> Self:
        """With its batch norms folded into other layers, the network is for inference only."""
        if mode:
            raise RuntimeError("batch norms are folded into other layers: train what -O1 emits")
        return super().train(mode)'''


@once
def bare(program: Program) -> Program:
    """The program without what says how the parameters of layers are prepared: the layers themselves have them."""
    if not any(child.fused is not None for each in program.functions.values() for child in each.children):
        return program
    made = with_functions(program)
    return made.with_functions({name: _bare(each, program) for name, each in made.functions.items()})


def _bare(function: Function, program: Program) -> Function:
    layers = {path for child in function.children if child.fused is not None for path in child.paths()}
    called = {op.path for op in walk(function.body) if op.callee}
    children = (
        each
        if each.path in called or each.call is not None
        else _uncalled(each, program.functions[each.function])
        for each in function.children
    )
    params = (each for each in function.params if each.name.rpartition(".")[0] not in layers)
    return replace(function, params=tuple(params), children=tuple(children))


def _uncalled(child: Child, function: Function) -> Child:
    """An instance that only training applies, with how it is made: its call is in no program for inference."""
    if function.library:
        return child
    sizes = tuple((name, Dim.of(size)) for name, size in function.sizes)
    call = Op("call", (), (), function.static, callee=child.function, path=child.path, known=sizes)
    return replace(child, call=call)


def is_folded(function: Function) -> bool:
    return any(child.fused is not None and child.fused.how == "folded" for child in function.children)


def hooks(children: Iterable[Child]) -> Iterator[Init]:
    """The statements of a constructor that have layers filled from public weights."""
    groups: dict[object, list[Child]] = {}
    for child in children:
        if child.fused is not None:
            turns = child.turns if has_index(child.path) else None
            about = replace(child.fused, parts=())
            groups.setdefault((about, child.when, turns), []).append(child)
    for group in groups.values():
        first = group[0]
        assert first.fused is not None
        made = Call(Word("self.register_load_state_dict_pre_hook"), (_hook(first.fused, group),))
        yield Init(
            "",
            made,
            when=None if first.when is None else expression(first.when),
            over=over(Num(first.count, "count"), first.start, first.step) if has_index(first.path) else None,
        )


def _hook(fused: Fused, group: Sequence[Child]) -> Expr:
    pairs = Pairs(tuple((_key(child.path), _parts(child.fused)) for child in group if child.fused))
    if fused.how == "joined":
        return Call(Word("JoinLinears"), (pairs,))
    options: list[Expr] = [Keyword("eps", Num(fused.eps, "eps"), Num(1e-5))]
    options += [] if fused.affine else [Keyword("affine", Word("False"), Word("True"))]
    options += [Keyword("bias", Word("True"), Word("False"))] if fused.bias else []
    return Call(Word("FoldNorms"), (pairs, *options))


def _parts(fused: Fused) -> Expr:
    if fused.how == "folded":
        return _key(fused.parts[1])
    return Seq(tuple(map(_key, fused.parts)), "[]")


def _key(path: str) -> Expr:
    return indexed(path) if has_index(path) else Text(path)


def definitions(functions: Iterable[Function]) -> Iterator[Lines]:
    """The classes of hooks that a file needs, each once."""
    hows = {child.fused.how for each in functions for child in each.children if child.fused is not None}
    if "joined" in hows:
        yield JOIN.splitlines()
    if "folded" in hows:
        yield FOLD.splitlines()


def refusal() -> Lines:
    """The method of a model that refuses training."""
    return TRAIN.splitlines()
