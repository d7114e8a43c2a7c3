"""Modules whose instances are called in several ways: at other lengths, with optional inputs and without, in loops, by
other modules. What one instance computes depends on the call, its parameters do not."""

from __future__ import annotations

import random
from collections.abc import Sequence

_PLAIN = (
    "h = h * T",
    "h = h + (arange(T) |> embedding(16, d))",
    "if T > 2 { h = tanh(h) }",
    "h = h + mean(h, 1, keepdims=true)",
    "h = softmax(h, axis=1)",
    "h = h + x[:, :1]",
    "h = pad(h, 1, 1, 0)[:, :-1]",
    "h = concat([h[:, 1:], h[:, :1]], axis=1)",
    "h = tril(ones([T, T])) @ h / T",
    "h = h |> layer_norm",
    "h = h + 1.0",
    "for i in range(2) as l { h = h |> linear(d) |> tanh }",
    "for i in range(T) { h = h / 2.0 + 1.0 / (i + 1) }",
    "h, _ = h |> gru(d)",
    "h = cumsum(h, axis=1) / T",
    "h = attention(h, h, h, causal=true)",
    "h = h |> dropout(0.5)",
    "h = x |> linear(d, bias=k > 2) as out |> gelu",
    "h = h * k",
    "if k > 2 { h = relu(h) }",
)
_MASKED = ("if m != none { h = h * m }", "h = h if m == none else h + m")
_CALLS = ("{q}(x)", "{q}(x[:, :1])", "{q}(x[:, 1:])", "{q}(concat([x, x], axis=1))")


def text(seed: int) -> str:
    """A spec whose model `M` takes `x: [B, 4, d]`."""
    rng = random.Random(seed)
    modules: list[tuple[str, bool]] = []
    parts = []
    for name in ("P", "Q", "R")[: rng.randint(1, 3)]:
        masked = rng.random() < 0.4
        parts.append(_module(rng, name, masked, modules))
        modules.append((name, masked))
    return "\n".join((*parts, _model(rng, modules)))


def _module(rng: random.Random, name: str, masked: bool, known: Sequence[tuple[str, bool]]) -> str:
    lines = ["h = x |> linear(d) as first"]
    lines += rng.sample(_PLAIN, rng.randint(1, 3))
    if masked:
        lines.insert(rng.randint(1, len(lines)), rng.choice(_MASKED))
    made = []
    for i in range(rng.randint(0, 2) if known else 0):
        inner, takes = rng.choice(known)
        made.append(f"p{i} = {inner}(d{rng.choice(('', ', k', ', 3'))})")
        mask = rng.choice((", m", "")) if takes and masked else rng.choice((", x", "")) if takes else ""
        call = rng.choice(
            (f"h = h + p{i}(h{mask})", f"h = p{i}(x{mask}) + p{i}(x)", f"h = h + p{i}(x[:, :1])")
        )
        if rng.random() < 0.3:
            call = f"for i in range(2) {{ {call} }}"
        lines.insert(rng.randint(1, len(lines)), call)
    mask = ", m: [B, T, d] = none" if masked else ""
    body = "".join(f"    {line}\n" for line in (*made, *lines))
    return f"module {name}(d: int, k: int = 2)(x: [B, T, d]{mask}) -> [B, T, d] {{\n{body}    return h\n}}\n"


def _model(rng: random.Random, modules: Sequence[tuple[str, bool]]) -> str:
    made, results = [], []
    for i in range(rng.randint(1, 2)):
        name, masked = modules[-1] if i == 0 else rng.choice(modules)
        made.append(f"q{i} = {name}(d{rng.choice(('', ', 3', ', k=2'))})")
        for _ in range(rng.randint(2, 3)):
            call = rng.choice(_CALLS).format(q=f"q{i}")
            if masked and rng.random() < 0.5:
                call = f"{call[:-1]}, {call.partition('(')[2]}"
            results.append(call)
    outputs = ", ".join(f"y{i}: [B, _, d]" for i in range(len(results)))
    body = "".join(f"    {line}\n" for line in made)
    return f"model M(d: int = 4)(x: [B, 4, d]) -> ({outputs}) {{\n{body}    return {', '.join(results)}\n}}\n"
