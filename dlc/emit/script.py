"""What scripts of a training say whatever the framework: settings, data, schedules, draws, and which optimizer trains what."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlc.backend.script import Call, Chosen, Drawn, HeldOut, Rule, Script
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.emit import script_library
from dlc.emit.file import Library
from dlc.emit.layout import WIDTH, layout
from dlc.emit.names import identifier
from dlc.emit.python import wrapped
from dlc.records import dataclass, replace

Lines = list[str]
LIBRARY = Library(Path(script_library.__file__))
STANDARD = {
    "collections.abc": ("Callable", "Iterable", "Iterator", "Mapping", "Sequence"),
    "dataclasses": ("dataclass", "field"),
    "functools": ("lru_cache", "partial"),
    "pathlib": ("Path",),
    "typing": ("Any", "NamedTuple", "Self"),
}
MODULES = ("argparse", "csv", "gzip", "itertools", "json", "math", "os", "re", "time")
TABLES = ("csv", "json", "parquet")
SOURCES = ("digits", "idx", "npz", "text", "synthetic", "images", *TABLES)
_NUMPY = {"f32": "float32", "f64": "float64", "f16": "float16", "u8": "uint8", "bool": "bool"}


def pascal(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def literal(value: Any) -> str:
    """A static value as Python has it."""
    if isinstance(value, list | tuple):
        items = ", ".join(map(literal, value))
        return f"[{items}]" if isinstance(value, list) else f"({items}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        return _mapped(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def called(name: str, first: Sequence[str], args: dict[str, Any], defaults: dict[str, Any]) -> str:
    """A call with those arguments that differ from what the function takes for granted."""
    given = (
        f"{key}={literal(value)}"
        for key, value in args.items()
        if key not in defaults or defaults[key] != value
    )
    return f"{name}({', '.join((*first, *given))})"


def unsaid(backend: str, what: str) -> SpecError:
    """What a script can't say."""
    found = f"says no {what} in a script of a training yet"
    return SpecError(
        [problems.LACKS.at(NO_SPAN, name=backend, what=found, help="`dlc train` runs the block")]
    )


# --- the file


def assembled(script: Script, model: str, blocks: Iterable[Lines], imports: Callable[[str], Lines]) -> str:
    """The whole file: the module's source, functions that the loop uses, the loop."""
    written = ["\n".join(block) for block in blocks if block]
    own = "\n\n\n".join(written)
    names = [name for each in written for name in sorted(defined(each))]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise NameTaken(min(doubled))
    copied = ["\n".join(lines) for lines in LIBRARY.copied(own)]
    if twice := defined(model) & (defined(own) | {name for each in copied for name in defined(each)}):
        raise NameTaken(min(twice))
    rows = ["Rows = dict[str, np.ndarray]"] if "Rows" in "".join((own, *copied)) else []
    body = "\n\n\n".join(("\n".join(constants(script)), model, *rows, *copied, own))
    end = ["", "", 'if __name__ == "__main__":', "    main()", ""]
    return "\n".join((*docstring(script), "", *imports(body), "", body, *end))


class NameTaken(Exception):
    """A module of the spec has the name of a function that a script needs for itself."""


