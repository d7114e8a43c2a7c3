"""Problems of meaning: names and calls (E01xx), static values (E02xx), types and shapes (E03xx), facts (E04xx),
parameters, paths and loops (E05xx)."""

from __future__ import annotations

from dlc.diagnostics import Problem

# --- E01xx: names and calls ------------------------------------------------------------------------------------

UNKNOWN_NAME = Problem(
    "E0101",
    "an unknown name",
    "nothing here is called `{name}`",
    "A name must be bound in the body, be a parameter or input, be defined or imported in the file, or be part of the "
    "standard library.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    return rleu(x)\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    return relu(x)\n}\n",
)
UNKNOWN_ARGUMENT = Problem(
    "E0102",
    "an unknown argument",
    "`{callee}` has no argument `{name}`",
    "Arguments given by name must be parameters of what is called.",
    wrong='model M()(x: [B, 4]) -> [B, 4] {\n    return gelu(x, aproximate="tanh")\n}\n',
    right='model M()(x: [B, 4]) -> [B, 4] {\n    return gelu(x, approximate="tanh")\n}\n',
)
MISSING_ARGUMENT = Problem(
    "E0103",
    "a missing argument",
    "`{callee}` needs `{name}`",
    "A parameter without a default must be given.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    return x |> linear\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4)\n}\n",
)
TOO_MANY_ARGUMENTS = Problem(
    "E0104",
    "too many arguments",
    "`{callee}` takes {expected}, {found} given",
    "More positional arguments were given than there are parameters.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    return relu(x, x, x)\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    return relu(x)\n}\n",
)
GIVEN_TWICE = Problem(
    "E0105",
    "an argument given twice",
    "`{name}` of `{callee}` is given twice",
    "An argument may be given by position or by name, not both.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4, out=4)\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4)\n}\n",
)
NOT_CALLABLE = Problem(
    "E0106",
    "a call of something that can't be called",
    "`{name}` is {what}, which can't be called",
    "Modules, instances, models, fns and ops can be called.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    y = x + 1\n    return y(x)\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    y = x + 1\n    return relu(y)\n}\n",
)
DEFINED_TWICE = Problem(
    "E0107",
    "a name defined twice",
    "`{name}` is defined twice {where}",
    "Items of a file share one space of names, and so do the parameters of an item.",
    wrong="let N = 1\nlet N = 2\n",
    right="let N = 1\nlet M = 2\n",
)
BAD_IMPORT = Problem(
    "E0108",
    "an import that can't be resolved",
    "can't import {path}: {reason}",
    "Imports are relative to the file, and stay inside the project's root; `dlc:` names specs that ship with dlc.",
    wrong='from "no_such_file.dl" import Block\n',
    right='from "dlc:language/gpt2" import Block\n',
)
IMPORT_CYCLE = Problem(
    "E0109",
    "files that import each other",
    "these files import each other: {cycle}",
    "Imports must not form a cycle. Move what both need into a third file.",
)
NOT_EXPORTED = Problem(
    "E0110",
    "an imported name that the other file does not have",
    "{file} defines no `{name}`",
    "Only names defined (or imported) in the other file can be imported.",
    wrong='from "dlc:language/gpt2" import Blok\n',
    right='from "dlc:language/gpt2" import Block\n',
)
NO_ATTRIBUTE = Problem(
    "E0111",
    "an unknown attribute",
    "{what} has no `{name}`",
    "After a point stands a parameter or part of an instance, an entry, a member of a group, or `T` of a tensor.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    fc = linear(4)\n    y = fc(x)\n    return y @ fc.wieght.T\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    fc = linear(4)\n    y = fc(x)\n    return y @ fc.weight.T\n}\n",
)
STATIC_AND_TENSOR = Problem(
    "E0112",
    "a tensor among a module's static arguments",
    "`{callee}` takes its static arguments first, and its tensors in a second call",
    "A module is called twice: with its static arguments, which makes an instance, then with tensors.",
    wrong="model M()(x: [B, 4]) -> [B, 8] {\n    return linear(x, 8)\n}\n",
    right="model M()(x: [B, 4]) -> [B, 8] {\n    return linear(8)(x)\n}\n",
)
BAD_PIPE = Problem(
    "E0113",
    "a pipe into something that takes no tensor",
    "`|>` needs something to call on its right: {what}",
    "A stage is an op, an fn, a module, an instance, or a call of one.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    y = x + 1\n    return x |> y\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    y = x + 1\n    return y |> relu\n}\n",
)
NO_MODEL = Problem(
    "E0114",
    "no such model, preset or train block",
    "{message}",
    "A command acts on a model, preset or train block of the file; `FILE:NAME` says which.",
)
NO_EFFECT = Problem(
    "E0115",
    "an expression that does nothing",
    "the value of this expression is not used",
    "Only bindings, `return` and other statements have an effect in a body.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    relu(x)\n    return x\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    x = relu(x)\n    return x\n}\n",
)
NOT_YET = Problem(
    "E0116",
    "a part of the language that this version does not compile yet",
    "{what} can't be compiled yet",
    "The text is right, but this version of dlc has no meaning for it yet. The capability table (`dlc ops`) and the "
    "language guide say what is covered.",
)
NO_RETURN = Problem(
    "E0117",
    "a body without a `return`",
    "`{name}` promises {outputs} and returns nothing",
    "Every path through a body ends with `return`.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    y = relu(x)\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    y = relu(x)\n    return y\n}\n",
)
MISPLACED = Problem(
    "E0118",
    "a statement or label where it can't stand",
    "{what}",
    "A label names a part that has parameters, a parameter, or a loop. `param`, `init` and `entry` stand in modules; an entry "
    "with static parameters of its own makes no parts, since they are the model's; "
    "`update` changes a buffer of the module it stands in; `minimize`, `batch` and the like stand in train blocks.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    y = (x + 1) as shifted\n    return y\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    y = x |> linear(4) as shifted\n    return y\n}\n",
)
RECURSION = Problem(
    "E0119",
    "a module or fn that contains itself",
    "`{name}` contains itself: {cycle}",
    "A network is finite: a module can't be part of itself. Use `for` to repeat.",
    wrong="module A()(x: [B, 4]) -> [B, 4] {\n    return x |> A\n}\n"
    "model M()(x: [B, 4]) -> [B, 4] {\n    return x |> A\n}\n",
    right="module A()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4)\n}\n"
    "model M()(x: [B, 4]) -> [B, 4] {\n    for i in range(3) { x = x |> A }\n    return x\n}\n",
)
NO_DEFAULT = Problem(
    "E0120",
    "a model whose parameter has no default",
    "`{name}` of the model `{model}` has no default",
    "A model is an entry point, and so are its entries: each of their static parameters has a default. Use `module` for a part.",
    wrong="model M(d: int)(x: [B, 4]) -> [B, d] {\n    return x |> linear(d)\n}\n",
    right="model M(d: int = 8)(x: [B, 4]) -> [B, d] {\n    return x |> linear(d)\n}\n",
)
HIDES_CALLABLE = Problem(
    "E0121",
    "an instance that is never applied",
    "`{name}` has not been applied to anything yet, so its parameters have no shape",
    "Shapes of parameters follow from what an instance is applied to; its parameters can be read after that.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    fc = linear(4)\n    return x @ fc.weight.T\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    fc = linear(4)\n    y = fc(x)\n    return y @ fc.weight.T\n}\n",
)
SCAN_AXIS = Problem(
    "E0122",
    "a scan over something that it can't go along",
    "{message}",
    "A scan reads its sequences along one axis: axis 1, or the one that its header says, `along T` by the name that is written "
    "in the first sequence's type, `along axis 0` by number. Sequences that are read together have one length.",
    wrong="model M()(x: [B, T, 4]) -> [B, 4] {\n    scan xt in x along S with h = zeros([B, 4]) {\n        h = h + xt\n    }\n"
    "    return h\n}\n",
    right="model M()(x: [B, T, 4]) -> [B, 4] {\n    scan xt in x along T with h = zeros([B, 4]) {\n        h = h + xt\n    }\n"
    "    return h\n}\n",
)
SCAN_CARRY = Problem(
    "E0123",
    "a scan that changes what it does not carry, or how",
    "{message}",
    "A turn gives to the next what the header carries (`with h = …`), and nothing else of what is known outside may be assigned. "
    "What is carried keeps its structure, shape and dtype.",
    wrong="model M()(x: [B, T, 4]) -> [B, 4] {\n    h = zeros([B, 4])\n    scan xt in x {\n        h = h + xt\n    }\n    return h\n}\n",
    right="model M()(x: [B, T, 4]) -> [B, 4] {\n    scan xt in x with h = zeros([B, 4]) {\n        h = h + xt\n    }\n    return h\n}\n",
)
SCAN_YIELD = Problem(
    "E0124",
    "a `yield` that can't be stacked",
    "{message}",
    "A turn hands out tensors, each name once. They are stacked along the axis that the scan reads.",
    wrong="model M()(x: [B, T, 4]) -> [B, T, 4] {\n    scan xt in x with h = zeros([B, 4]) {\n        h = h + xt\n"
    "        yield hs = h\n        yield hs = xt\n    }\n    return hs\n}\n",
    right="model M()(x: [B, T, 4]) -> [B, T, 4] {\n    scan xt in x with h = zeros([B, 4]) {\n        h = h + xt\n"
    "        yield hs = h\n    }\n    return hs\n}\n",
)
GRADIENT = Problem(
    "E0126",
    "a gradient that does not exist",
    "{message}",
    "`gradient(y, x)` is the derivative of a float scalar by float tensors that it is computed of, all in one body. Integers, comparisons, "
    "`argmax` and what stands behind `stop_gradient` have none.",
    wrong="model Score(d: int = 8)(x: [B, 2]) -> [B, 2] {\n    energy = x |> linear(d) |> tanh |> linear(1)\n    return gradient(energy, x)\n}\n",
    right="model Score(d: int = 8)(x: [B, 2]) -> [B, 2] {\n    energy = x |> linear(d) |> tanh |> linear(1)\n    return gradient(sum(energy), x)\n}\n",
)
COPIED = Problem(
    "E0125",
    "a module that can't be copied or changed",
    "{message}",
    "`copies` and `mixture` make copies of a module that is written where it is passed, each with parameters of its own; `spectral_norm` "
    "and `weight_norm` change the `weight` of one. It takes one tensor, gives one, and keeps no state. An expert of a `mixture` treats each row for itself: "
    "which rows come together is chance.",
    wrong="module Expert(d: int)(x: [N, d]) -> [N, d] {\n    return x |> linear(d) as fc |> softmax(axis=0)\n}\n\n"
    "model M()(x: [B, 4], choice: i64[B, 2]) -> [B, 4] {\n    return x |> mixture(Expert(4), 8)(choice) as experts\n}\n",
    right="module Expert(d: int)(x: [N, d]) -> [N, d] {\n    return x |> linear(d) as fc |> softmax\n}\n\n"
    "model M()(x: [B, 4], choice: i64[B, 2]) -> [B, 4] {\n    return x |> mixture(Expert(4), 8)(choice) as experts\n}\n",
)

