"""What the text of a spec is cut into, and which words mean something where."""

from __future__ import annotations

from dlc.records import dataclass


@dataclass(slots=True)
class Token:
    """A piece of text on one line. `kind` is a terminal of the grammar: a keyword, operator or bracket stands
    for itself, the others are `NAME INT FLOAT STRING LABEL NEWLINE` and `$END`. `column` counts from 1, `end`
    is one past the last.

    `level` is the number of `{` open around it, `depth` that of all brackets. `newline` says that a line
    ended before it, `broken` that the lexer has already complained of it, `starts_item` and `starts_body`
    that an item begins with it, or a block of statements."""

    kind: str
    text: str
    line: int
    column: int
    end: int
    newline: bool = False
    broken: bool = False
    starts_item: bool = False
    starts_body: bool = False
    level: int = 0
    depth: int = 0


def words(text: str) -> frozenset[str]:
    """The words of `text`, as a set."""
    return frozenset(text.split())


END = "$END"
ERROR = "ERROR"

RESERVED = words("true false none and or not if else for in as return _")

ITEMS = words("import from let type fn module model preset weights train test")
STATEMENTS = words(
    "require param buffer update init entry scan yield "
    "batch minimize metric sample evaluate optimizer load freeze settings step"
)
WEIGHT_RULES = words("strip rename transpose ignore concat split stack rearrange offset scale weight_norm")

# The first words of statements that are keywords, by the kind of block that they stand in.
FIRST_WORDS = {
    "": ITEMS,
    "body": ITEMS | STATEMENTS,
    "weights": WEIGHT_RULES | ITEMS,
    "settings": frozenset[str](),
}

_WHERE = frozenset({"where"})

# The clause words that may follow in the header that a keyword begins.
CLAUSES = {
    "from": frozenset({"import"}),
    "module": _WHERE,
    "model": _WHERE,
    "fn": _WHERE,
    "entry": _WHERE,
    "scan": frozenset({"along", "backwards", "with"}),
    "batch": frozenset({"from"}),
    "evaluate": frozenset({"from"}),
    "load": frozenset({"from", "with", "except"}),
    "step": frozenset({"updates", "with", "every", "repeat"}),
    "param": frozenset({"frozen"}),
}

# A line that begins with one of these continues the line before (unless `=`, `,` or `:` follows the word).
CONTINUING = words("else where with from along backwards updates every repeat and or in as")

# After one of these a statement goes on in the next line.
OPEN_ENDED = words("+ - * / // % ** @ == != < <= > >= |> . , = -> : in as and or not ( [ {")

# A soft keyword before one of these is an ordinary name.
NAMING = words("= , :")

# Where an operand may end, and a clause word may follow.
OPERAND_ENDS = words("NAME LABEL INT FLOAT STRING true false none _ ) ] }")

CLOSERS = {"(": ")", "[": "]", "{": "}"}