def defined(source: str) -> set[str]:
    """The functions and classes of a file."""
    return {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def docstring(script: Script) -> Lines:
    lines = [f'"""{script.title}', "", *(line for each in script.header for line in wrapped(each, 98)), ""]
    lines += [
        f"    python {script.name}.py             trains; what it writes is in the folder `{script.name}`"
    ]
    return [*lines, f"    python {script.name}.py --resume    goes on from the last checkpoint", '"""']


def constants(script: Script) -> Lines:
    settings = script.settings
    lines = [f"BATCH = {script.batch:_}" if script.batch >= 10_000 else f"BATCH = {script.batch}"]
    if is_text(script.source):
        lines.append(f"LENGTH = {script.source.args['length']}")
    if is_several(script):
        lines.append(f"ACCUMULATE = {settings['accumulate']}")
    if settings["epochs"] is not None:
        lines.append(f"EPOCHS = {settings['epochs']}")
    if settings["steps"] is not None:
        lines.append(f"STEPS = {settings['steps']:_}")
    lines.append(f"SEED = {settings['seed']}")
    if settings["clip_norm"] is not None:
        lines.append(f"CLIP_NORM = {literal(settings['clip_norm'])}")
    if isinstance(script.loss_scale, float | int):
        lines.append(f"LOSS_SCALE = {literal(script.loss_scale)}")
    lines.append(f"LOG_EVERY = {settings['log']}")
    if settings["eval_every"] is not None and script.held_out is not None:
        lines.append(f"EVALUATE_EVERY = {settings['eval_every']}")
    if saves_every(script) is not None:
        lines.append(f"SAVE_EVERY = {saves_every(script):_}")
    if settings["patience"] is not None:
        lines.append(f"PATIENCE = {settings['patience']}")
    return lines


def counted(script: Script) -> Lines:
    """How many steps there are, and how likely rows are, where they are drawn."""
    epochs, steps = script.settings["epochs"], script.settings["steps"]
    drawn = [] if script.sample_by is None else [f'    chances = chances_of(rows, "{script.sample_by}")']
    return [*drawn, *_counted(script, epochs, steps)]


def _counted(script: Script, epochs: int | None, steps: int | None) -> Lines:
    lines = layout(f"batches = {per_epoch(script)}", 1) if is_several(script) else []
    if epochs is None:
        return [*lines, "    total = STEPS"]
    by_epochs = f"EPOCHS * ({per_epoch(script)})"
    if is_several(script):
        by_epochs = "steps_in(EPOCHS, ACCUMULATE, batches)"
    return [*lines, *layout(f"total = {by_epochs if steps is None else f'min(STEPS, {by_epochs})'}", 1)]


def is_dynamic(script: Script) -> bool:
    """Whether the scale of the loss follows the gradients, and steps may be left out."""
    return isinstance(script.loss_scale, str)


def has_averages(script: Script) -> bool:
    """Whether something is computed behind all steps."""
    return any(not call.rules and not call.outputs for call in script.calls)


def is_several(script: Script) -> bool:
    """Whether a step is over several batches."""
    return bool(script.settings["accumulate"] > 1)


def arguments(script: Script) -> Lines:
    """The command line."""
    lines = layout(
        "parser = argparse.ArgumentParser(description='Trains.')".replace("'Trains.'", literal(script.title)),
        1,
    )
    out = f'parser.add_argument("--out", type=Path, default=Path("{script.name}"), help="the folder to write into")'
    lines += layout(out, 1)
    if reads_files(script):
        lines += layout(
            'parser.add_argument("--data", type=Path, default=Path(), help="the folder that data files lie in")',
            1,
        )
    lines += ['    parser.add_argument("--device", default="cpu")']
    lines += layout(
        'parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")', 1
    )
    return [*lines, "    args = parser.parse_args()", "    args.out.mkdir(parents=True, exist_ok=True)", ""]


def resuming(file: str) -> Lines:
    """The beginning of what goes on from a checkpoint; a run that was stopped before its first one has none."""
    return [
        f'    start, checkpoint = 0, args.out / "{file}"',
        "    if args.resume:",
        "        if not checkpoint.exists():",
        '            parser.error(f"there is no {checkpoint} to go on from: begin without --resume")',
    ]


def saves_every(script: Script) -> int | None:
    """How many steps lie between checkpoints: what the spec says, or else those between evaluations, or a thousand, so that a run that is
    stopped has something to go on from. (`dlc train` saves when it is stopped.) None where there is one at the end alone."""
    steps, epochs = script.settings["steps"], script.settings["epochs"]
    found: int = script.settings["checkpoint_every"] or script.settings["eval_every"] or 1_000
    return None if epochs is None and steps <= found else found


def is_evaluated(script: Script) -> str:
    """When held-out data is looked at, which is done at the end in any case."""
    return f"done == total{'' if script.settings['eval_every'] is None else ' or done % EVALUATE_EVERY == 0'}"


def is_saved(script: Script) -> str:
    """When a checkpoint is written; a run may end before its last step."""
    every = "" if saves_every(script) is None else "done % SAVE_EVERY == 0"
    return " or ".join(filter(None, ("done == total", is_over(script), every)))


# --- the best weights


def is_over(script: Script) -> str:
    """Whether a run ends before its last step; empty where it does not."""
    return "" if script.settings["patience"] is None else 'best["waited"] >= PATIENCE'


def best_begun(script: Script, weights: str) -> Lines:
    """The best evaluation so far, its weights, and how many evaluations came after it; `weights` stand there before the first."""
    assert script.best is not None
    worst = f"{'-' if script.best[1] else ''}math.inf"
    return _listed(
        "best: dict[str, Any] = ", {"value": worst, "step": "0", "waited": "0", "weights": weights}, 1
    )


def _listed(head: str, items: Mapping[str, str], indent: int) -> Lines:
    """A dict on one line where it fits, else an item a line."""
    pairs, margin = [f'"{name}": {value}' for name, value in items.items()], "    " * indent
    whole = f"{margin}{head}{{{', '.join(pairs)}}}"
    if len(whole) <= WIDTH:
        return [whole]
    return [f"{margin}{head}{{", *(f"{margin}    {each}," for each in pairs), f"{margin}}}"]


def best_kept(script: Script, weights: str) -> Lines:
    """What is done with numbers that were `measured`; `weights` is a copy of those that they are of."""
    assert script.best is not None
    name, high = script.best
    lines = [f'            if measured["{name}"] {">" if high else "<"} best["value"]:']
    lines += layout(f"weights = {weights}", 4)
    value = f'measured["{name}"]'
    lines += _listed("best = ", {"value": value, "step": "done", "waited": "0", "weights": "weights"}, 4)
    return [*lines, "            else:", '                best["waited"] += 1']


def weights_in_the_end(script: Script, last: str) -> str:
    """What a run leaves: the best weights, or the last ones where nothing was better than at first."""
    return last if script.best is None else f'best["weights"] if best["step"] else {last}'


def loop(script: Script) -> str:
    """The head of the loop over steps: a run that was over before goes on with nothing."""
    over = is_over(script)
    return f"for step in range(start, {f'start if {over} else total' if over else 'total'}):"


def ended(script: Script) -> Lines:
    """What a run says in the end."""
    count = "done - start" if is_over(script) else "total - start"
    lines = [f'    print(f"{{{count}}} steps in {{time.perf_counter() - begun:.1f}} s")']
    if script.best is None:
        return lines
    name = script.best[0]
    said = f"best  {name} {{best['value']:.4f}} after step {{best['step']}}"
    return [*lines, f'    print(f"{said}")']


def pace(call: Call, indent: int) -> tuple[Lines, int, str, str]:
    """The beginning of an update that is not done once in every turn; how far in it stands, its number, and how many there are."""
    lines: Lines = []
    count, total = "step", "total"
    if call.every > 1:
        lines += [f"{'    ' * indent}if (step + 1) % {call.every} == 0:"]
        indent, count, total = indent + 1, f"step // {call.every}", f"total // {call.every}"
    if call.turns > 1:
        lines += [f"{'    ' * indent}for turn in range({call.turns}):"]
        count = f"{count} * {call.turns} + turn"
        indent, total = indent + 1, f"{total} * {call.turns}"
    return lines, indent, count, total


# --- data


def is_text(source: Chosen) -> bool:
    return source.name == "text"


def opened(source: Chosen, fields: Mapping[str, str]) -> str:
    """The expression that reads a source, or a share of it."""
    share, whole = source.share, _whole(source, fields)
    if share is None:
        return whole
    low, high = literal(float(share.low)), literal(float(share.high))
    if is_text(source):
        return f"stretch_of({whole}, {low}, {high})"
    args = {"seed": share.seed, "rest": share.rest}
    return called("share_of", (whole, low, high), args, {"seed": 0, "rest": False})


def _whole(source: Chosen, fields: Mapping[str, str]) -> str:
    args = dict(source.args)
    if source.name == "digits":
        return called("read_digits", (), args, {"split": "train"})
    if source.name == "synthetic":
        args.pop("high", None)  # each kind has its own
        return called("random_rows", (literal_kinds(args.pop("kinds")),), args, {"count": 1024, "seed": 0})
    if source.name == "npz":
        path = literal(args.pop("path"))
        return called(
            "read_npz", ("args.data", path, literal(tuple(fields))), args, {"start": 0, "stop": None}
        )
    if source.name == "text":
        path = literal(args.pop("path"))
        args.pop("length")
        return called(
            "read_text", ("args.data", path), args, {"tokenizer": "char", "start": 0.0, "stop": 1.0}
        )
    if source.name in TABLES:
        path, defaults = literal(args.pop("path")), {"missing": "error", "columns": None, "delimiter": ","}
        kinds = {name: (_numpy(dtype), columns) for name, (dtype, columns) in args.pop("kinds").items()}
        texts, tokenizer = args.pop("texts", {}), args.pop("tokenizer", "byte")
        table = called(f"read_{source.name}", ("args.data", path, _mapped(kinds)), args, defaults)
        file = () if tokenizer == "byte" else (f"args.data / {literal(tokenizer)}",)
        return called("with_tokens", (table, _mapped(texts), *file), {}, {}) if texts else table
    if source.name == "images":
        path, channels = literal(args.pop("path")), literal(args.pop("channels"))
        args["scaled"] = fields.get("image") != "u8"
        usual: dict[str, Any] = {"size": None, "fit": "crop", "classes": None, "scaled": True}
        return called("read_pictures", ("args.data", path, channels), args, usual)
    images = literal(args.pop("images"))
    args["scaled"] = fields.get("image") != "u8"
    return called(
        "read_images",
        ("args.data", images),
        args,
        dict[str, Any](labels=None, start=0, stop=None, scaled=True),
    )


def literal_kinds(kinds: dict[str, tuple[str, tuple[int, ...], int]]) -> str:
    return _mapped({name: (_numpy(dtype), *rest) for name, (dtype, *rest) in kinds.items()})


def _numpy(dtype: str) -> str:
    return _NUMPY.get(dtype) or dtype.replace("i", "int").replace("u", "uint")


def _mapped(values: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f'"{name}": {literal(each)}' for name, each in values.items()) + "}"


def reads_files(script: Script) -> bool:
    sources = (script.source, *([script.held_out.source] if script.held_out else ()))
    return any(each.name not in ("digits", "synthetic") for each in sources)


def per_epoch(script: Script) -> str:
    if is_text(script.source):
        return "windows(rows, LENGTH) // BATCH"
    return "len(next(iter(rows.values()))) // BATCH"


def batch(script: Script) -> str:
    """The batch of a step, or one of several by its number."""
    number = "number" if is_several(script) else "step"
    if script.in_streams:
        count = per_epoch(script)
        if is_text(script.source):
            return f"windows_of(rows, in_streams({number}, BATCH, {count}), LENGTH)"
        return f"rows_at(rows, in_streams({number}, BATCH, {count}))"
    if is_text(script.source):
        return f"text_batch_of(rows, {number}, BATCH, LENGTH, SEED)"
    if script.sample_by is not None:
        return f"drawn_batch_of(rows, {number}, BATCH, SEED, chances)"
    return f"batch_of(rows, {number}, BATCH, SEED)"


def numbers_name(call: Call) -> str:
    """The function of a script that computes the loss and the metrics of sums over several batches."""
    return f"{identifier(call.entry) if call.rules and call.loss != 'loss' else 'step'}_numbers"


def is_measured_alike(script: Script) -> bool:
    """Whether held-out data are measured as the batches of a step are."""
    held, together = script.held_out, script.calls[0].together
    return held is not None and together is not None and held.function == together.function


def drawn_anew(
    call: Call, indent: int, *, several: bool, given: Callable[[str], str] = lambda drawn: drawn
) -> Lines:
    """What a step that is done several times in a turn draws once more, from the second time on: for its batch, or for each of `several`;
    `given` says how the backend takes it."""
    if not call.draws_anew:
        return []
    head, place = ("if turn:", "step, turn")
    if several:
        head, place = ("for part, batch in enumerate(parts if turn else []):", "step, part, turn")
    names = literal(tuple(sorted(call.draws_anew)))
    return [
        f"{'    ' * indent}{head}",
        *layout(f"again = {given(f'drawn({place})')}", indent + 1),
        *layout(f"batch |= {{name: again[name] for name in {names}}}", indent + 1),
    ]


NUMBERS_OF = "numbers_of(step, ACCUMULATE, batches)"
"""The numbers of a step's batches, where it has several."""


def held_out_batches(held: HeldOut) -> str:
    if is_text(held.source):
        return f"text_in_order(rows, {held.batch}, {held.source.args['length']})"
    return f"in_order(rows, {held.batch})"


# --- optimizers


def rate(rule: Rule, step: str, total: str) -> str:
    """The expression for a learning rate; empty for an optimizer that has one of its own."""
    if rule.lr is None:
        return ""
    if not isinstance(rule.lr, Chosen):
        return literal(float(rule.lr))
    args = dict(rule.lr.args)
    if rule.lr.code:
        return called(f"{identifier(rule.lr.name)}_rate", _place(rule.lr.code[0], step, total), args, {})
    known: dict[str, dict[str, Any]] = {
        "constant": {"warmup": 0},
        "cosine": {"warmup": 0, "end": 0.0},
        "linear": {"warmup": 0, "end": 0.0},
        "step_decay": {"factor": 0.1, "warmup": 0},
        "one_cycle": {"warmup": 0.3, "start": 0.04, "end": 1e-4},
    }
    return called(f"{rule.lr.name}_rate", (step, total), args, known[rule.lr.name])


def _place(code: str, step: str, total: str) -> list[str]:
    """What a schedule of the spec's own is given by the training: by place where these are its first parameters."""
    head = code[code.index("(") + 1 :]
    if head.startswith("step: int, total: int"):
        return [step, total]
    found = [step if head.startswith("step: ") else f"step={step}"]
    return [*found, *([f"total={total}"] if re.search(r"\btotal: ", head.split(" -> ")[0]) else [])]


def schedules(script: Script) -> Iterable[Lines]:
    """The spec's own schedules, each once."""
    rates = [rule.lr for call in script.calls for rule in call.rules]
    code = dict.fromkeys(text for lr in rates if isinstance(lr, Chosen) for text in lr.code)
    return (text.splitlines() for text in code)


@dataclass(frozen=True, slots=True)
class Selection:
    """Some of the parameters by their names: those that begin or end with one of these words, or are one of them; or all others."""

    how: str
    words: tuple[str, ...]
    negated: bool = False

    def condition(self, name: str, words: str = "") -> str:
        """It as an expression; `words` is what they are called, if anything."""
        listed = words or literal(self.words[0] if len(self.words) == 1 and self.how != "in" else self.words)
        if self.how == "in":
            return f"{name} not in {listed}" if self.negated else f"{name} in {listed}"
        return f"not {name}.{self.how}({listed})" if self.negated else f"{name}.{self.how}({listed})"


def selection(paths: Collection[str], known: Collection[str]) -> Selection | None:
    """What holds of these of the known paths and of no others; None if of all."""
    wanted, others = set(paths), set(known) - set(paths)
    if not others:
        return None
    for depth in range(1, 4):
        starts = tuple(sorted({_start(path, depth) for path in wanted}))
        if len(starts) <= 4 and not any(other.startswith(starts) for other in others):
            return Selection("startswith", starts)
    for depth in range(1, 3):
        ends = tuple(sorted({f".{'.'.join(path.split('.')[-depth:])}" for path in wanted}))
        whole = all(path.endswith(ends) for path in wanted)
        if whole and len(ends) <= 8 and not any(other.endswith(ends) for other in others):
            return Selection("endswith", ends)
    inverse = selection(others, known) if len(others) < len(wanted) else None
    if inverse is not None and len(inverse.words) <= 8:
        return replace(inverse, negated=not inverse.negated)
    return Selection("in", tuple(sorted(wanted)))


def _start(path: str, depth: int) -> str:
    parts = path.split(".")
    return path if len(parts) <= depth else f"{'.'.join(parts[:depth])}."


# --- draws


def drawing_in_evaluation(script: Script) -> Lines:
    """The function that draws what is measured with; nothing where there is nothing."""
    held = script.held_out
    if held is None or not held.draws:
        return []
    takes = (
        "number: int, size: int" if any("size" in str(each.shape) for each in held.draws) else "number: int"
    )
    doc = "What a held-out batch draws: it hangs on the seed and its number alone."
    return _drawing(f"def drawn_in_evaluation({takes}) -> Rows:", doc, "SEED, 0xE7A1, number", held.draws)


def drawn_in_evaluation(held: HeldOut) -> str:
    """A call of it."""
    size = ", size" if any("size" in str(each.shape) for each in held.draws) else ""
    return f"drawn_in_evaluation(number{size})"


def drawing(script: Script) -> Lines:
    """The function that draws what a turn takes; nothing where there is nothing."""
    if not script.draws:
        return []
    anew = any(call.draws_anew for call in script.calls)
    part, several = ("part", ", part: int") if is_several(script) else ("0", "")
    place = f"SEED, step, {part}, *turn" if anew else f"SEED, step, {part}"
    head = f"def drawn(step: int{several}{', *turn: int' if anew else ''}) -> Rows:"
    doc = "What a step draws: it hangs on the seed and the step alone."
    if several:
        doc = "What a batch draws: it hangs on the seed, the step and its place in it alone."
    return _drawing(head, doc, place, script.draws)


def _drawing(head: str, doc: str, place: str, draws: Sequence[Drawn]) -> Lines:
    lines = [head, f'    """{doc}"""', "", "    def rng(draw: int) -> np.random.Generator:"]
    lines += [f"        return np.random.default_rng([0xD7A5, {place}, draw])", "", "    return {"]
    for each in draws:
        lines += layout(f'"{each.name}": {_draw(each)},', 2)
    return [*lines, "    }"]


def _draw(each: Drawn) -> str:
    shape = f"({', '.join(map(str, each.shape))}{',' * (len(each.shape) == 1)})"
    return drawn(each, shape, f"rng({each.number})")


def drawn(each: Drawn, shape: str, rng: str) -> str:
    """A draw of a shape by a generator, both as expressions."""
    if each.op == "normal":
        return f"{rng}.standard_normal({shape}).astype(np.float32)"
    if each.op == "uniform":
        return f"({rng}.integers(0, 1 << 24, {shape}) / (1 << 24)).astype(np.float32)"
    return f"{rng}.integers({each.attrs['low']}, {each.attrs['high']}, {shape})"


OPTIMIZERS = [
    "def optimizer_rng(name: str, step: int, draw: int) -> np.random.Generator:",
    '    """What an optimizer draws hangs on the seed, the step and the name of the parameter alone."""',
    "    return np.random.default_rng([0xD7A5, SEED, 0x0B71, step, *name.encode(), draw])",
]
"""What the draws of optimizers come of, by the name of a parameter in an update."""


def drawn_for(call: Call, name: str) -> str:
    """What a parameter, whose name is that variable, is called where optimizers draw for it: several updates may train it."""
    return name if call.loss == "loss" else f'f"{call.loss}: {{{name}}}"'


DRAWN = ("normal", "uniform", "randint")
