"""Optimizers, schedules and data sources by name: their arguments, defaults, and what these may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from dlc import source as sources
from dlc.diagnostics import Span, did_you_mean
from dlc.diagnostics import training as problems
from dlc.elaborate.base.sources import COMMON, ORDERS, REST, SOURCES
from dlc.elaborate.base.values import Dtype, show
from dlc.elaborate.checks.plan import Named
from dlc.elaborate.programs.update import DYNAMIC
from dlc.elaborate.reports.report import Report
from dlc.records import dataclass

# Defaults are PyTorch's where it has them.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": None, "momentum": 0.0, "weight_decay": 0.0, "nesterov": False},
    "adam": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
    "adamw": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
    "lion": {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0},
    "adafactor": {"lr": None, "decay": 0.8, "eps": 1e-30, "clip": 1.0, "weight_decay": 0.0},
    "muon": {"lr": 0.02, "momentum": 0.95, "nesterov": True, "steps": 5, "weight_decay": 0.0},
}
OPTIMIZER_INPUTS = ("t", "lr")
"""What an optimizer of a spec's own may take besides a parameter and its gradient, by these names."""
OWN_OPTIMIZER = "an optimizer is a module: `module rule(beta: float = 0.9)(p: [*S], g: [*S], t: i64[], lr: []) -> [*S]`; t and lr may be left out"
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"lr": None, "warmup": 0},
    "cosine": {"lr": None, "warmup": 0, "end": 0.0},
    "linear": {"lr": None, "warmup": 0, "end": 0.0},
    "step_decay": {"lr": None, "every": None, "factor": 0.1, "warmup": 0},
    "one_cycle": {"lr": None, "warmup": 0.3, "start": 0.04, "end": 1e-4},
}
REQUIRED_ARGUMENTS = {("sgd", "lr"), ("idx", "images"), ("text", "length"), ("step_decay", "every"),
                      *((name, "path") for name, options in SOURCES.items() if "path" in options),
                      *((name, "lr") for name in SCHEDULES)}  # fmt: skip


def source_options(name: str) -> dict[str, Any] | None:
    """The options of a source with their defaults (`sources.REQUIRED`: must be given); None if there
    is none of that name. Those of other packages are found by the entry points of `dlc.sources`."""
    if name in SOURCES:
        return SOURCES[name]
    if name == REST:
        return {"batch": COMMON["batch"]}
    found = sources.find(name)
    return None if found is None else {**COMMON, **found.options}


def source_names() -> tuple[str, ...]:
    return (*SOURCES, *sources.names())


def is_split(value: Any) -> bool:
    """Whether a source's `split` is a share of the rows, and no name that means something to the source alone."""
    return SPLIT.holds(value)


def without_idle(source: Named) -> Named:
    """A source without options that do nothing as they are: of shares where all rows are taken, of draws where none is drawn."""
    idle = {each for each in ("split", "sample_by") if source.args.get(each) is None}
    if source.args.get("order") == COMMON["order"]:
        idle.add("order")
    if not is_split(source.args.get("split")) and source.name != "synthetic":  # which draws from its seed
        idle.add("seed")
    return Named(source.name, {key: each for key, each in source.args.items() if key not in idle})


# --- settings ----------------------------------------------------------------------------------------------

SETTINGS: dict[str, tuple[type, ...]] = {
    "steps": (int,), "epochs": (int,), "seed": (int,), "precision": (Dtype,), "clip_norm": (int, float),
    "accumulate": (int,), "eval_every": (int,), "checkpoint_every": (int,), "log": (int,), "draws": (str,),
    "best": (str,), "patience": (int,), "loss_scale": (int, float, str), "recompute": (str,),
}  # fmt: skip
DEFAULT_SETTINGS: dict[str, Any] = {
    "steps": None, "epochs": None, "seed": 0, "precision": "f32", "clip_norm": None, "accumulate": 1,
    "eval_every": None, "checkpoint_every": None, "log": 10, "draws": "native",
    "best": None, "patience": None, "loss_scale": None, "recompute": None,
}  # fmt: skip
PRECISIONS = ("f32", "bf16", "f16")
CHOICES = {"draws": ("native", "portable"), "recompute": ("blocks",)}
"""What settings that are words may be."""
LOSS_SCALES = f'"{DYNAMIC}" or a positive number'


