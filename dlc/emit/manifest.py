"""What a file that is no source says of its inputs, for whoever runs it without dlc: JSON, whose sizes are Python's arithmetic.

{"inputs": [["tokens", {"dtype": "i64", "axes": ["B", "T"]}]],
 "dims": {"B": "tokens.shape[0]", "T": "tokens.shape[1]"},
 "facts": [["T", "<=", "64"], ["B", ">=", "1"], ["T", ">=", "1"]], "limits": {"tokens": 256, "to": "T"}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dlc.emit.sizes import readable, shape_of, solved
from dlc.emit.tree import text
from dlc.ir.nodes import Function
from dlc.types.dims import Dim
from dlc.types.facts import all_facts


def asked(entry: Function, limits: Mapping[str, Dim]) -> dict[str, Any]:
    """Where each dim is read, what must hold of them, and of integer inputs that are places of axes how many these have."""
    dims = {
        name: text(solved(source, name, shape_of(entry.inputs[source.input].name, source.axis)))
        for name, source in readable(entry).items()
    }
    return {
        "dims": {name: dims.get(name, name) for name in entry.dims},
        "facts": [[str(fact.left), fact.op, str(fact.right)] for fact in all_facts(entry.facts, entry.dims)],
        "limits": {
            name: room.constant if room.constant is not None else str(room) for name, room in limits.items()
        },
    }


def json_text(meta: Mapping[str, Any]) -> str:
    """JSON with an entry to a line, and of lists an element to a line."""
    entries = (f" {json.dumps(key)}: {_json_value(value)}" for key, value in meta.items())
    return "{\n" + ",\n".join(entries) + "\n}\n"


def _json_value(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(f"  {json.dumps(each)}" for each in value) + "\n ]"
