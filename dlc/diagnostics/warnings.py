"""What is legal and almost surely a mistake: W01xx. A warning never keeps a spec from being used; a comment `# allow W0101` on its
line, or alone above it, turns it off there."""

from __future__ import annotations

from dlc.diagnostics import Problem


def _warning(code: str, title: str, message: str, explanation: str, wrong: str, right: str) -> Problem:
    return Problem(code, title, message, explanation, wrong=wrong, right=right, severity="warning")


UNKNOWN_WARNING = _warning(
    "W0001",
    "a comment allows a warning that there is not",
    "there is no warning `{code}`",
    "`# allow W0101` turns a warning off: on its own line, or on the next where it stands alone. What it names must be one "
    "(`dlc explain all` lists them). Errors can't be allowed.",
    wrong="model Net()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4)    # allow W9999\n}\n",
    right="model Net()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4)\n}\n",
)
COMPARES_ALL = _warning(
    "W0101",
    "each row is compared with every other",
    "`{a}` and `{b}` broadcast to `{result}`: each row is compared with every other",
    "NumPy's broadcasting turns `[B]` and `[B, 1]` into `[B, B]`. A mean over that is no accuracy and no loss: it compares each "
    "prediction with the labels of all rows. Where all pairs are meant, write the new axis where it is used (`a[:, none] - b`).",
    wrong="model Net()(x: [B, 64], label: i64[B, 1]) -> accuracy: [] {\n"
    "    logits = x |> linear(10)\n    return mean(argmax(logits, axis=-1) == label)\n}\n",
    right="model Net()(x: [B, 64], label: i64[B, 1]) -> accuracy: [] {\n"
    "    logits = x |> linear(10)\n    return mean(argmax(logits, axis=-1) == label[:, 0])\n}\n",
)
WRONG_SCORES = _warning(
    "W0102",
    "a loss gets what it computes itself",
    "`{taker}` takes {wanted}, and this comes from `{giver}`",
    "`cross_entropy` holds a log_softmax and `bce_with_logits` a sigmoid: both take the scores of the last layer as they are. With "
    "a softmax or sigmoid before them a network still learns, slowly and never well, and nothing says why; a relu there takes away "
    "all scores below 0. `nll` takes what `log_softmax` gives, and no scores.",
    wrong="model Net()(x: [B, 64], label: i64[B]) -> loss: [] {\n"
    "    y = x |> linear(10) |> softmax\n    return cross_entropy(y, label)\n}\n",
    right="model Net()(x: [B, 64], label: i64[B]) -> loss: [] {\n"
    "    y = x |> linear(10)\n    return cross_entropy(y, label)\n}\n",
)
CHANNELS_LAST = _warning(
    "W0103",
    "an image with its channels last",
    "`{taker}` takes `[B, channels, height, width]`, and `{type}` looks like an image with its channels last",
    "Channels stand behind the batch, as in PyTorch; TensorFlow, PIL and NumPy keep them last. A convolution then takes the rows of "
    "the image for its channels. `permute(image, [0, 3, 1, 2])` turns such an image around.",
    wrong="model Net()(image: [B, 224, 224, 3]) -> _ {\n    return image |> conv2d(8, 3)\n}\n",
    right="model Net()(image: [B, 224, 224, 3]) -> _ {\n    return permute(image, [0, 3, 1, 2]) |> conv2d(8, 3)\n}\n",
)
MIXED_AXES = _warning(
    "W0104",
    "a reshape that mixes axes",
    "`reshape` keeps the order of the elements: from `{before}` to `{after}` it mixes `{axis}` with the axes beside it",
    "A reshape takes the elements in the order in which they lie. It splits an axis where it stands and joins neighbours; it never "
    "moves one. `reshape(x, [B, heads, T, e])` of `[B, T, heads * e]` has the right shape and puts parts of several positions into "
    "each head. `rearrange` says both, and is checked.",
    wrong="model Net()(x: [B, T, 64]) -> _ {\n    return reshape(x, [B, 4, T, 16])\n}\n",
    right='model Net()(x: [B, T, 64]) -> _ {\n    return rearrange(x, "B T (heads e) -> B heads T e", heads=4)\n}\n',
)
DROPPED_RESULT = _warning(
    "W0105",
    "dropout on what a loss reads",
    "`{taker}` takes scores of which `dropout` has set a part to 0",
    "Dropout stands before the last layer, not behind it. Behind it, it takes away scores themselves: a row whose right class is "
    "dropped is told that it was wrong.",
    wrong="model Net()(x: [B, 64], label: i64[B]) -> loss: [] {\n"
    "    y = x |> linear(10) |> dropout(0.5)\n    return cross_entropy(y, label)\n}\n",
    right="model Net()(x: [B, 64], label: i64[B]) -> loss: [] {\n"
    "    y = x |> dropout(0.5) |> linear(10)\n    return cross_entropy(y, label)\n}\n",
)
OWN_LABELS = _warning(
    "W0106",
    "a language model that is to tell what it reads",
    "the labels are `{name}`, which the network reads at the same places",
    "A decoder with causal attention sees each token before it is asked for it, so that the loss falls to 0 and nothing is "
    "learned. The labels are the tokens one place further: `net(tokens[:, :-1])` and `tokens[:, 1:]`.",
    wrong="model Net()(tokens: i64[B, T]) -> [B, T, 100] {\n"
    "    x = tokens |> embedding(100, 16)\n    return attention(x, x, x, causal=true) |> linear(100)\n}\n\n"
    "train run {\n    net = Net()\n    batch (tokens: i64[B, 32]) from synthetic()\n"
    "    minimize cross_entropy(net(tokens), tokens)\n    optimizer = adam()\n    settings { steps = 10 }\n}\n",
    right="model Net()(tokens: i64[B, T]) -> [B, T, 100] {\n"
    "    x = tokens |> embedding(100, 16)\n    return attention(x, x, x, causal=true) |> linear(100)\n}\n\n"
    "train run {\n    net = Net()\n    batch (tokens: i64[B, 32]) from synthetic()\n"
    "    minimize cross_entropy(net(tokens[:, :-1]), tokens[:, 1:])\n    optimizer = adam()\n    settings { steps = 10 }\n}\n",
)
SCALED_TWICE = _warning(
    "W0107",
    "scores of an attention that are scaled twice",
    "`attention` divides its scores by the root of {size}, and its {what} are divided by it already",
    "`attention` computes `softmax(q k^T / sqrt(e)) v`. What is scaled before it is scaled twice, so that its attention is flat. "
    "`scale=1.0` leaves the scores as they are.",
    wrong="model Net()(q: [B, T, 64], k: [B, T, 64], v: [B, T, 64]) -> [B, T, 64] {\n"
    "    return attention(q / sqrt(64), k, v)\n}\n",
    right="model Net()(q: [B, T, 64], k: [B, T, 64], v: [B, T, 64]) -> [B, T, 64] {\n    return attention(q, k, v)\n}\n",
)
SEEN_DATA = _warning(
    "W0108",
    "an evaluation on the data that is trained on",
    "`evaluate` reads the same rows as `batch`: what it reports says nothing of data that was never seen",
    'Held-out data is another split, file or range of rows: `split="test"`, `start=` and `stop=`.',
    wrong="model Net()(image: [B, 1, 28, 28]) -> [B, 10] {\n    return image |> flatten |> linear(10)\n}\n\n"
    "train run {\n    net = Net()\n    batch (image: [B, 1, 28, 28], label: i64[B]) from digits(batch=64)\n"
    "    evaluate from digits(batch=256)\n    minimize cross_entropy(net(image), label)\n    optimizer = adam()\n"
    "    settings { steps = 10 }\n}\n",
    right="model Net()(image: [B, 1, 28, 28]) -> [B, 10] {\n    return image |> flatten |> linear(10)\n}\n\n"
    "train run {\n    net = Net()\n    batch (image: [B, 1, 28, 28], label: i64[B]) from digits(batch=64)\n"
    '    evaluate from digits(split="test", batch=256)\n    minimize cross_entropy(net(image), label)\n    optimizer = adam()\n'
    "    settings { steps = 10 }\n}\n",
)
NOT_ONE_BATCH = _warning(
    "W0109",
    "batches that do not count as one",
    "{message}",
    "Several batches count as one, those that a step accumulates and those of the held-out data: sums over their rows are added up, "
    "and what the spec computes of the sums is computed once. What is no sum over rows (a maximum, the spread about a batch's own "
    "mean) and what compares a row with others (`batch_norm` in training, a contrastive loss) is another number in each batch, and "
    "their mean is no number of all rows.",
    wrong="model Net()(x: [B, 64]) -> [B, 10] {\n    return x |> linear(32) |> batch_norm |> relu |> linear(10)\n}\n\n"
    "train run {\n    net = Net()\n    batch (x: [B, 64], label: i64[B]) from synthetic(batch=8)\n"
    "    minimize cross_entropy(net(x), label)\n    optimizer = adam()\n    settings { steps = 10, accumulate = 4 }\n}\n",
    right="model Net()(x: [B, 64]) -> [B, 10] {\n    return x |> linear(32) |> layer_norm |> relu |> linear(10)\n}\n\n"
    "train run {\n    net = Net()\n    batch (x: [B, 64], label: i64[B]) from synthetic(batch=8)\n"
    "    minimize cross_entropy(net(x), label)\n    optimizer = adam()\n    settings { steps = 10, accumulate = 4 }\n}\n",
)
UNREAD = _warning(
    "W0110",
    "a static parameter that nothing reads",
    "`{name}` of `{owner}` is never read",
    "What a parameter is declared for and no line reads has no effect, whatever it is set to: a rate of dropout that no `dropout` gets, a "
    "`tied` that no `if` asks. A call `f(...)` passes on the parameters that `f` has, so that nothing is said where there is one.",
    wrong="model Net(d: int = 8, p: float = 0.1)(x: [B, 4]) -> [B, d] {\n    return x |> linear(d) |> dropout(0.1)\n}\n",
    right="model Net(d: int = 8, p: float = 0.1)(x: [B, 4]) -> [B, d] {\n    return x |> linear(d) |> dropout(p)\n}\n",
)
CHANNELS_IN = _warning(
    "W0111",
    "the input's channels as the first number of a convolution",
    "`{taker}` makes {out} channels of {out} here, with a kernel of {kernel} and a stride of {stride}",
    "A convolution takes `out`, `kernel` and `stride`; how many channels come in is known from what it is applied to. PyTorch's "
    "`Conv2d(3, 16, 3)` is `conv2d(16, 3)` here. Where it is meant as it stands, `# allow W0111` says so.",
    wrong="model Net()(image: [B, 3, 64, 64]) -> [B, _, _, _] {\n    return image |> conv2d(3, 16, 3)\n}\n",
    right="model Net()(image: [B, 3, 64, 64]) -> [B, _, _, _] {\n    return image |> conv2d(16, 3)\n}\n",
)
HIGHEST_ERROR = _warning(
    "W0112",
    "the highest of what is called an error",
    '`best = "{name}"` keeps the weights with the highest `{name}`',
    'Of a metric the highest counts as the best, of the loss the lowest. Of an error `"min NAME"` takes the lowest; `"max NAME"` says that the highest is meant.',
    wrong="model Net()(x: [B, 4]) -> [B] {\n    return x |> linear(1) |> squeeze(-1)\n}\n\n"
    "train run {\n    net = Net()\n    batch (x: [B, 4], y: [B]) from synthetic(batch=8, seed=1)\n    evaluate from synthetic(batch=8, seed=2)\n"
    "    minimize mse(net(x), y)\n    metric rmse = sqrt(mean((net(x) - y) ** 2))\n    optimizer = adam()\n"
    '    settings { steps = 10, best = "rmse" }\n}\n',
    right="model Net()(x: [B, 4]) -> [B] {\n    return x |> linear(1) |> squeeze(-1)\n}\n\n"
    "train run {\n    net = Net()\n    batch (x: [B, 4], y: [B]) from synthetic(batch=8, seed=1)\n    evaluate from synthetic(batch=8, seed=2)\n"
    "    minimize mse(net(x), y)\n    metric rmse = sqrt(mean((net(x) - y) ** 2))\n    optimizer = adam()\n"
    '    settings { steps = 10, best = "min rmse" }\n}\n',
)
