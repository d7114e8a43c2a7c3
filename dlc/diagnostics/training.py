"""Problems of weights (E06xx), of training and its data (E07xx), of backends (E08xx) and of use (E09xx)."""

from __future__ import annotations

from dlc.diagnostics import Problem

_NET = "model Net()(x: [B, 1, 28, 28]) -> [B, 10] {\n    return x |> flatten |> linear(10)\n}\n"


def _train(body: str) -> str:
    return _NET + "train t {\n" + "".join(f"    {line}\n" for line in body.splitlines()) + "}\n"


def _weights(rule: str) -> str:
    model = "model Net()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4) as fc\n}\n"
    return f"{model}weights torch for Net {{\n    {rule}\n}}\n"


_BATCH = "net = Net()\nbatch (image: [B, 1, 28, 28], label: i64[B]) from digits(batch=64)\n"
_LOSS = "minimize cross_entropy(net(image), label)\n"
_REST = "optimizer = adam(lr=1e-3)\nsettings { steps = 100 }"
_RIGHT = _train(_BATCH + _LOSS + _REST)

# --- E06xx: weights --------------------------------------------------------------------------------------------

WEIGHTS_FILE = Problem(
    "E0601",
    "a weights file that can't be read",
    "can't read weights from {path}: {reason}",
    "Weights are read from safetensors and npz files. Pickles are never read: they can run code.",
)
WEIGHTS_MISSING = Problem(
    "E0602",
    "parameters that a weights file does not fill",
    "{count} of the model's tensors are not in the file: {names}",
    "Every parameter must be filled. A `weights` block says how names and layouts of a checkpoint map to the model's.",
)
WEIGHTS_UNUSED = Problem(
    "E0603",
    "tensors of a weights file that nothing uses",
    "{count} tensors of the file are not used: {names}",
    'Every tensor must be used, or ignored by the `weights` block: `ignore "pattern"`.',
)
WEIGHTS_SHAPE = Problem(
    "E0604",
    "a tensor of another shape than its parameter",
    "`{path}` is {found} in the file, the model needs {expected}",
    "After the `weights` block has been applied, shapes must be equal. Layouts differ often by a `transpose`.",
)
WEIGHTS_RULE = Problem(
    "E0605",
    "a rule of a `weights` block that can't be applied",
    "{message}",
    "Rules apply in order, each to the names that the ones before left, and must be invertible.",
    wrong=_weights('rename "classifier.weight" -> "fc.*"'),
    right=_weights('rename "classifier.*" -> "fc.*"'),
)
WEIGHTS_NO_MATCH = Problem(
    "E0606",
    "a `weights` rule that matches nothing",
    "{pattern} matches no tensor of the model",
    "A rule that applies to nothing is most likely misspelled.",
    wrong=_weights('rename "classifier.*" -> "fd.*"'),
    right=_weights('rename "classifier.*" -> "fc.*"'),
)

WEIGHTS_DTYPE = Problem(
    "E0607",
    "numbers of a weights file that a parameter can't hold",
    "`{path}` is {found} in the file, the model needs {needs}",
    "Floats go into floats of any width. Integers and 8-bit floats are quantised weights, which mean nothing without their scale, and "
    "what goes into integers has to be whole.",
)

# --- E07xx: training -------------------------------------------------------------------------------------------

