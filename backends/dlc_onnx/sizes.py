"""Sizes that are known only when the model runs, computed once per function from the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from dlc.emit.sizes import Source, readable
from dlc.ir.nodes import Function
from dlc.types.dim_solve import slope_and_rest
from dlc.types.dims import Atom, Dim, Monomial
from dlc.types.facts import Facts, Relation
from dlc_onnx.body import Body
from dlc_onnx.naming import size_name
from dlc_onnx.template import Ref


@dataclass
class Sizes:
    """The sizes of one function. All values are i64[1], so that a shape is their concatenation."""

    function: Function
    body: Body
    inputs: Mapping[str, str]  # ONNX's names of the function's inputs
    given: Mapping[str, Ref] = field(default_factory=dict)  # and of sizes that are inputs, i64[]

    @cached_property
    def facts(self) -> Facts:
        return Facts(self.function.facts)

    def assume(self, relations: Sequence[Relation]) -> None:
        """Let what a body takes for granted, that stands in this function now, hold as well."""
        new = [each for each in relations if self.facts.decide(each) is None]
        if new:
            self.function = replace(self.function, facts=(*self.function.facts, *new))
            del self.facts

    def are_positive(self, sizes: Iterable[Dim]) -> bool:
        """Whether none of the sizes may be 0."""
        return all(self.facts.prove_ge(size, 1) for size in sizes)

    @cached_property
    def sources(self) -> Mapping[str, Source]:
        return readable(self.function)

    def vector(self, dims: Sequence[Dim]) -> Ref:
        """A list of sizes, i64[n]."""
        constants = [dim.constant for dim in dims]
        if None not in constants:
            return self.body.ints(each for each in constants if each is not None)
        if len(dims) == 1:
            return self.size(dims[0])
        return self._once(size_name(*dims), lambda: self.body.one("Concat", *map(self.size, dims), axis=0))

    def scalar(self, dim: Dim) -> Ref:
        """A size as a number, i64[]."""
        if dim.constant is not None:
            return self.body.const(dim.constant, "i64")
        return self._once(size_name(dim)[1:-1], lambda: self.body.one("Squeeze", self.size(dim)))

    def size(self, dim: Dim) -> Ref:
        """A size as a list of one, i64[1]."""
        if dim.constant is not None:
            return self.body.ints([dim.constant])
        return self._once(size_name(dim), lambda: self._sum(dim))

    def _once(self, name: str, compute: Callable[[], Ref]) -> Ref:
        """What all instances share belongs to none of them: it has a name of its own at the root."""
        known = self.body.shared(("size", name))
        if known is None:
            start = len(self.body.nodes)
            with self.body.at("/sizes"):
                known = compute()
            if known in self.body.fresh_results(start):
                known = self.body.rename(known, self.body.names.fresh(f"/{name}"))
            self.body.share(("size", name), known)
        return known

    def _sum(self, dim: Dim) -> Ref:
        """Its parts are sizes of their own, which others may share."""
        (monomial, coefficient), *rest = dim.ordered()
        if not rest:
            return self._term(monomial, coefficient)
        total = self.size(Dim({monomial: coefficient}))
        for monomial, coefficient in rest:
            part = self.size(Dim({monomial: abs(coefficient)}))
            total = self.body.one("Sub" if coefficient < 0 else "Add", total, part)
        return total

    def _term(self, monomial: Monomial, coefficient: int) -> Ref:
        if coefficient != 1:
            return self.body.one("Mul", self.size(Dim({monomial: 1})), [coefficient])
        atoms = [atom for atom, power in monomial for _ in range(power)]
        if len(atoms) == 1:
            return self._atom(atoms[0])
        result, *factors = (self.size(Dim({((atom, 1),): 1})) for atom in atoms)
        for factor in factors:
            result = self.body.one("Mul", result, factor)
        return result

    def _atom(self, atom: str | Atom) -> Ref:
        if isinstance(atom, str):
            return self._read(atom)
        if atom.op == "//":
            return self._quotient(*atom.args)
        kind = {"%": "Mod", "min": "Min", "max": "Max"}[atom.op]
        return self.body.one(kind, *map(self.size, atom.args))

    def _quotient(self, a: Dim, b: Dim) -> Ref:
        """ONNX cuts quotients towards 0, so what may be negative is divided without its rest."""
        top, bottom = self.size(a), self.size(b)
        if self.facts.prove_ge(a, 0) is not True:
            top = self.body.one("Sub", top, self.body.one("Mod", top, bottom))
        return self.body.one("Div", top, bottom)

    def _read(self, name: str) -> Ref:
        """A dim, read from an axis of an input that is the dim alone or linear in it."""
        if name in self.given:
            return self.body.one("Unsqueeze", self.given[name], [0])
        source = self.sources[name]
        variable = self.inputs[self.function.inputs[source.input].name]
        read = self.body.one("Shape", variable, start=source.axis, end=source.axis + 1)
        return self._solved(source, name, read)

    def _solved(self, source: Source, name: str, read: Ref) -> Ref:
        factor, rest = slope_and_rest(source.size, name)
        if rest:
            read = self.body.one("Sub", read, [rest])
        return read if factor == 1 else self.body.one("Div", read, [factor])
