"""docs/language.md says what is read but not compiled yet: each such thing is refused, with the code that the page names."""

from __future__ import annotations

import pytest

import dlc

from .pages import ROOT, wrapped

TRAIN = """
model Net()(image: [B, 4]) -> [B, 10] {{
    return image |> linear(10) as fc
}}

train t {{
    net = Net()
    batch (image: [B, 4], label: i64[B]) from {source}
    {body}
    minimize cross_entropy(net(image), label)
    optimizer = adam()
    settings {{ steps = 1 }}
}}
"""


def training(body: str = "", source: str = "synthetic(batch=8)") -> str:
    return TRAIN.format(body=body, source=source)


REFUSED = {
    "associative_scan": (wrapped("return associative_scan(x)"), "E0116"),
}


def page() -> str:
    text = (ROOT / "docs/language.md").read_text(encoding="utf-8")
    return text.split("## What is read but not compiled yet")[1]


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str) -> None:
    text, code = REFUSED[what]
    try:
        found = dlc.loads(text).check()
    except dlc.SpecError as error:
        found = error.diagnostics
    assert code in {each.code for each in found}, f"`{what}` compiles now: take it out of docs/language.md"
    rows = [line for line in page().splitlines() if what in line]
    assert any(code in row for row in rows), f"docs/language.md does not say {code} of `{what}`"
