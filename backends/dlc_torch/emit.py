"""A program as one Python file of `nn.Module` classes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import groupby

from dlc.backend import Artifact, EmitOptions
from dlc.emit import helpers as helping
from dlc.emit.asked import EXACT, Lengths
from dlc.emit.body import Lines
from dlc.emit.common import Common, merged
from dlc.emit.file import imports, names_in
from dlc.emit.layout import INDENT, layout
from dlc.emit.names import field_name
from dlc.emit.outline import outline
from dlc.emit.python import comment, quoted
from dlc.emit.settled import settled
from dlc.emit.tidy import tidied
from dlc.emit.tree import text
from dlc.ir.drawing import drawing_functions
from dlc.ir.nodes import Parameter, Program
from dlc.ir.routing import ROUTED
from dlc.once import remembering
from dlc.passes.held_numbers import within_floats
from dlc.passes.recompute import Recompute
from dlc.records import dataclass
from dlc_torch import fused, neural, recurrent, rows
from dlc_torch.checkpoint_names import definition
from dlc_torch.classes import Grouping, settle
from dlc_torch.constants import held
from dlc_torch.fused import bare
from dlc_torch.init_weights import InitWeights, changed, dependent
from dlc_torch.methods import KEPT
from dlc_torch.naming import name_classes
from dlc_torch.reach import reach
from dlc_torch.recurrent import with_states
from dlc_torch.source import Source
from dlc_torch.structure import Node, method_name, renamed
from dlc_torch.working import working

# What of the library is said by PyTorch itself, not by a class or function of the file.
NATIVE = frozenset((*rows.COMPOSITES, *neural.LAYERS, ROUTED))

# Layers that PyTorch has in some forms only.
FORMS = frozenset(("spectral_norm", *recurrent.LAYERS))


def _lacked(family: Sequence[Program]) -> frozenset[str]:
    """The layers that PyTorch lacks in one of their forms: such a layer is a class in all."""
    functions = [each for program in family for each in program.functions.values()]
    return frozenset(
        each.source for each in functions if each.source in FORMS and neural.native_layer(each) is None
    )


@remembering()
def emit(program: Program, options: EmitOptions) -> Artifact:
    """The program as `NAME.py`; `meta` says what `load` needs besides."""

    def write(programs: Sequence[Program], defaults: bool, lengths: Lengths) -> Written:
        return Written.of(programs, program, options, defaults, lengths)

    family = options.family
    written = settled(family, write) if family is not None else write((program,), True, EXACT)
    grouping, content = written.grouping, written.text
    main = program.main
    program_entry = grouping.program.entry
    meta = {
        "name": options.name,
        "class": grouping.by_function[program_entry].name,
        "is_class": grouping.by_function[program_entry].is_class,
        "method": method_name(main.entry) if main.entry else "",
        "training": options.training or main.training,
        "draws": main.name in drawing_functions(program),
        "arguments": written.arguments(main.entry),
        "inputs": [[value.name, _dtype(value.type.dtype, options)] for value in main.inputs],
        "sizes": list(main.given_sizes),
        "outputs": [name for name, _ in main.outputs],
        "fields": {name: field_name(name) for name, _ in main.outputs},
        "dtypes": {each.path: _dtype(each.type.dtype, options) for each in program.parameters},
        "trainable": [each.path for each in program.parameters if each.trainable],
    }
    return Artifact("torch", {f"{options.name}.py": content}, meta)


@dataclass
class Written:
    """The source of a program, of which there may be several forms: in training, with optional inputs."""

    grouping: Grouping
    text: str

    def arguments(self, entry: str) -> list[str]:
        """The inputs that a way in takes by place: those that may be left out are among them, also where they are."""
        made = self.grouping.by_function[self.grouping.program.entry]
        draft = next(each for each in made.drafts if each.function.entry == entry)
        return [value.name for value in draft.function.inputs]

    @staticmethod
    def of(
        family: Sequence[Program], program: Program, options: EmitOptions, defaults: bool, lengths: Lengths
    ) -> Written:
        family = tuple(with_states(bare(each)) for each in family)
        # A program whose numbers have no expressions can't be said for other settings: every instantiation stands for itself.
        lacked = _lacked(family)
        common = (
            merged(family, NATIVE - lacked, lacked, callables=rows.CALLABLES)
            if options.family
            else Common.alone(family[0])
        )
        names = common.names
        made = working(common.program, KEPT) if options.precision == "f32" else common.program
        whole = outline(held(made))
        whole = Recompute().run(whole) if options.recompute else whole
        whole = within_floats(whole, options.precision)
        weights = InitWeights.of(family, names)
        begun = (part for each in changed(family[0])[0] for part in each.parts or (each,))
        copied = {names[each.init]: each.leaf for each in begun if each.form is None}
        alone = (*copied, *(names[each.init] for each in dependent(family[0])))
        grouping = Grouping(whole, options.precision, alone, common.entries, defaults)
        classes = grouping.run()
        initials = {param.init: param.name for each in whole.functions.values() for param in each.params}
        name_classes(classes, {**initials, **copied})
        weights = settle(grouping, weights)
        said = [expr for each in classes for expr in (*each.expressions(), *each.asked())]
        helpers = list(helping.helpers([*said, *weights.reads()]))
        source = Source(grouping.by_function, grouping.roots, whole.functions, whole.entry, defaults=defaults)
        source.lengths = lengths
        source.init_weights = weights if weights.rules else None
        source.is_folded = any(fused.is_folded(each.function) for each in classes)
        root = grouping.roots.get(whole.entry, Node())
        source.final = _precision(
            program, options.precision, lambda path: text(reach(root, path, grouping.roots))
        )
        source.helpers = frozenset(each.name for each in helpers)
        blocks = [*map(helping.lines, helpers), *(source.write(each) for each in classes)]
        if any(renamed(each.root) for each in classes):
            blocks.insert(0, definition())
        blocks = [*fused.definitions(each.function for each in classes), *blocks]
        ways_in = {grouping.by_function[each].name for each in (whole.entry, *common.entries)}
        return Written(grouping, _file(options, tidied(blocks, ways_in)))


def _dtype(name: str, options: EmitOptions) -> str:
    return options.precision if name == "float" else name


# --- the file -----------------------------------------------------------------------------------------------


def _file(options: EmitOptions, blocks: Sequence[Lines]) -> str:
    body = "\n\n\n".join("\n".join(block) for block in blocks)
    lines = [f"# {comment(line)}".rstrip() for line in options.header]
    if lines:
        lines.append("")
    lines += _imports(body)
    return "\n".join(lines) + "\n\n\n" + body + "\n"


RECOMPUTED = "from torch.utils.checkpoint import checkpoint as recomputed"
STANDARD = {"collections.abc": ("Callable",), "typing": ("Any", "NamedTuple", "Self")}


def _imports(body: str) -> Lines:
    """The imports that the code needs."""
    used = names_in(body)
    torch = ["import torch"] if "torch" in used else []
    torch += ["import torch.nn.functional as F"] if "F" in used else []
    named = [name for name in ("Tensor", "nn") if name in used]
    torch += [f"from torch import {', '.join(named)}"] if named else []
    torch += [RECOMPUTED] if "recomputed" in used else []
    return [*imports(used, STANDARD, torch), *constants(used)]


def constants(used: Collection[str]) -> Lines:
    """What stands below the imports of a file that uses it."""
    return (
        ["", f"{rows.NO_LABEL} = -(2**63)  # so that no label is left out; by default F leaves out -100"]
        if rows.NO_LABEL in used
        else []
    )


# --- precision ------------------------------------------------------------------------------


def _precision(program: Program, precision: str, reached: Callable[[str], str]) -> Lines:
    """The end of the model's constructor where it does not compute in f32; `reached` says how it reads a tensor."""
    floats = [each for each in program.parameters if each.type.is_float]
    if precision == "f32" or not floats:
        return []
    lines = [f"self.to({rows.DTYPES[precision]})"]
    kept = [each for each in floats if each.type.dtype not in ("float", precision)]
    for dtype, here in groupby(sorted(kept, key=lambda each: each.type.dtype), lambda each: each.type.dtype):
        lines += _restored([each.path for each in here], rows.DTYPES[dtype], floats, reached)
    return lines


def _restored(
    paths: Sequence[str], dtype: str, floats: Sequence[Parameter], reached: Callable[[str], str]
) -> Lines:
    """Tensors that keep a dtype of their own: in a loop where layers have the same."""
    ends = tuple(dict.fromkeys(_behind_number(path) for path in paths))
    meant = [each.path for each in floats if each.path.endswith(ends)]
    if len(ends) == len(paths) or sorted(meant) != sorted(paths):
        single = (f"{reached(path)}.data = {reached(path)}.data.to({dtype})" for path in paths)
        return [line for each in single for line in layout(each, 0)]
    names = quoted(ends[0]) if len(ends) == 1 else f"({', '.join(map(quoted, ends))})"
    return [
        "for name, tensor in self.state_dict(keep_vars=True).items():",
        *layout(f"if name.endswith({names}):", 1),
        f"{INDENT * 2}tensor.data = tensor.data.to({dtype})",
    ]


def _behind_number(path: str) -> str:
    """What a path says of a tensor in a layer, whichever layer it is: `.mlp.gate.weight`."""
    labels = path.split(".")
    last = max((i for i, label in enumerate(labels) if label.isdigit()), default=-1)
    return path if last < 0 else "." + ".".join(labels[last + 1 :])