# --- E02xx: static values --------------------------------------------------------------------------------------

STATIC_TYPE = Problem(
    "E0201",
    "a static value of the wrong type",
    "`{name}` of `{callee}` must be {expected}, not {found}",
    "Static parameters have types: int, float, bool, str, dtype, dim, module, fn, list[T], tuple[…].",
    wrong='model M()(x: [B, 4]) -> [B, 4] {\n    return x |> linear("4")\n}\n',
    right="model M()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4)\n}\n",
)
NOT_STATIC = Problem(
    "E0202",
    "a tensor where a value known while compiling is needed",
    "{what} must be known while compiling, and {found} is not",
    "Sizes, conditions, ranges and static arguments are decided by the compiler. Use `where(cond, a, b)` to choose by data.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    if x > 0 { return x }\n    return -x\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    return where(x > 0, x, -x)\n}\n",
)
BAD_OPERANDS = Problem(
    "E0203",
    "an operator on values that it does not take",
    "`{op}` does not take {left} and {right}",
    "Static operators work as in Python.",
    wrong='let N = 3 + "a"\n',
    right="let N = 3 + 4\n",
)
STATIC_ERROR = Problem(
    "E0204",
    "a static computation that fails",
    "{message}",
    "Something computed while compiling has no value: a division by zero, an index past the end, a root of a negative "
    "number, a wrong argument of a static function.",
    wrong="let N = 3 // 0\n",
    right="let N = 3 // 1\n",
)
BUDGET = Problem(
    "E0205",
    "a static computation that is too large",
    "{what} is more than the compiler will do: {found} (the limit is {limit})",
    "What is computed or unrolled while compiling is bounded, so that a spec can't hang the compiler.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    for i in range(10**12) { x = x |> linear(4) }\n    return x\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    for i in range(12) { x = x |> linear(4) }\n    return x\n}\n",
)
UNPACK = Problem(
    "E0206",
    "a value that does not unpack into these names",
    "can't unpack {found} into {count} names",
    "A tuple, a list, several outputs, or a tensor's first axis unpack into as many names as they have parts.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    a, b, c = split(x, [2, 2])\n    return a\n}\n",
    right="model M()(x: [B, 4]) -> [B, 2] {\n    a, b = split(x, [2, 2])\n    return a\n}\n",
)
NOT_ITERABLE = Problem(
    "E0207",
    "a loop over something that is no list",
    "can't loop over {found}",
    "`for` runs over ranges, lists, `enumerate`, `zip`, `reversed`.",
    wrong="model M(n: int = 3)(x: [B, 4]) -> [B, 4] {\n    for i in n { x = x |> linear(4) }\n    return x\n}\n",
    right="model M(n: int = 3)(x: [B, 4]) -> [B, 4] {\n    for i in range(n) { x = x |> linear(4) }\n    return x\n}\n",
)
BAD_VALUE = Problem(
    "E0208",
    "a value that an op or layer does not take",
    "`{callee}`: {message}",
    "Some arguments have few meaningful values.",
    wrong='model M()(x: [B, 4]) -> [B, 4] {\n    return gelu(x, approximate="tan")\n}\n',
    right='model M()(x: [B, 4]) -> [B, 4] {\n    return gelu(x, approximate="tanh")\n}\n',
)
LET_CYCLE = Problem(
    "E0209",
    "a value that needs itself",
    "`{name}` needs its own value: {cycle}",
    "A `let` or preset may use others of the file, in any order, but not itself.",
    wrong="let A = B + 1\nlet B = A + 1\n",
    right="let A = 1\nlet B = A + 1\n",
)
BAD_PRESET = Problem(
    "E0210",
    "a preset that is no model at settings",
    "{message}",
    "A preset is a model, or another preset, called with the settings that differ from its defaults.",
    wrong="model M(d: int = 4)(x: [B, 4]) -> [B, d] {\n    return x |> linear(d)\n}\npreset Big = M\n",
    right="model M(d: int = 4)(x: [B, 4]) -> [B, d] {\n    return x |> linear(d)\n}\npreset Big = M(d=64)\n",
)

