"""Training: the loop around a backend's trainer, with metrics, checkpoints, and an exact way to go on.

All that a step does depends on its number: which rows its batches hold, what is drawn at random, the
learning rate. So a run that was stopped and is continued gives the same numbers as one that was not."""

from __future__ import annotations

import math
import os
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from dlc import arguments
from dlc import backend as backends
from dlc.arguments import takes
from dlc.backend import Artifact, Backend, Batch, Trainer
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.elaborate.base.values import show
from dlc.elaborate.programs.update import DYNAMIC
from dlc.runtime import checkpoints, loggers, run_folder
from dlc.runtime import training_setup as setups
from dlc.runtime.checkpoints import Checkpoint, Journal
from dlc.runtime.compile import check_device, find_backend
from dlc.runtime.data.memory import Given
from dlc.runtime.data.tokens import of_run
from dlc.runtime.interrupts import AtOnce, Interrupted, Stop, interrupts
from dlc.runtime.loggers import About, Logging, logging
from dlc.runtime.reported import Best
from dlc.runtime.reported import Record as Record
from dlc.runtime.runs import Run
from dlc.runtime.samples import FOLDER, write_samples
from dlc.runtime.together import evaluated
from dlc.runtime.trainers import Trainers
from dlc.runtime.training_data import Data, check_measured, open_data
from dlc.runtime.weight_files import write_file
from dlc.spec import TRAIN_BLOCK, TrainBlock
from dlc.version import __version__

SMALLEST_SCALE = 2.0**-10
"""A scale of the loss below which steps are left out for another reason than the scale."""


class Watch:
    """Told of what happens in a run, in the thread that trains; this one does nothing with it. What a method raises ends the run
    and comes out as it is; the step that was told is saved."""

    def start(self, name: str, step: int, steps: int) -> None:
        """A run begins, or goes on, after `step` of `steps`."""

    def step(self, record: Record, *, logged: bool) -> None: ...

    def evaluation(self, record: Record) -> None: ...

    def stop(self) -> None:
        """The run is over, for whatever reason."""

    def interrupted(self, message: str) -> None:
        """The run was stopped and saved; `message` says how to go on."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run. `weights` are the files of the trained networks."""

    name: str
    backend: str
    out: Path
    steps: int
    training: Record | None
    evaluation: Record | None
    seconds: float
    weights: Mapping[str, Path]
    best: Best | None = None

    def __repr__(self) -> str:
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        return f"<Result of {self.name}: {self.steps:,} steps with {self.backend}{loss}>"

    def __str__(self) -> str:
        return self.text()

    @property
    def loss(self) -> float | None:
        return self.training.loss if self.training else None

    @property
    def metrics(self) -> dict[str, float]:
        """Those of the held-out data, or of the last step where there is none."""
        last = self.evaluation or self.training
        return dict(last.metrics) if last else {}

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "backend": self.backend,
            "out": str(self.out),
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "train": self.training.to_json() if self.training else None,
            "evaluate": self.evaluation.to_json() if self.evaluation else None,
            "weights": {name: str(path) for name, path in self.weights.items()},
            **({"best": self.best.to_json()} if self.best else {}),
        }

    def text(self) -> str:
        lines = [f"{self.name}: {self.steps:,} steps in {self.seconds:.1f} s with {self.backend}"]
        lines += [f"train     {self.training.text()}"] if self.training else []
        lines += [f"evaluate  {self.evaluation.text()}"] if self.evaluation else []
        if self.best is not None:
            lines += [f"best      {self.best.text()}"]
        lines += [f"weights   {path}" for path in self.weights.values()]
        return "\n".join(lines)