INCOMPLETE = Problem(
    "E0701",
    "a train block that lacks something",
    "the train block `{name}` has no {what}",
    "Training needs a network, a batch from a source, something to minimize, an optimizer, and how long to go on.",
    wrong=_train(_BATCH + _REST),
    right=_RIGHT,
)
UNKNOWN_SETTING = Problem(
    "E0702",
    "an unknown setting",
    "there is no setting `{name}`",
    "Settings are steps, epochs, seed, precision, clip_norm, accumulate, eval_every, checkpoint_every, log.",
    wrong=_train(_BATCH + _LOSS + "optimizer = adam(lr=1e-3)\nsettings { step = 100 }"),
    right=_RIGHT,
)
BAD_SETTING = Problem(
    "E0703",
    "a setting of the wrong kind",
    "`{name}` can't be {found}: it must be {expected}",
    "Settings have types and ranges.",
    wrong=_train(_BATCH + _LOSS + "optimizer = adam(lr=1e-3)\nsettings { steps = -5 }"),
    right=_RIGHT,
)
BAD_OPTIMIZER = Problem(
    "E0704",
    "an unknown optimizer",
    "{message}",
    "Optimizers are sgd, adam, adamw, lion, adafactor, muon.",
    wrong=_train(_BATCH + _LOSS + "optimizer = adamm(lr=1e-3)\nsettings { steps = 100 }"),
    right=_RIGHT,
)
BAD_SCHEDULE = Problem(
    "E0719",
    "an unknown schedule",
    "there is no schedule `{name}`",
    "Schedules are constant, cosine, linear, step_decay, one_cycle, and fns of the spec that take a `step`; a plain number is a constant learning rate.",
    wrong=_train(_BATCH + _LOSS + "optimizer = adam(lr=cosin(1e-3))\nsettings { steps = 100 }"),
    right=_train(_BATCH + _LOSS + "optimizer = adam(lr=cosine(1e-3))\nsettings { steps = 100 }"),
)
BAD_SOURCE = Problem(
    "E0705",
    "a data source that can't be used",
    "{message}",
    "Sources are digits, idx, npz, csv, parquet, json, images, text, synthetic, python, arrays; `rest` is what the batch leaves of its own.",
    wrong=_train(
        "net = Net()\nbatch (image: [B, 1, 28, 28], label: i64[B]) from digit(batch=64)\n" + _LOSS + _REST
    ),
    right=_RIGHT,
)
LOSS = Problem(
    "E0706",
    "a loss that is no scalar",
    "`minimize` needs one float number, not {found}",
    "A loss is a scalar float tensor: [].",
    wrong=_train(_BATCH + 'minimize cross_entropy(net(image), label, reduction="none")\n' + _REST),
    right=_RIGHT,
)
METRIC = Problem(
    "E0707",
    "a metric that is no scalar",
    "the metric `{name}` must be one number, not {found}",
    "A metric is a scalar tensor. On held-out data it is what its expression gives on all rows, not a mean over batches.",
    wrong=_train(_BATCH + _LOSS + "metric hits = argmax(net(image), -1) == label\n" + _REST),
    right=_train(_BATCH + _LOSS + "metric accuracy = mean(argmax(net(image), -1) == label)\n" + _REST),
)
TWICE = Problem(
    "E0708",
    "something that can stand only once",
    "{what} stands here for the second time",
    "A train block has one batch and one loss; metrics have different names.",
    wrong=_train(_BATCH + _LOSS + _LOSS + _REST),
    right=_RIGHT,
)
BATCH_FIELD = Problem(
    "E0709",
    "a field of a batch without a proper type",
    "{message}",
    "Fields are typed like inputs: `image: [B, 1, 28, 28]`.",
    wrong=_train(
        "net = Net()\nbatch (image: [B, 2*k + j, 28, 28], label: i64[B]) from digits(batch=64)\n"
        + _LOSS
        + _REST
    ),
    right=_RIGHT,
)
DATA = Problem(
    "E0710",
    "data that does not fit",
    "{message}",
    "What a source gives is checked against the types of the batch before the first step. Indices that are computed of data, in training "
    "and wherever dlc runs a model, must be inside the axis that they count along, 0 to its size less 1: labels of a loss too, other than "
    "those that it is told to `ignore`. A loss of held-out data that is no number since they hold none is told with the row.",
)
NO_MATCH = Problem(
    "E0711",
    "a pattern that matches no parameter",
    "{pattern} matches no parameter of the networks",
    'Patterns of `freeze` and `optimizer` start at the network\'s name: "net.h.0.**".',
    wrong=_train(_BATCH + _LOSS + 'freeze "nett.**"\n' + _REST),
    right=_train(_BATCH + _LOSS + 'freeze "net.linear.bias"\n' + _REST),
)
NO_NETWORK = Problem(
    "E0712",
    "a name that is no network of the train block",
    "`{name}` is no network of this block",
    "Networks are the instances of models that the block binds: `net = Net()`.",
    wrong=_train(_BATCH + _LOSS + 'load nett from "weights.safetensors"\n' + _REST),
    right=_RIGHT,
)
MISSING_SETTING = Problem(
    "E0713",
    "an argument that must be given",
    "`{callee}` needs `{name}`",
    "Some arguments of sources, optimizers and schedules have no default.",
    wrong=_train(_BATCH + _LOSS + "optimizer = sgd()\nsettings { steps = 100 }"),
    right=_RIGHT,
)
MISPLACED_TRAIN = Problem(
    "E0714",
    "a statement that has no place in a train block",
    "this statement has no meaning in a train block",
    "A train block binds networks and tensors, and says batch, minimize, metric, sample, evaluate, optimizer, load, freeze, settings.",
    wrong=_train(_BATCH + _LOSS + "net(image)\n" + _REST),
    right=_RIGHT,
)
STEP = Problem(
    "E0715",
    "a step of a train block that can't be",
    "{message}",
    "A train block that updates networks one after the other says so in steps: `step NAME updates net with adam(…) { minimize … }`. "
    "What stands outside of them is computed once, before the first; `update net.parameter = …` behind the last.",
    wrong=_train(
        _BATCH + "step first updates net with adam() {\n    logits = net(image)\n}\nsettings { steps = 100 }"
    ),
    right=_train(
        _BATCH
        + "step first updates net with adam() {\n    minimize cross_entropy(net(image), label)\n}\nsettings { steps = 100 }"
    ),
)
CHECKPOINT = Problem(
    "E0716",
    "a checkpoint that can't be continued",
    "can't continue from {path}: {reason}",
    "A run continues from its own checkpoint, with the same spec.",
)
DIVERGED = Problem(
    "E0717",
    "a loss that is no number any more",
    "the loss is {value} at step {step}",
    "Training has diverged: a lower learning rate, `clip_norm`, or a warm-up may help. A mean over nothing is nan, too: the loss of a "
    "batch all of whose labels are ignored. In f16 a step whose loss or gradient is not finite is left out, and the loss is scaled by half as much, until "
    "the scale can't be the reason.",
)
NO_MATRIX = Problem(
    "E0718",
    "an optimizer for matrices on something else",
    "muon is for matrices, and `{path}` is {type}",
    "Muon makes the update of a matrix orthogonal. Biases, norms and other vectors need another optimizer.",
    wrong=_train(_BATCH + _LOSS + "optimizer = muon()\nsettings { steps = 100 }"),
    right=_train(
        _BATCH
        + _LOSS
        + "optimizer = muon()\noptimizer linear.bias = adamw(lr=1e-3)\nsettings { steps = 100 }"
    ),
)

