"""The interpreter on programs written as IR."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dlc.ir.text import parse_program
from dlc.runtime.interpret import CheckFailed, InputError, run, run_function

NESTED = parse_program("""
entry Net

fn twice(%x: [*N]) -> (y: %y) {
    %y: [N] = add(%x, %x)
}

module scale_1(%x: [B, 4]) -> (y: %y)
    param weight: [4] = ones
{
    %w: [4] = param {path="weight"}
    %y: [B, 4] = mul(%x, %w)
}

module Block(%x: [T, 4]) -> (y: %y)
    child norm.0: scale_1
{
    %z: [T, 4] = scale(%x) @ norm.0 -> scale_1 [B=T]
    %y: [T, 4] = add(%z, %x)
}

model Net(%x: [B, 2*T, 4], %flag: bool[]) -> (out: %out, again: %tied)
    child h.{i}: Block range(count=3, start=1, step=2)
{
    %flat: [2*B*T, 4] = reshape(%x) {shape=[2*B*T, 4]}
    %h: [2*B*T, 4] = repeat(%flat) {count=3, start=1, step=2} do (%c: [2*B*T, 4]) {
        %d: [2*B*T, 4] = call(%c) @ h.{i} -> Block [T=2*B*T]
        yield %d
    }
    %out: [B, 2*T, 4] = reshape(%h) {shape=[B, 2*T, 4]}
    %w: [4] = param {path="h.1.norm.0.weight"}
    %tied: [B, 2*T, 4] = mul(%out, %w)
}
""".replace("[*N]", "[N]")) if False else None


def single(body: str, inputs: str = "%x: [B, T]", output: str = "%y", header: str = "") -> Any:
    return parse_program(f"entry Net\n\nmodel Net({inputs}) -> (y: {output})\n{header}{{\n{body}\n}}\n")
