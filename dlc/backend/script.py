"""A training as source that runs without dlc: what a backend that writes such scripts is handed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dlc.backend.artifact import Family
from dlc.records import dataclass

if TYPE_CHECKING:
    from dlc.ir.nodes import Program


@dataclass(frozen=True, slots=True)
class Share:
    """From where to where rows are taken, once a seed has shuffled them (None: they are not), or the `rest` of them."""

    low: float
    high: float
    seed: int | None
    rest: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """A source, a schedule or an optimizer by name, with its arguments. A schedule of the spec's own has its `code`, functions of Python, the
    first of which is called for a rate. Of a source a `share` is taken where there is one."""

    name: str
    args: Mapping[str, Any]
    code: tuple[str, ...] = ()
    share: Share | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What an optimizer remembers of a parameter: its name, and the number that all of it begins as."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    value: float | int | bool


@dataclass(frozen=True, slots=True)
class Drawn:
    """An input that is drawn at random, by an op with attributes: the one of that `number` among all of a turn."""

    name: str
    op: str
    shape: tuple[int | str, ...]
    attrs: Mapping[str, Any]
    number: int


@dataclass(frozen=True, slots=True)
class Form:
    """An optimizer that a script writes out, for parameters of one shape. `program` takes a parameter, its gradient, what it remembers, and what it
    `takes` besides: `t`, the number of the step from 1, and `lr`. It gives the parameter's new value, and that of what it remembers."""

    program: Program
    shape: tuple[int, ...]
    memory: tuple[Memory, ...]
    takes: tuple[str, ...]
    draws: tuple[Drawn, ...] = ()
    """What it draws, which it takes last, numbered by itself."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An optimizer and the paths that it trains; `lr` is None where it has a rate of its own. One that the backend does not know by its name
    comes in `forms`, one for each shape of what it trains."""

    optimizer: Chosen
    lr: float | Chosen | None
    paths: tuple[str, ...]
    forms: tuple[Form, ...] = ()

    @property
    def draws(self) -> bool:
        """Whether it draws."""
        return any(each.draws for each in self.forms)


@dataclass(frozen=True, slots=True)
class Together:
    """How several batches make one update. What a call gives of each batch is added up (those in `means` weighed alike), and a `function`
    computes `numbers` of that, which takes the `sizes` that count rows besides.

    The loss has the gradient of its parts, added up, where what is `counted` is known of all batches before: the function `counts`
    computes that of the fields `counted_of`. It is empty where nothing is. Where the gradient hangs on sums that have one themselves, all
    batches are computed `twice`: once for the sums."""

    function: str
    numbers: tuple[str, ...]
    means: frozenset[str]
    sizes: tuple[str, ...]
    counted: tuple[str, ...] = ()
    counts: str = ""
    counted_of: tuple[str, ...] = ()
    twice: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One program of a turn: a way into the module, what it takes by name, what it gives, and how often it is called.

    `rules` are the optimizers of an update; without any it is computed for its outputs and what it changes. `kept` are outputs that later
    calls take, and what these call them. `together` is there where the outputs are sums of a batch, of which several make one."""

    entry: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    every: int = 1
    turns: int = 1
    kept: tuple[tuple[str, str], ...] = ()
    loss: str = "loss"
    draws_anew: frozenset[str] = frozenset()
    together: Together | None = None


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How held-out data are measured: `sums` of each batch by one way into the module, added up (those in `means` weighed by rows), and
    numbers of these by a `function`, which takes the `sizes` that count rows besides. `batch` is the size of batches."""

    function: str
    source: Chosen
    fields: Mapping[str, str]
    batch: int
    inputs: tuple[str, ...]
    sums: tuple[str, ...]
    means: frozenset[str]
    sizes: tuple[str, ...]
    numbers: tuple[str, ...]
    is_random: bool = False
    """Whether what is measured draws by the backend's own means."""
    draws: tuple[Drawn, ...] = ()
    """What it draws otherwise: inputs, in whose shapes `size` is the number of rows."""


@dataclass(frozen=True, slots=True)
class Script:
    """All that a script says. `family` has the programs of the module: every call of a turn and those of `held_out` are entries of it. Those
    without parameters are functions, whose names are their source and their entry.

    `fields` are the dtypes of the batch's fields; `settings` those of the block; `trainable` the paths that some call trains; `draws` are inputs of the
    programs, empty where these draw by the backend's own means, as they do where it `is_random` all the same. Rows follow each other from batch to batch where they come `in_streams`. `counterparts` are programs of the family in
    the other mode, by their entries. `networks` are the files that are written, and the paths of what lies in them. Initial values lie beside it in `NAME.safetensors`."""

    name: str
    title: str
    header: tuple[str, ...]
    family: Family
    calls: tuple[Call, ...]
    held_out: HeldOut | None
    source: Chosen
    fields: Mapping[str, str]
    batch: int
    settings: Mapping[str, Any]
    networks: tuple[tuple[str, str], ...]
    counterparts: Mapping[str, Program]
    draws: tuple[Drawn, ...] = ()
    is_random: bool = False
    loss_scale: float | str | None = None
    """What losses are multiplied by while gradients are taken: a number, or "dynamic"; None where they are not."""
    recomputes: bool = False
    """Whether layers are computed again on the way back."""
    best: tuple[str, bool] | None = None
    """The number of held-out data that the best weights are the best by, and whether high is good; None where the last weights are kept."""
    in_streams: bool = False
    sample_by: str | None = None
    """The field by which rows are drawn, where they are not all taken."""