# Settings that are said elsewhere in a train block, or to the command.
_ELSEWHERE = {
    **dict.fromkeys(("batch", "batch_size"), "the source says it: `digits(batch=64)`"),
    **dict.fromkeys(("lr", "learning_rate"), "the optimizer says it: `optimizer = adamw(lr=1e-3)`"),
    **dict.fromkeys(("weight_decay", "momentum"), "the optimizer says it: `optimizer = sgd(lr=0.1, momentum=0.9)`"),
    **dict.fromkeys(("device", "gpu"), "the command says it: `dlc train FILE --device cuda`"),
    **dict.fromkeys(("clip", "clip_grad", "grad_clip", "max_norm", "max_grad_norm", "gradient_clip"), "did you mean `clip_norm`?"),
    **dict.fromkeys(("early_stopping", "early_stop", "monitor"), "did you mean `patience` or `best`?"),
    **dict.fromkeys(("dtype", "amp", "fp16", "bf16"), "did you mean `precision`?"),
    **dict.fromkeys(("grad_scaler", "grad_scale", "scaler", "scale"), "did you mean `loss_scale`?"),
    **dict.fromkeys(("checkpointing", "gradient_checkpointing", "activation_checkpointing", "remat"), "did you mean `recompute`?"),
    **dict.fromkeys(("iterations", "max_steps", "num_steps", "n_steps"), "did you mean `steps`?"),
}  # fmt: skip

_EXPECTED = {"precision": " or ".join(PRECISIONS), "loss_scale": LOSS_SCALES}
_KINDS: dict[type, str] = {int: "an int", float: "a float", Dtype: "a dtype", str: "a string"}


def setting_help(name: str) -> str:
    """Where an argument of a source, an optimizer or a schedule belongs that is a setting."""
    return f"it is a setting: `settings {{ {name} = … }}`" if name in SETTINGS else ""


def check_setting(report: Report, name: str, value: Any, span: Span) -> None:
    """An unknown setting, or one of the wrong kind, is an error."""
    if name not in SETTINGS:
        near = did_you_mean(name, SETTINGS) or f"settings are {', '.join(SETTINGS)}"
        help = _ELSEWHERE.get(name) or near
        report.fail(problems.UNKNOWN_SETTING, span, name=name, help=help)
    if value is None and DEFAULT_SETTINGS[name] is None:
        return
    if isinstance(value, bool) or not isinstance(value, SETTINGS[name]):
        kinds = " or ".join(_KINDS[each] for each in SETTINGS[name])
        expected = _EXPECTED.get(name, kinds)
        report.fail(problems.BAD_SETTING, span, name=name, found=show(value), expected=expected)
    if isinstance(value, int | float) and not (value >= 0 if name == "seed" else value > 0):
        expected = "positive" if name != "seed" else "zero or more"
        report.fail(problems.BAD_SETTING, span, name=name, found=show(value), expected=expected)
    if value == math.inf:
        report.fail(problems.BAD_SETTING, span, name=name, found=show(value), expected="finite")
    if name in CHOICES and isinstance(value, str) and value not in CHOICES[name]:
        absent = ["none"] if DEFAULT_SETTINGS[name] is None else []
        expected = " or ".join([*absent, *(f'"{each}"' for each in CHOICES[name])])
        help = did_you_mean(value, CHOICES[name])
        report.fail(problems.BAD_SETTING, span, name=name, found=show(value), expected=expected, help=help)
    if name == "loss_scale" and isinstance(value, str) and value != DYNAMIC:
        help = did_you_mean(value, [DYNAMIC])
        report.fail(problems.BAD_SETTING, span, name=name, found=show(value), expected=LOSS_SCALES, help=help)
    if isinstance(value, Dtype) and value.name not in PRECISIONS:
        report.fail(problems.BAD_SETTING, span, name=name, found=value.name, expected=" or ".join(PRECISIONS))


# --- arguments ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expected:
    """Which values an argument may have; `choices` where they are few."""

    text: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _one_of(*choices: str) -> Expected:
    text = " or ".join(f'"{each}"' for each in choices)
    return Expected(text, lambda value: value in choices, choices)


def _tokenizer(*names: str) -> Expected:
    text = ", ".join(f'"{each}"' for each in names)
    return Expected(
        f'{text} or a tokenizer file, such as "tokenizer.json"',
        lambda value: isinstance(value, str) and (value in names or value.endswith(".json")),
        names,
    )


def _optional(expected: Expected) -> Expected:
    return Expected(f"{expected.text} or none", lambda value: value is None or expected.holds(value))