ONE_VALUE = Problem(
    "E0720",
    "a norm over one value",
    "`{norm}` has one value a {of} in training: it is its own mean, and what comes out is 0 whatever goes in",
    "In training `batch_norm` takes the mean and the variance of each channel over the rows of a batch and its space, `instance_norm` "
    "over the space, `group_norm` over a group of channels and the space. Of one value there is no variance.",
    wrong="model Net()(x: [B, 64]) -> [B, 10] {\n    return x |> linear(32) |> batch_norm |> relu |> linear(10)\n}\n\n"
    "train t {\n    net = Net()\n    batch (x: [B, 64], label: i64[B]) from synthetic(batch=1)\n"
    "    minimize cross_entropy(net(x), label)\n    optimizer = adam()\n    settings { steps = 100 }\n}\n",
    right="model Net()(x: [B, 64]) -> [B, 10] {\n    return x |> linear(32) |> batch_norm |> relu |> linear(10)\n}\n\n"
    "train t {\n    net = Net()\n    batch (x: [B, 64], label: i64[B]) from synthetic(batch=16)\n"
    "    minimize cross_entropy(net(x), label)\n    optimizer = adam()\n    settings { steps = 100 }\n}\n",
)
METRIC_APART = Problem(
    "E0721",
    "a metric that the held-out data has no number of",
    "{message}",
    "A metric is one number of all held-out rows, however they are cut into batches: sums over rows are added up, and what is computed of "
    "the sums is computed once. What is no sum over rows (W0109) has no such number: the spread about the mean of a batch, or its largest "
    "element. Write it of sums, or evaluate all rows in one batch. `# allow W0109` at the metric takes the mean over the batches.",
)
SAMPLE = Problem(
    "E0722",
    "a sample that is no picture and no text",
    "{message}",
    "What `sample` writes are pictures, [N, C, H, W] with 1, 3 or 4 channels or [N, H, W], of floats from 0 to 1 or of bytes, or tokens, "
    "i64[N, T] or i64[T], which become text by the tokenizer of the data. It is made outside of training, with what the block trains.",
    wrong=_train(_BATCH + _LOSS + "sample shown = net(image)\n" + _REST),
    right=_train(_BATCH + _LOSS + "sample shown = (image + 1.0) / 2.0\n" + _REST),
)

