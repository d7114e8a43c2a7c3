"""A program as one file: `apply(params, …)`, a function for each module of the spec, what they use of `library.py`."""

from __future__ import annotations

from pathlib import Path as File

from dlc import ops
from dlc.backend import Artifact, EmitOptions
from dlc.emit.body import Body, Lines, shapes_text, tensors
from dlc.emit.draft import Dialect
from dlc.emit.file import Library, imports, names_in
from dlc.emit.forms import indexed
from dlc.emit.layout import layout
from dlc.emit.names import identifier, snake, unique
from dlc.emit.python import comment, docstring
from dlc.emit.ranges import over
from dlc.emit.rows import HOST
from dlc.emit.statements import NOWHERE, Draft, Loop, Stmt
from dlc.emit.tree import At, Call, Expr, Make, Path, Text, Word, transform
from dlc.ir.index import has_index
from dlc.ir.nodes import Op, Program
from dlc.records import dataclass, field, replace
from dlc_arrays import rows
from dlc_arrays.drafter import ArrayDrafter, takes_params
from dlc_arrays.forms import SAY

DIALECT = Dialect(
    name="arrays",
    rows=rows.ROWS,
    host=HOST,
    composites=rows.COMPOSITES,
    forms=SAY,
    dtypes=rows.DTYPES,
    defaults=rows.DEFAULTS,
    reserved=rows.RESERVED,
    is_layer=lambda expr: isinstance(expr, Call) and isinstance(next(iter(expr.args), None), At),
)
LIBRARY = Library(File(__file__).with_name("library.py"))


def is_native(op: Op) -> bool:
    known = (*rows.ROWS, *rows.COMPOSITES, *SAY, "size")
    return op.op in known or ops.row(op.op, "arrays") is not None


def emit(program: Program, options: EmitOptions) -> Artifact:
    functions = Functions(program, options.precision)
    functions.add(program.entry)
    own = "\n\n\n".join(map("\n".join, functions.written))
    body = "\n\n\n".join([*map("\n".join, LIBRARY.copied(own)), own])
    typing = {"collections.abc": ("Callable", "Sequence"), "typing": ("Any",)}
    head = [f"# {comment(line)}" for line in options.header]
    lines = [*head, "", *imports({*names_in(body), "Any"}, typing, ["import numpy as np"])]
    text = "\n".join([*lines, "", "Params = dict[Any, Any]", "", "", body, ""])
    main = program.main
    results = zip(main.outputs, main.output_types, strict=True)
    meta = {
        "precision": options.precision,
        "inputs": [(value.name, value.type.dtype) for value in main.inputs],
        "sizes": list(main.given_sizes),
        "outputs": [(name, type.dtype) for (name, _), type in results],
    }
    return Artifact("arrays", {f"{options.name}.py": text}, meta)


@dataclass
class Functions:
    """The functions of one program, callees first."""

    program: Program
    precision: str
    names: dict[str, str] = field(default_factory=dict)
    drafts: dict[str, Draft] = field(default_factory=dict)
    written: list[Lines] = field(default_factory=list)

    def draft(self, name: str) -> Draft:
        if name not in self.drafts:
            about = self.program, self.program.functions[name], DIALECT, self.precision, self.needs
            self.drafts[name] = ArrayDrafter(*about).draft()
        return self.drafts[name]

    def needs(self, name: str) -> frozenset[str]:
        return self.draft(name).needs

    def add(self, name: str) -> None:
        """A function, and before it what it calls."""
        if name in self.names:
            return
        draft = self.draft(name)
        for node in draft.nodes():
            if isinstance(node, Make):
                self.add(node.function)
        taken = {*self.names.values(), *rows.RESERVED, *LIBRARY.functions}
        main = name == self.program.entry
        self.names[name] = "apply" if main else unique(snake(draft.function.source.strip("_")), taken)
        draft = draft.rewritten(lambda expr: transform(expr, self._settled))
        self.written.append(self._lines(replace(draft, body=tuple(map(_turns, draft.body))), main))

    def _lines(self, draft: Draft, main: bool) -> Lines:
        function = draft.function
        body = Body(draft, DIALECT, 1, {*self.names.values(), *LIBRARY.functions})
        held = ["params: Params"] if main or takes_params(function) else []
        sizes = [f"{identifier(each)}: int" for each in sorted(draft.needs)]
        given = ", ".join(
            [*held, *tensors(draft, body.inputs, "np.ndarray"), *(["*"] if sizes else []), *sizes]
        )
        results = ["np.ndarray"] * len(function.outputs)
        result = results[0] if len(results) == 1 else f"tuple[{', '.join(results)}]"
        return [
            *layout(f"def {self.names[function.name]}({given}) -> {result}:"),
            *docstring(shapes_text(draft, body.inputs), 4),
            *body.lines(),
        ]

    def _settled(self, node: Expr) -> Expr:
        match node:
            case Path(path):
                place: Expr = Word("params")
                for label in path.split(".") if path else ():
                    place = At(place, (_key(label),))
                return place
            case Make(function, args):
                return Call(Word(self.names[function]), args)
        return node


def _turns(stmt: Stmt) -> Stmt:
    """Layers one after another are taken by their number."""
    if not isinstance(stmt, Loop):
        return stmt
    stmt = replace(stmt, body=tuple(map(_turns, stmt.body)))
    if stmt.source != NOWHERE:
        return stmt
    source = over(stmt.count, stmt.start, stmt.step)
    return replace(stmt, count=NOWHERE, variable="i", source=source)


def _key(label: str) -> Expr:
    if has_index(label):
        return indexed(label)
    return Word(label) if label.isdigit() else Text(label)