POSITIVE = Expected("a positive number", lambda v: _is_number(v) and v > 0)
NOT_NEGATIVE = Expected("a number of 0 or more", lambda v: _is_number(v) and v >= 0)
BELOW_ONE = Expected("a number from 0 to below 1", lambda v: _is_number(v) and 0 <= v < 1)
SHARE = Expected("a share from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)
COUNT = Expected("an int above 0", lambda v: _is_int(v) and v > 0)
INDEX = Expected("an int of 0 or more", lambda v: _is_int(v) and v >= 0)
BOOL = Expected("true or false", lambda v: isinstance(v, bool))
FILE = Expected('a path, such as "data/train.npz"', lambda v: isinstance(v, str))
PAIR = Expected(
    "two numbers from 0 to below 1",
    lambda v: isinstance(v, list | tuple) and len(v) == 2 and all(BELOW_ONE.holds(each) for each in v),
)
FIELD = Expected("the name of a field or none", lambda v: v is None or (isinstance(v, str) and v != ""))
_WORDS = Expected(
    "a list of names",
    lambda v: isinstance(v, list | tuple) and len(v) > 0 and all(isinstance(each, str) for each in v),
)
WORDS = Expected("a list of names or none", lambda v: v is None or _WORDS.holds(v))


def _is_split(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) == 2 and all(map(SHARE.holds, value)) and value[0] < value[1]
    return SHARE.holds(value) and value > 0


SPLIT = Expected(
    "a share of the rows, such as 0.8, or two that it lies between, such as (0.8, 1.0)",
    _is_split,
)
MISSING = Expected(
    '"error", "drop", or a number to put there',
    lambda v: v in ("error", "drop") if isinstance(v, str) else _is_number(v),
    ("error", "drop"),
)
_SIZE = Expected(
    "an int above 0, a height and a width, or none",
    lambda v: (
        v is None
        or COUNT.holds(v)
        or (isinstance(v, list | tuple) and len(v) == 2 and all(map(COUNT.holds, v)))
    ),
)
DELIMITER = Expected("one character", lambda v: isinstance(v, str) and len(v) == 1)
RATE = Expected("a positive number or a schedule", POSITIVE.holds)

# By argument, or by (callee, argument) where the same word means something else.
ARGUMENTS: Mapping[str | tuple[str, str], Expected] = {
    "lr": POSITIVE, "betas": PAIR, "eps": POSITIVE, "momentum": BELOW_ONE, "weight_decay": NOT_NEGATIVE,
    "nesterov": BOOL, "decay": BELOW_ONE, "clip": POSITIVE, "steps": COUNT, "warmup": INDEX,
    "end": NOT_NEGATIVE, "factor": POSITIVE, "every": COUNT, "batch": COUNT, "count": COUNT,
    "length": COUNT, "high": COUNT, "seed": _optional(INDEX), ("synthetic", "seed"): INDEX, "path": FILE, "images": FILE,
    "split": _optional(SPLIT), "tokenizer": _optional(_tokenizer("byte")), ("text", "tokenizer"): _tokenizer("char", "byte"), "features": WORDS, "classes": WORDS,
    "columns": WORDS, "sample_by": FIELD, "order": _one_of(*ORDERS), "missing": MISSING, "delimiter": DELIMITER, "fit": _one_of("crop", "stretch", "pad"),
    ("images", "size"): _SIZE, "arguments": Expected("a list", lambda v: isinstance(v, list | tuple)),
    ("digits", "split"): Expected(f'"train" or "test", or {SPLIT.text}', lambda v: v in ("train", "test") or _is_split(v), ("train", "test")),
    "labels": _optional(FILE), "start": INDEX, "stop": _optional(INDEX), ("text", "start"): SHARE,
    ("text", "stop"): SHARE, ("one_cycle", "warmup"): SHARE, ("one_cycle", "start"): POSITIVE,
    **{(name, "lr"): RATE for name in OPTIMIZERS}, ("adafactor", "lr"): _optional(RATE),
}  # fmt: skip

# What is called by these words here; another package's source says itself what its options mean.
OURS = frozenset({*OPTIMIZERS, *SCHEDULES, *SOURCES})


def check_arguments(
    report: Report, name: str, args: Mapping[str, Any], spans: Mapping[str, Span], span: Span
) -> None:
    """Arguments that were given (those in `spans`) must be what their words mean."""
    for key, at in spans.items():
        expected = ARGUMENTS.get((name, key), ARGUMENTS.get(key)) if name in OURS else None
        value = args[key]
        is_schedule = isinstance(value, Named)
        if expected is None or (is_schedule and name in OPTIMIZERS):
            continue
        if is_schedule or not expected.holds(value):
            help = did_you_mean(value, expected.choices) if isinstance(value, str) else ""
            found = value.name if is_schedule else show(value)
            report.fail(problems.BAD_SETTING, at, name=key, found=found, expected=expected.text, help=help)
    if args.get("nesterov") and not args.get("momentum"):
        expected_text = "with a momentum above 0"
        report.fail(problems.BAD_SETTING, span, name="nesterov", found="true", expected=expected_text)
