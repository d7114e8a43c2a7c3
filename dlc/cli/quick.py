"""Plain questions are answered without the command line's own libraries, which take longer to load than most answers take.

An editor or a hook does not wait for them: `check FILE… [-q]` of files that are right, `summary FILE[:NAME] [-q]`. Anything else,
and whatever goes wrong, is left to the command, which does it again and reports."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dlc.elaborate.base.budget import Exhausted
from dlc.garbage import uncollected

if TYPE_CHECKING:
    from dlc.diagnostics import Diagnostic
    from dlc.elaborate.base.project import Project


checked: dict[str, tuple[Project, tuple[Diagnostic, ...]]] = {}
"""The files in which something is wrong, for the command, which need not check them again."""
exhausted: list[Exhausted] = []
"""What a spec that is more than the compiler will do raised: it would take as long to find out again."""


def answer(arguments: Sequence[str]) -> str | None:
    """What the command prints; None where it has to run itself."""
    command, *given = arguments or ("",)
    quiet = [each for each in given if each in ("-q", "--quiet")]
    targets = [each for each in given if each not in quiet]
    say = _ANSWERS.get(command)
    if say is None or not targets or any(each.startswith(("-", "dlc:")) for each in targets):
        return None
    try:
        with uncollected():
            found = say(targets, bool(quiet))
            gc.freeze()  # the process ends with the answer: there is no use in looking for garbage once more
            return found
    except Exhausted as error:
        exhausted.append(error)
        return None
    except Exception:  # whatever it is, the command will meet it again
        return None


def _check(files: Sequence[str], quiet: bool) -> str | None:
    from dlc.elaborate.base.project import Project
    from dlc.elaborate.checks.file import check_unit
    from dlc.syntax.source import specs_in

    files = specs_in(files)
    for file in files:
        project = Project(None)
        name = file.partition(":")[0]
        found = check_unit(project, project.load(name))
        if found:
            checked[name] = project, found
            return None
    return "" if quiet else f"{len(files)} file{'s' if len(files) > 1 else ''} checked, nothing wrong\n"


def _summary(targets: Sequence[str], quiet: bool) -> str | None:
    from dlc.analysis.summary_text import summary_text
    from dlc.api import Model, load

    if len(targets) > 1:
        return None
    file, _, name = targets[0].partition(":")
    spec = load(file)
    model = spec[name or spec.models[0]]
    return f"{summary_text(model.summary(), quiet=quiet)}\n" if isinstance(model, Model) else None


_ANSWERS: Mapping[str, Callable[[Sequence[str], bool], str | None]] = {"check": _check, "summary": _summary}
