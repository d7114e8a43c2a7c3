"""Every problem that dlc reports: one declaration each, grouped by family.

E00xx files and syntax, E01xx names and calls, E02xx static values, E03xx types and shapes, E04xx facts,
E05xx parameters and paths, E06xx weights, E07xx training and data, E08xx backends, E09xx use.
"""

from __future__ import annotations

from dlc.diagnostics import Problem

SYNTAX = Problem(
    "E0001",
    "the text does not follow the grammar",
    "{message}",
    "The parser met something that can't stand where it stands.",
    wrong="module A()(x: [B, 4]) -> [B, 4] {\n    return x }\n}\n",
    right="module A()(x: [B, 4]) -> [B, 4] {\n    return x\n}\n",
)
UNTERMINATED_STRING = Problem(
    "E0002",
    "a string without its closing quote",
    "this string is not closed",
    'A string stands between double quotes on one line; a quote inside it is written `\\"`.',
    wrong='let NAME = "gpt2\n',
    right='let NAME = "gpt2"\n',
)
BAD_CHARACTER = Problem(
    "E0003",
    "a character that the language does not have",
    "the character {character} has no meaning here",
    "Outside strings and comments only letters, digits, `_`, operators and brackets occur.",
    wrong="let N = 3 ; let M = 4\n",
    right="let N = 3\nlet M = 4\n",
)
UNCLOSED = Problem(
    "E0004",
    "a bracket that is never closed",
    "`{bracket}` is never closed",
    "Every `(`, `[` and `{` needs its partner.",
    wrong="let SIZES = [1, 2, 3\n",
    right="let SIZES = [1, 2, 3]\n",
)
BAD_ESCAPE = Problem(
    "E0005",
    "an unknown escape in a string",
    "`{escape}` is no escape of this language",
    'Strings know `\\n`, `\\t`, `\\"`, `\\\\` and `\\u{…}`.',
    wrong='let NAME = "a\\qb"\n',
    right='let NAME = "a\\\\qb"\n',
)
TOO_DEEP = Problem(
    "E0006",
    "the text is nested too deeply",
    "this is nested more than {limit} levels deep",
    "Brackets and operators may be nested 200 levels deep; a call or a block counts for two. Name an intermediate "
    "value instead.",
)
NOT_UTF8 = Problem(
    "E0007",
    "the file is not UTF-8 text",
    "this file is not UTF-8 text: {reason}",
    "A spec is a text file in UTF-8.",
)
NO_FILE = Problem(
    "E0008",
    "the file can't be read",
    "can't read {path}: {reason}",
    "The file does not exist, is no file, or may not be read.",
)
TOO_LONG = Problem(
    "E0009",
    "the text is longer than the compiler reads",
    "{what} is longer than the compiler reads: over {limit}",
    "A spec and all that it imports have at most 60,000 words (names, numbers, signs), a file at most 2,000,000 characters, and files "
    "import one another at most 60 deep, so that no text hangs the compiler. Layers that repeat are a loop, and tables are read with `npz`.",
)
MANY_MORE = Problem(
    "E0010",
    "more problems than are told",
    "{count} more problems are not shown",
    "Of a file with very many problems the first hundred are told, errors before warnings; as a rule most of the others follow from them.",
)
