"""Small damage to a spec's text: what slips of the hand, merges and generators do to it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_TOKEN = re.compile(
    r'[ \t]+|\n|"(?:\\.|[^"\\\n])*"|[A-Za-z_]\w*|\d[\w.]*|\|>|->|\*\*|//|[=!<>]=|.', re.DOTALL
)
_POOL = """
0  -1  1  2  3  7  64  10**12  99999999999999999999  1e308  1e-400  0.5  true  false  none  T  B  x  inf  pi  _  ...
*  **  *S  //  %  @  |>  ->  =  ==  ,  .  :  (  )  [  ]  {  }  in  as  if  else  for  return  where  not  and  or  []  ()
{}  [*S]  float  i64  bool  f8e4m3  ""  "x"  "B T d -> B d T"  "(h e)"  "{x}"  "\\n"  linear(4)  conv2d(8,3)  relu
softmax  range(3)  range(T)  [1,2]  (1,2)  zeros  normal(0.02)  arange(T)  reshape(x,[B,-1])  x[0]  x[:,-1]  x.T  self
training  parameters  model  module  fn  let  preset  train  param  scan  batch  minimize  import  weights  entry
buffer  update  init  require  test  type
"""
POOL = re.split(r"  |\n", _POOL.strip())
_JUNK = "\x00 \ufeff é 𝒳 \u202e \t \r ; $ ? ` ' \\ # \" \x7f \ud7ff ∞ ٣"
JUNK = _JUNK.split(" ")

Mutation = Callable[[random.Random, list[str]], list[str]]


def tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _solid(draw: random.Random, items: list[str]) -> int:
    """The place of a token that is no space."""
    places = [i for i, each in enumerate(items) if each.strip()]
    return draw.choice(places) if places else 0


def delete(draw: random.Random, items: list[str]) -> list[str]:
    at = _solid(draw, items)
    return items[:at] + items[at + 1 :]


def double(draw: random.Random, items: list[str]) -> list[str]:
    at = _solid(draw, items)
    return [*items[:at], items[at], " ", *items[at:]] if items else items


def swap(draw: random.Random, items: list[str]) -> list[str]:
    a, b = _solid(draw, items), _solid(draw, items)
    items = list(items)
    if items:
        items[a], items[b] = items[b], items[a]
    return items


def replace(draw: random.Random, items: list[str]) -> list[str]:
    at = _solid(draw, items)
    return [*items[:at], draw.choice(POOL), *items[at + 1 :]]


def borrow(draw: random.Random, items: list[str]) -> list[str]:
    """A token in the place of another of the same text."""
    a, b = _solid(draw, items), _solid(draw, items)
    return [*items[:a], items[b], *items[a + 1 :]] if items else items


def insert(draw: random.Random, items: list[str]) -> list[str]:
    at = _solid(draw, items)
    return [*items[:at], " ", draw.choice(POOL), " ", *items[at:]]


def junk(draw: random.Random, items: list[str]) -> list[str]:
    at = draw.randrange(len(items) + 1)
    return [*items[:at], draw.choice(JUNK), *items[at:]]


def nest(draw: random.Random, items: list[str]) -> list[str]:
    at, depth = _solid(draw, items), draw.choice([1, 5, 50, 300])
    left, right = draw.choice([("(", ")"), ("[", "]"), ("-", ""), ("not ", ""), ("1+", ""), ("{", "}")])
    inner = items[at] if items else ""
    return [*items[:at], left * depth, inner, right * depth, *items[at + 1 :]]


def cut(draw: random.Random, items: list[str]) -> list[str]:
    return items[: draw.randrange(len(items) + 1)]


def _by_line(change: Callable[[random.Random, list[str]], list[str]]) -> Mutation:
    def mutate(draw: random.Random, items: list[str]) -> list[str]:
        return tokens("\n".join(change(draw, "".join(items).split("\n"))))

    return mutate


def _number(draw: random.Random, items: list[str]) -> list[str]:
    places = [i for i, each in enumerate(items) if each[:1].isdigit()]
    if not places:
        return items
    at = draw.choice(places)
    new = draw.choice(
        ["0", "1", "2", "5", "63", "10**9", "(-3)", "2**64", "0.5", "1e30", "T", "100000", "none", '"8"']
    )
    return [*items[:at], new, *items[at + 1 :]]


MUTATIONS: tuple[Mutation, ...] = (
    delete, double, swap, replace, replace, borrow, borrow, insert, junk, nest, cut, _number, _number, _number,
    _by_line(delete), _by_line(double), _by_line(swap),
)  # fmt: skip


def mutated(text: str, seed: int) -> str:
    """The text with one to three mutations, the same for the same seed."""
    draw = random.Random(seed)
    items = tokens(text)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        items = draw.choice(MUTATIONS)(draw, items)
    return "".join(items)