# --- E08xx: backends -------------------------------------------------------------------------------------------

NO_BACKEND = Problem(
    "E0801",
    "a backend that is not installed",
    "the backend `{name}` is not available: {reason}",
    "A backend is installed with what it runs on; `dlc doctor` says which are there, and what installs the others.",
)
UNSUPPORTED = Problem(
    "E0802",
    "an op that a backend can't do",
    "the backend `{backend}` can't do `{op}`: {reason}",
    "The capability table (`dlc ops`) says which backend has which op.",
)
TOOLCHAIN = Problem(
    "E0803",
    "a tool that a target needs",
    "the target `{target}` needs {what}",
    "Some targets need a compiler besides the Python packages.",
)
REQUIRE_FAILED = Problem(
    "E0804",
    "a `require` that the data violates",
    "this does not hold for the given input: {message}",
    "A `require` or `where` on sizes or data is checked when the network runs.",
)
LACKS = Problem(
    "E0806",
    "a backend that can't do what is asked of it",
    "the backend `{name}` {what}",
    "Every backend emits and runs. Gradients, training, other devices and precisions are what it may do besides; `dlc doctor` says what each does.",
)

# --- E09xx: use ------------------------------------------------------------------------------------------------

BAD_OPTION = Problem(
    "E0901",
    "an option of a command that makes no sense",
    "{message}",
    "`dlc COMMAND --help` shows what a command takes.",
)
BAD_INPUT = Problem(
    "E0902",
    "an input that does not fit the model",
    "{message}",
    "Inputs are given by name, with the dtype and shape that the model declares.",
)
TEST_FAILED = Problem(
    "E0903",
    "a test that fails",
    "test {name} fails: {message}",
    "`dlc test` runs the `test` blocks of a file.",
)
PLUGIN = Problem(
    "E0904",
    "a plug-in that fails",
    "{what} fails: {reason}",
    "Backends, ops and data sources of other packages are found by their entry points. What one of them raises is told with its name, its "
    "package and the line of its code, and is for the package's authors to mend.",
)
MEMORY = Problem(
    "E0905",
    "more memory than there is",
    "this needs more memory than there is: {reason}",
    "Nothing is allocated by `dlc check` and `dlc summary`, whose bytes tell what a model needs at given sizes.",
)
INTERNAL = Problem(
    "E0999",
    "a fault of dlc itself",
    "internal error in dlc",
    "No spec should be able to cause this. Please report it together with the spec.",
)