@takes(
    block=TRAIN_BLOCK,
    backend=arguments.BACKEND,
    out=arguments.path,
    resume=arguments.flag,
    force=arguments.flag,
    device=arguments.DEVICE,
    watch=arguments.optional(arguments.instance("a `dlc.runtime.training.Watch`", Watch)),
    log=arguments.optional(arguments.names("loggers")),
)
def train(
    block: TrainBlock,
    *,
    backend: str,
    out: str | os.PathLike[str],
    resume: bool = False,
    force: bool = False,
    device: str = "cpu",
    watch: Watch | None = None,
    log: Sequence[str] | None = None,
    data: Given | None = None,
    held_out: Given | None = None,
) -> Result:
    """Train a block's networks; weights, code, metrics and checkpoints go into the folder `out`, where nothing else is
    touched. `force` replaces files there that have the names of a run's, but never another run.

    `log` names what is told of losses and metrics besides the folder's own log: "tensorboard", "mlflow".

    `data` and `held_out` stand in for the block's sources: arrays by the names of the batch's fields, rows first (or
    `dlc.source.Rows`). They are not copied, and have to stay as they are.

    Raises SpecError if the block, its data or the checkpoint is wrong, the folder can't be taken or the loss diverges,
    and Interrupted, after saving, on Ctrl-C, SIGTERM and SIGHUP in the main thread. What a method of `watch` raises comes
    out as it is, after saving too."""
    folder = Path(out)
    found = find_backend(backend, usable=True)
    if not found.trains:
        raise lacks_training(found)
    check_device(found, device)
    also = tuple(log or ())
    loggers.check(also)
    opened = open_data(block, data, held_out)
    if resume and not folder.is_dir():
        raise checkpoints.none(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with run_folder.locked(folder), interrupts() as stop:
        identity = setups.identity(block, found, opened)
        if resume:
            checkpoint = _checkpoint(folder, identity)
        else:
            run_folder.claim(folder, [*_names(block), *loggers.files(also)], force=force)
            checkpoint = None
        run_folder.sweep(folder)
        run = _Run(block, found, folder, opened, identity, checkpoint, device, watch or Watch())
        try:
            with logging(also, run.about) as run.loggers:
                return run.go(stop)
        finally:
            run.watch.stop()


def _names(block: TrainBlock) -> Iterator[str]:
    """Of the files of a run that go by its networks' names."""
    for network in setups.networks(block.plan):
        yield from (f"{network.name}.py", f"{network.name}.safetensors")
    if block.plan.samples is not None:
        yield FOLDER


def _checkpoint(out: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
    """What to continue from; None for a run that was stopped before its first checkpoint."""
    begun = run_folder.manifest_of(out)
    if begun is None and run_folder.is_untouched(out):  # killed before it wrote anything
        return None
    if checkpoints.latest(out) is None and begun is not None and begun["step"] == 0:
        checkpoints.same_run(begun, identity, out)
        return None
    found = checkpoints.load(out)
    checkpoints.same_run(found.manifest, identity, out)
    return found


def lacks_training(backend: Backend) -> SpecError:
    able = [each.name for each in backends.every() if each.trains]
    first, last = ", ".join(able[:-1]), able[-1:]
    return backend.lacks("does not train", f"{first} and {last[0]} do" if first else "")


def total_steps(settings: Mapping[str, Any], per_epoch: int) -> int:
    """How many updates a run has: by `steps` and by `epochs`, whichever are fewer."""
    counts = [settings["steps"]] if settings["steps"] is not None else []
    if settings["epochs"] is not None:
        counts.append(max(1, settings["epochs"] * per_epoch // settings["accumulate"]))
    return int(min(counts))


# --- a run
# -----------------------------------------------------------------------------------------------------


@dataclass
class _Run:
    block: TrainBlock
    backend: Backend
    out: Path
    data: Data
    identity: Mapping[str, Any]
    checkpoint: Checkpoint | None
    device: str
    watch: Watch
    trainer: Trainer = field(init=False)
    sampler: Trainer | None = field(init=False, default=None)
    last: Record | None = field(init=False)
    evaluated: Record | None = field(init=False)
    saved: int | None = None
    kept: dict[str, Any] = field(default_factory=dict)  # the best weights so far, by path
    loggers: Sequence[Logging] = ()

    def __post_init__(self) -> None:
        self.plan = self.block.plan
        self.settings = self.plan.settings
        self.per_epoch = self.data.training.per_epoch
        self.total = total_steps(self.settings, self.per_epoch)
        before = self.checkpoint.manifest if self.checkpoint else {}
        self.start = int(before.get("step", 0))
        self.seconds_before = float(before.get("seconds", 0.0))
        self.best = Best.of(self.plan, before.get("best"))
        self.last = Record.from_json(before.get("train"))
        self.evaluated = Record.from_json(before.get("evaluate"))
        self.trainers = Trainers(self.block, self.data.sizes)
        self.trainer = self._trainer()
        self.begun = time.perf_counter()
        code = setups.code(self.block, self.backend)
        self.code = {name: sorted(artifact.files) for name, artifact in code.items()}
        self._begin(code)
        self.journal = Journal(self.out, self.start)

    def _begin(self, code: Mapping[str, Artifact]) -> None:
        """What stands in the folder before the first step. A run that is continued brings what was lost, and what its
        checkpoint was too late for."""
        place = checkpoints.latest(self.out)
        if self.checkpoint is not None and place is not None:
            checkpoints.show(self.out, place, self.checkpoint)
        else:
            checkpoints.write_manifest(self.out, self._manifest(0))
        for artifact in code.values():
            for name, content in artifact.files.items():
                if self.checkpoint is None or not (self.out / name).exists():
                    checkpoints.write_text(self.out / name, str(content))
        self._show_best()

    def _trainer(self) -> Trainer:
        weights, state = self._held()
        trainer = self.trainers.of(self.backend, self.device, weights)
        if weights is not None:
            try:
                trainer.restore(weights, state)
            except ValueError as error:
                raise checkpoints.refused(self.out, str(error)) from None
        return trainer

    def _held(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """Weights and optimizer state of the checkpoint."""
        if self.checkpoint is None:
            return None, {}
        parts: dict[str, dict[str, Any]] = {"weights": {}, "optimizers": {}, "best": {}}
        for key, value in self.checkpoint.state.items():
            part, _, name = key.partition(":")
            parts.setdefault(part, {})[name] = value
        self.saved = self.checkpoint.step
        self.kept = parts["best"] if self.best.step else {}
        weights = setups.joined(self.plan, self.checkpoint.networks, parts["weights"])
        for each in (weights, *([self.kept] if self.kept else [])):
            self._check_fits(each)
        return weights, parts["optimizers"]

    def _check_fits(self, weights: Mapping[str, Any]) -> None:
        """Raises SpecError where the weights of a checkpoint are not those that the block has."""
        known = {each.path: each.type.shape for each in self.plan.program.parameters}
        if weights.keys() != known.keys():
            raise checkpoints.refused(self.out, "it holds other parameters than the networks have")
        for path, shape in known.items():
            if shape is not None and np.shape(weights[path]) != shape:
                raise checkpoints.refused(self.out, f"`{path}` has another shape")

    @property
    def about(self) -> About:
        """What loggers are told of the run."""
        settings = Run(self.out.name, self.out, self._manifest(self.start)).settings
        return About(self.plan.name, self.out, self.start, settings)

    def go(self, stop: Stop) -> Result:
        self.watch.start(self.plan.name, self.start, self.total)
        for step in range(self.start, self.start if self.best.is_over else self.total):
            self._step(step)
            done = step + 1
            if done < self.total and _due(self.settings["eval_every"], done):
                self._evaluate(done)
                if self.best.is_over:
                    break
            if done < self.total and (_due(self.settings["checkpoint_every"], done) or stop.asked):
                self._save(done)
            if done < self.total and stop.asked:
                self._interrupt(done, stop.asked)
        self._finish()
        return self._result()

    def _finish(self) -> None:
        done = self.done
        fresh = self.evaluated is None or self.evaluated.step != done
        if fresh:
            self._evaluate(done)
        if self.saved != done or (fresh and self.data.evaluation is not None):
            self._save(done)

    @property
    def done(self) -> int:
        """The steps of the run when it is over: all, or those until it stopped getting better."""
        stopped = self.evaluated.step if self.best.is_over and self.evaluated is not None else None
        return max(self.start, self.total) if stopped is None else stopped

    @contextmanager
    def _cancellable(self, done: int) -> Iterator[None]:
        """What a watch raises ends the run, and is no reason to lose a step of it."""
        try:
            yield
        except AtOnce:
            raise
        except BaseException as error:
            try:
                if self.saved != done:
                    self._save(done)
            except SpecError as unsaved:
                error.add_note(f"step {done:,} was not saved: {unsaved.diagnostics[0].message}")
            raise

    # --- steps
    # -------------------------------------------------------------------------------------------------

    def _step(self, step: int) -> None:
        count = self.settings["accumulate"]
        with self._cancellable(step):  # rows that can't be read end the run, and lose nothing
            batches = [self.data.training.training(each) for each in range(step * count, (step + 1) * count)]
        before = self._scales()
        values, rates = self.trainers.turns.turn(self.trainer, step, batches, self.total)
        loss, done, scales = values.pop("loss"), step + 1, self._scales()
        fallen = [each for name, each in scales.items() if each < before[name]]
        numbers = range(step * count, (step + 1) * count)
        if fallen and min(fallen) < SMALLEST_SCALE:
            self._diverged(*_however_scaled(loss, min(fallen)), done, batches, numbers)
        elif not (fallen or math.isfinite(loss)):
            self._diverged(str(loss), "", done, batches, numbers)
        self.last = Record(
            "train", done, self._epoch(done), loss, values, self.seconds, rates[0], scales, bool(fallen)
        )
        logged = done in (1, self.total) or _due(self.settings["log"], done)
        if logged:
            self._log(self.last)
        with self._cancellable(done):
            self.watch.step(self.last, logged=logged)

    def _scales(self) -> dict[str, float]:
        """Scales of losses that follow the gradients."""
        return self.trainer.scales() if self.plan.loss_scale == DYNAMIC else {}

    def _epoch(self, done: int) -> int:
        """The pass over the data to which the last batch of an update belongs."""
        return int((done * self.settings["accumulate"] - 1) // self.per_epoch)

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.begun

    def _diverged(
        self,
        value: str,
        help: str,
        step: int,
        batches: Sequence[Batch] = (),
        numbers: Iterable[int] = (),
    ) -> NoReturn:
        kept = f"the checkpoint of step {self.saved} is kept in {self.out}"
        notes = [kept] if self.saved is not None else []
        help = help or "a lower `lr`, a warm-up or `clip_norm = 1.0` in the settings may help"
        broken = next(filter(None, map(self.data.training.not_finite, numbers)), None)
        if broken is not None:
            notes.insert(
                0, f"`{broken[0]}` holds nan or infinity in row {broken[1]:,} of the data of this step"
            )
            help = "leave such rows out, or put a number there"
        elif batches and self.trainers.turns.is_empty(batches):
            notes.insert(0, "it is a mean over nothing: no label or row of this step counts")
            help = "take larger batches, or divide by `maximum(count, 1.0)`"
        raise SpecError([problems.DIVERGED.at(NO_SPAN, value=value, step=step, notes=notes, help=help)])

    def _evaluate(self, done: int) -> None:
        if self.plan.samples is not None:
            self._sample(done)
        batches = self.data.evaluation
        if batches is None:
            return
        with self._cancellable(done):  # as rows that are held out may be such that can't be read
            values = evaluated(self.trainer, self.trainers.held_out, batches.evaluation())
        loss = values.pop("loss")
        self.evaluated = Record("evaluate", done, self._epoch(done), loss, values, self.seconds)
        self._log(self.evaluated)
        with self._cancellable(done):
            check_measured(self.block, batches, loss)
        if self.best.measured(self.evaluated):
            self.kept = self.trainer.weights()
        with self._cancellable(done):
            self.watch.evaluation(self.evaluated)

    def _sample(self, done: int) -> None:
        """Write what the networks make now."""
        if self.sampler is None:
            self.sampler = self.trainers.sampler(self.backend, self.device)
        with self._cancellable(done):
            self.sampler.restore(self.trainer.weights(), {})
            made = self.sampler.evaluate(0, self.shown)
            tokenizer = of_run(self.data.about, self.block.folder, self.block.root)
        with self._writing(done):
            write_samples(self.out, done, made, tokenizer)

    @cached_property
    def shown(self) -> Batch:
        """The batch that samples are made of."""
        held = self.data.evaluation
        return self.data.training.training(0) if held is None else next(iter(held.evaluation()))

    def _log(self, record: Record) -> None:
        with self._writing(record.step):
            self.journal.add(record.to_json())
        with self._cancellable(record.step):
            for each in self.loggers:
                each.log(record)

    # --- checkpoints
    # -------------------------------------------------------------------------------------------

    def _save(self, done: int) -> None:
        weights = self.trainer.weights()
        self._check_finite(weights, done)
        by_network, rest = setups.split(self.plan, weights)
        state = {f"optimizers:{name}": each for name, each in self.trainer.state().items()}
        state.update((f"weights:{path}", each) for path, each in rest.items())
        state.update((f"best:{path}", each) for path, each in self.kept.items())
        with self._writing(done):
            checkpoints.save(self.out, Checkpoint(self._manifest(done), by_network, state))
            self._show_best()
        self.saved = done

    def _show_best(self) -> None:
        """The best weights so far are the ones beside the checkpoints, which have the latest."""
        if self.kept:
            for name, tensors in setups.split(self.plan, self.kept)[0].items():
                write_file(self.out / f"{name}.safetensors", tensors, staging=run_folder.STAGING)

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        """What can't be written, such as on a full disk, ends the run; what was saved before stays."""
        try:
            yield
        except OSError as error:
            message = f"can't write step {step:,} into {self.out}: {error.strerror or error}"
            help = "--resume begins this run anew"
            if self.saved is not None:
                help = f"the checkpoint of step {self.saved:,} is kept, and --resume goes on from it"
            raise run_folder.refused(message, help) from None

    def _check_finite(self, weights: Mapping[str, Any], done: int) -> None:
        """What is about to replace a good checkpoint must be numbers."""
        for parameter in self.plan.program.parameters:
            if parameter.path in self.plan.trained and not np.isfinite(weights[parameter.path]).all():
                self._diverged(f"still a number, but `{parameter.path}` is not,", "", done)

    def _manifest(self, done: int) -> dict[str, Any]:
        epoch, batch = divmod(done * self.settings["accumulate"], self.per_epoch)
        return {
            "format": 1,
            "dlc": __version__,
            "spec": {"file": self.plan.file, "digest": self.block.spec.digest, "train": self.plan.name},
            "set": {name: show(value) for name, value in self.block.overrides.items()},
            "backend": self.backend.name,
            "step": done,
            "steps": self.total,
            "finished": done >= self.total or self.best.is_over,
            "next": {"epoch": epoch, "batch": batch},
            "seed": self.settings["seed"],
            "settings": self.settings,
            "identity": self.identity,
            "networks": self._networks(),
            "data": dict(self.data.about),
            "train": self.last.to_json() if self.last else None,
            "evaluate": self.evaluated.to_json() if self.evaluated else None,
            **({"best": self.best.to_json()} if self.best.name else {}),
            "seconds": round(self.seconds, 3),
        }

    def _networks(self) -> dict[str, Any]:
        return {
            each.name: {
                "model": each.definition.name,
                "settings": {key: show(value) for key, value in each.static.items()},
                "code": self.code.get(each.name, []),
                "weights": f"{each.name}.safetensors",
            }
            for each in setups.networks(self.plan)
        }

    def _interrupt(self, done: int, number: int) -> NoReturn:
        message = f"stopped after step {done:,} of {self.total:,}, and saved. To go on:\n  {self._command()}"
        self.watch.stop()
        self.watch.interrupted(message)
        raise Interrupted(message, number)

    def _command(self) -> str:
        """How to go on."""
        if self.data.is_given:
            return f"dlc.train(…, backend={self.backend.name!r}, out={str(self.out)!r}, resume=True), with the same data"
        sets: list[str] = []
        for name, value in self.block.overrides.items():
            sets += ["--set", f"{name}={show(value)}"]
        target = f"{self.plan.file}:{self.plan.name}"
        words = ["dlc", "train", target, "--backend", self.backend.name, "--out", str(self.out), *sets]
        return shlex.join([*words, *(["--device", self.device] if self.device != "cpu" else []), "--resume"])

    def _result(self) -> Result:
        files = {each.name: self.out / f"{each.name}.safetensors" for each in setups.networks(self.plan)}
        steps = self.done
        name, backend = self.plan.name, self.backend.name
        best = self.best if self.best.step else None
        return Result(name, backend, self.out, steps, self.last, self.evaluated, self.seconds, files, best)


def _however_scaled(loss: float, scale: float) -> tuple[str, str]:
    """What is said, and what may help, where gradients are not finite though the loss is scaled by next to nothing."""
    value = "a number, but its gradient is not," if math.isfinite(loss) else str(loss)
    help = "what overflows in f16 is the network: `precision = bf16` has the range of f32; a lower `lr` or a warm-up may help too"
    return f"{value} however small its scale, now {scale:g},", help


def _due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0