# --- E03xx: types and shapes -----------------------------------------------------------------------------------

INPUT_SHAPE = Problem(
    "E0301",
    "a tensor whose shape the callee does not take",
    "`{callee}` takes `{name}` as {expected}: {reason}",
    "The axes of an input must fit its declared type; names in it are bound to the actual sizes.",
    wrong="module A()(x: [B, 8]) -> [B, 8] {\n    return x\n}\nmodel M()(x: [B, 4]) -> [B, 8] {\n    return x |> A\n}\n",
    right="module A()(x: [B, 4]) -> [B, 4] {\n    return x\n}\nmodel M()(x: [B, 4]) -> [B, 4] {\n    return x |> A\n}\n",
)
SHAPE = Problem(
    "E0302",
    "operands whose shapes do not fit",
    "{message}",
    "An op was given tensors whose axes do not fit together.",
    wrong="model M()(x: [B, 4], w: [5, 8]) -> [B, 8] {\n    return x @ w\n}\n",
    right="model M()(x: [B, 5], w: [5, 8]) -> [B, 8] {\n    return x @ w\n}\n",
)
DTYPE = Problem(
    "E0303",
    "operands of the wrong dtype",
    "{message}",
    "dtypes do not convert silently, except numbers to the tensor that they meet and f32 where `float` is asked for.",
    wrong="model M()(x: i64[B, 4]) -> [B, 4] {\n    return exp(x)\n}\n",
    right="model M()(x: i64[B, 4]) -> [B, 4] {\n    return exp(cast(x, float))\n}\n",
)
RESULT = Problem(
    "E0304",
    "a result of another type than declared",
    "`{name}` declares {expected}, the body returns {found}",
    "What a body returns must be of the declared type, for all sizes.",
    wrong="model M()(x: [B, 4]) -> [B, 8] {\n    return x\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    return x\n}\n",
)
BINDING_TYPE = Problem(
    "E0305",
    "a binding of another type than written",
    "`{name}` is written as {expected}: {reason}",
    "`y: [B, d] = expr` checks the value's type and names its sizes.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    y: [B, 5] = x\n    return y\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    y: [B, n] = x\n    return y\n}\n",
)
PATTERN = Problem(
    "E0306",
    "a pattern that does not fit",
    "{message}",
    "Patterns of `rearrange`, `reduce`, `repeat` and `einsum` are einops's. A name that is a dim or a static int in "
    "scope is that size; other names are the pattern's own.",
    wrong='model M()(x: [B, T, 12]) -> [B, 12, T] {\n    return rearrange(x, "B T d -> B d T T")\n}\n',
    right='model M()(x: [B, T, 12]) -> [B, 12, T] {\n    return rearrange(x, "B T d -> B d T")\n}\n',
)
AXIS = Problem(
    "E0307",
    "an axis or index out of range",
    "{message}",
    "Axes count from 0, negative ones from the end; indices and slices must be provably inside the tensor.",
    wrong="model M()(x: [B, 4]) -> [B] {\n    return x[:, 4]\n}\n",
    right="model M()(x: [B, 4]) -> [B] {\n    return x[:, 3]\n}\n",
)
OUTPUT_COUNT = Problem(
    "E0308",
    "a different number of results than declared",
    "`{name}` declares {expected}, the body returns {found}",
    "`return` gives as many values as the signature has outputs.",
    wrong="model M()(x: [B, 4]) -> (a: [B, 4], b: [B, 4]) {\n    return x\n}\n",
    right="model M()(x: [B, 4]) -> (a: [B, 4], b: [B, 4]) {\n    return x, x\n}\n",
)
NOT_A_TENSOR = Problem(
    "E0309",
    "something else where a tensor is needed",
    "`{callee}` needs a tensor for `{name}`, not {found}",
    "An op or module was given something that is no tensor.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    return relu(relu)\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    return relu(x)\n}\n",
)
BAD_TYPE = Problem(
    "E0310",
    "a type that makes no sense",
    "{message}",
    "A type is a dtype with axes (`f32[B, T]`), a group, or a static type.",
    wrong="model M()(x: f31[B, 4]) -> [B, 4] {\n    return x\n}\n",
    right="model M()(x: f32[B, 4]) -> [B, 4] {\n    return cast(x, float)\n}\n",
)

