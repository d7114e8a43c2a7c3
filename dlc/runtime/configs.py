"""The `config.json` beside a published checkpoint, and how a model's settings differ from it: numbers that no tensor shows, an `eps` or
an activation, are wrong without a word otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Op, walk
from dlc.spec import Model

FILE = "config.json"

# What published configs call a setting, and what specs do, the most likely name first.
_NAMES: Mapping[str, tuple[str, ...]] = {
    name: ours
    for theirs, ours in {
        "hidden_size n_embd d_model dim hidden_dim": ("d", "dim", "width", "hidden"),
        "num_hidden_layers n_layer n_layers num_layers depth": ("layers", "depth"),
        "num_attention_heads n_head n_heads num_heads": ("heads",),
        "num_key_value_heads n_kv_heads": ("kv_heads",),
        "intermediate_size n_inner d_ff ffn_dim mlp_dim": ("ff", "mlp"),
        "vocab_size": ("vocab",),
        "max_position_embeddings n_positions n_ctx": ("context",),
        "type_vocab_size": ("types",),
        "rope_theta rotary_emb_base": ("base", "theta"),
        "head_dim d_kv": ("head",),
        "num_experts num_local_experts n_routed_experts": ("experts",),
        "num_experts_per_tok": ("active", "top", "k"),
        "image_size": ("size",),
        "patch_size": ("patch",),
        "num_channels": ("colours", "channels"),
        "num_labels num_classes": ("classes",),
        "sliding_window": ("window",),
        "relative_attention_num_buckets": ("buckets",),
        "relative_attention_max_distance": ("furthest",),
        "state_size": ("s",),
        "conv_kernel": ("kernel",),
    }.items()
    for name in theirs.split()
}
_EPS = {
    "layer_norm_eps": "layer_norm",
    "layer_norm_epsilon": "layer_norm",
    "rms_norm_eps": "rms_norm",
    "batch_norm_eps": "batch_norm",
    "norm_eps": "",
    "norm_epsilon": "",
}
_ACTIVATIONS = ("hidden_act", "activation_function", "hidden_activation")
# What published configs call an activation: the library's, and its argument.
_ACTIVATION: Mapping[str, tuple[str, Any]] = {
    "gelu": ("gelu", False),
    "gelu_new": ("gelu", True),
    "gelu_pytorch_tanh": ("gelu", True),
    "gelu_fast": ("gelu", True),
    "quick_gelu": ("quick_gelu", None),
    "relu": ("relu", None),
    "silu": ("silu", None),
    "swish": ("silu", None),
}
_KNOWN_ACTIVATIONS = {name for name, _ in _ACTIVATION.values()}


@dataclass(frozen=True, slots=True)
class Setting:
    """A line of the config: its name and value there, and here. `ours` is empty where the model has nothing of the kind."""

    name: str
    value: Any
    ours: str = ""
    here: tuple[Any, ...] = ()

    @property
    def differs(self) -> bool:
        return bool(self.ours) and any(each != self.value for each in self.here)

    def text(self) -> str:
        here = " and ".join(map(str, dict.fromkeys(self.here)))
        return f"{self.name} is {self.value}, {self.ours} is {here}"


def config_beside(file: Path) -> dict[str, Any] | None:
    """The config of a checkpoint; None where there is none. Raises SpecError for one that can't be read."""
    place = file.parent / FILE
    if not place.is_file():
        return None
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise SpecError([problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason=reason)]) from None
    if not isinstance(found, dict):
        reason = "it holds no settings by name"
        raise SpecError([problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason=reason)])
    return found


def compared(config: Mapping[str, Any], model: Model) -> list[Setting]:
    """Each number and name of the config beside what the model has of it."""
    ops = [op for function in model.program.functions.values() for op in walk(function.body)]
    found: list[Setting] = []
    for name, value in config.items():
        if name in _EPS:
            found += _eps(name, value, ops)
        elif name in _ACTIVATIONS:
            found += _activation(name, value, ops)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append(_number(name, value, model.settings))
        else:
            found.append(Setting(name, value))
    return found


def _number(name: str, value: float, settings: Mapping[str, Any]) -> Setting:
    for ours in (name, *_NAMES.get(name, ())):
        here = settings.get(ours)
        if isinstance(here, int | float) and not isinstance(here, bool):
            return Setting(name, value, f"the model's {ours}", (here,))
    return Setting(name, value)


def _eps(name: str, value: Any, ops: Iterable[Op]) -> Iterator[Setting]:
    """The eps of all norms of the kind, of which none may differ."""
    kind = _EPS[name]
    norms = [op for op in ops if op.op == kind or (not kind and op.op.endswith("_norm"))]
    found: dict[str, list[Any]] = {op.op: [] for op in norms}
    for op in norms:
        found[op.op].append(dict(op.attrs).get("eps"))
    for norm, here in found.items():
        yield Setting(name, value, f"the eps of {norm}", tuple(dict.fromkeys(here)))
    if not found:
        yield Setting(name, value)


def _activation(name: str, value: Any, ops: Iterable[Op]) -> Iterator[Setting]:
    wanted = _ACTIVATION.get(value) if isinstance(value, str) else None
    used = [(op.op, _is_approximate(op)) for op in ops if op.op in _KNOWN_ACTIVATIONS]
    if wanted is None or not used:
        yield Setting(name, value)
        return
    if wanted in used:
        yield Setting(name, value, "the activation", (value,))
        return
    names = {pair: theirs for theirs, pair in reversed(list(_ACTIVATION.items()))}
    here = tuple(dict.fromkeys(names.get(each, each[0]) for each in used))
    yield Setting(name, value, "the activation", here)


def _is_approximate(op: Op) -> bool | None:
    return None if op.op != "gelu" else dict(op.attrs).get("approximate") not in (None, False, "none")