# --- E04xx: facts ----------------------------------------------------------------------------------------------

FACT_VIOLATED = Problem(
    "E0401",
    "a `where` that a call violates",
    "`{callee}` needs `{fact}`, and here it is false",
    "A module or fn states what must hold of its sizes; every call must fulfil it.",
    wrong="module A(d: int, heads: int)(x: [B, d]) -> [B, d]\n    where d % heads == 0\n{\n    return x\n}\n"
    "model M()(x: [B, 10]) -> [B, 10] {\n    return x |> A(10, 3)\n}\n",
    right="module A(d: int, heads: int)(x: [B, d]) -> [B, d]\n    where d % heads == 0\n{\n    return x\n}\n"
    "model M()(x: [B, 10]) -> [B, 10] {\n    return x |> A(10, 5)\n}\n",
)
FACT_UNPROVED = Problem(
    "E0402",
    "a `where` that can't be proved at a call",
    "`{callee}` needs `{fact}`, and nothing here says so",
    "What a callee needs must follow from what the caller states or knows.",
    wrong="module A()(x: [B, T]) -> [B, T]\n    where T % 2 == 0\n{\n    return x\n}\n"
    "model M()(x: [B, T]) -> [B, T] {\n    return x |> A\n}\n",
    right="module A()(x: [B, T]) -> [B, T]\n    where T % 2 == 0\n{\n    return x\n}\n"
    "model M()(x: [B, T]) -> [B, T]\n    where T % 2 == 0\n{\n    return x |> A\n}\n",
)
UNDECIDED = Problem(
    "E0403",
    "a condition on sizes that facts do not decide",
    "whether `{condition}` holds is not known while compiling",
    "An `if` or a range on a dim must be decided by facts. State one in `where`, or use `require`.",
    wrong="model M()(x: [B, T]) -> [B, T] {\n    if T > 8 { return x * 2 }\n    return x\n}\n",
    right="model M()(x: [B, T]) -> [B, T]\n    where 9 <= T\n{\n    if T > 8 { return x * 2 }\n    return x\n}\n",
)
REQUIRE_FALSE = Problem(
    "E0404",
    "a `require` that is false",
    "this does not hold: {message}",
    "A `require` on static values or sizes was refuted.",
    wrong='model M(d: int = 3)(x: [B, 4]) -> [B, 4] {\n    require d % 2 == 0, "d must be even, not {d}"\n    return x\n}\n',
    right='model M(d: int = 4)(x: [B, 4]) -> [B, 4] {\n    require d % 2 == 0, "d must be even, not {d}"\n    return x\n}\n',
)
UNPROVED_SHAPE = Problem(
    "E0405",
    "shapes that are not known to fit",
    "{message}",
    "The sizes may agree, but nothing says so. State the missing fact in a `where`.",
    wrong="model M()(x: [B, T]) -> [B, T] {\n    return reshape(x, [B, T // 2 * 2])\n}\n",
    right="model M()(x: [B, T]) -> [B, T]\n    where T % 2 == 0\n{\n    return reshape(x, [B, T // 2 * 2])\n}\n",
)
BAD_FACT = Problem(
    "E0406",
    "a `where` that is no fact about sizes",
    "{message}",
    "Facts compare sizes and static values: `d % heads == 0`, `1 <= T <= context`.",
    wrong="model M()(x: [B, 4]) -> [B, 4]\n    where sum(x) > 0\n{\n    return x\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4]\n    where B % 2 == 0\n{\n    return x\n}\n",
)

# --- E05xx: parameters, paths, loops ---------------------------------------------------------------------------

SAME_PATH = Problem(
    "E0501",
    "two parameters at one path",
    "two parameters are called `{path}`",
    "A path is a tensor's name in checkpoints, so it names one tensor. Give one of the parts another label with `as`.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4) as fc |> linear(4) as fc\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4) as fc1 |> linear(4) as fc2\n}\n",
)
PARAM_DIM = Problem(
    "E0502",
    "a parameter whose shape depends on an input's dim",
    "the shape of the parameter `{name}` depends on {dim}, which is known only when the network runs",
    "Parameters exist before any input does: their shapes are made of static values.",
    wrong="module A()(x: [B, T]) -> [B, T] {\n    param w: [T] = zeros\n    return x + w\n}\n"
    "model M()(x: [B, T]) -> [B, T] {\n    return x |> A\n}\n",
    right="module A(n: int)(x: [B, n]) -> [B, n] {\n    param w: [n] = zeros\n    return x + w\n}\n"
    "model M()(x: [B, 8]) -> [B, 8] {\n    return x |> A(8)\n}\n",
)
SECOND_UNNAMED = Problem(
    "E0503",
    "a second unnamed part in a labelled loop",
    "this is the second part without a name in a loop labelled `{label}`",
    "`for … as h` names one unnamed part `h.0`, `h.1`, …; with more parts, give each a label with `as`.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    for i in range(3) as h {\n        x = x |> linear(8) |> relu |> linear(4)\n"
    "    }\n    return x\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    for i in range(3) as h {\n"
    "        x = x |> linear(8) as fc1 |> relu |> linear(4) as fc2\n    }\n    return x\n}\n",
)
BAD_INITIAL = Problem(
    "E0504",
    "an initial value that is none",
    "{message}",
    "An initial value is a creation op without its shape (`zeros`, `normal(0.02)`), a number, or a tensor expression "
    "without inputs, which may read the parameters above.",
    wrong="module A()(x: [B, 4]) -> [B, 4] {\n    param w: [4] = zeros([4])\n    return x + w\n}\n"
    "model M()(x: [B, 4]) -> [B, 4] {\n    return x |> A\n}\n",
    right="module A()(x: [B, 4]) -> [B, 4] {\n    param w: [4] = zeros\n    return x + w\n}\n"
    "model M()(x: [B, 4]) -> [B, 4] {\n    return x |> A\n}\n",
)
UNUSED_RULE = Problem(
    "E0505",
    "an `init` rule that matches nothing",
    "no parameter below `{module}` matches {selector}",
    "A rule that applies to nothing is most likely misspelled.",
    wrong='model M()(x: [B, 4]) -> [B, 4] {\n    init "fd.weight" = zeros\n    return x |> linear(4) as fc\n}\n',
    right='model M()(x: [B, 4]) -> [B, 4] {\n    init "fc.weight" = zeros\n    return x |> linear(4) as fc\n}\n',
)
UPDATE_TARGET = Problem(
    "E0506",
    "an `update` of something that is no buffer",
    "`{name}` is no buffer of this module",
    "`update` gives a buffer that the same module declares its new value.",
    wrong="model M()(x: [B, 4]) -> [B, 4] {\n    param seen: [] = 0.0\n    update seen = seen + 1.0\n    return x + seen\n}\n",
    right="model M()(x: [B, 4]) -> [B, 4] {\n    buffer seen: [] = 0.0\n    update seen = seen + 1.0\n    return x + seen\n}\n",
)
BAD_LABEL = Problem(
    "E0507",
    "a label that no path can have",
    "the label {label} {reason}",
    "Paths are labels joined by dots, and patterns over them use stars and braces. So a label holds letters, digits, `_`, `-` and "
    "the like, with no part empty; in its string only `{…}` interpolates.",
    wrong='model M()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4) as "layer {{0}}"\n}\n',
    right='model M()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4) as "layer-0"\n}\n',
)
