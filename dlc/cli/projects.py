"""Projects that `dlc new` starts: a spec with its train block, data to begin with, and what to do next."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

from dlc.resources import projects_path, specs_path

COUNT = 120  # rows or pictures of a class


class Project(NamedTuple):
    """A kind of project: what it is about, the files of its data, what stands in its README about them, and something to ask the trained network."""

    title: str
    data: Callable[[], Mapping[str, str | bytes]]
    about: str
    ask: str


def files(kind: str, name: str) -> dict[str, str | bytes]:
    """The files of a project by their places. Raises ImportError where pictures can't be made."""
    project = PROJECTS[kind]
    spec = (projects_path() / f"{kind}.dl").read_text(encoding="utf-8")
    data = {f"data/{file}": content for file, content in project.data().items()}
    commands = _commands(name, project.ask)
    readme = _README.format(name=name, title=project.title, about=project.about, commands=commands)
    return {f"{name}.dl": spec, "README.md": readme, ".gitignore": "runs/\nbuild/\n", **data}


_COMMANDS = {
    "dlc check {name}.dl": "all that is wrong with it",
    "dlc summary {name}.dl --dims B=1": "its layers, parameters and costs",
    "dlc train {name}.dl --backend torch --out runs/1": "Ctrl-C saves; --resume goes on",
    "dlc evaluate {name}.dl --weights runs/1": "the held-out data",
    "dlc predict {name}.dl --weights runs/1 --input {ask}": "",
    "dlc train {name}.dl --backend torch --out runs/2 --set lr=5e-3": "",
    "dlc runs runs --html runs.html": "both side by side",
    "dlc compile {name}.dl --backend onnx --weights runs/1/net.safetensors -o build": "",
}


def _commands(name: str, ask: str) -> str:
    """The commands, and what they do at one margin."""
    said = [(command.format(name=name, ask=ask), about) for command, about in _COMMANDS.items()]
    margin = max(len(command) for command, about in said if about)
    return "\n".join(f"{command.ljust(margin)}  # {about}" if about else command for command, about in said)


_README = """# {name}

{title}. `{name}.dl` holds the network and its train block.

```sh
{commands}
```

`--backend` may be `jax`, `onnx` or `tvm` as well; `dlc doctor` shows what is installed.

## The data

{about}
"""


# --- data
# -----------------------------------------------------------------------------------------------------


def _seven() -> dict[str, str | bytes]:
    """A seven as MNIST has them, bright on dark; the digits themselves need no file."""
    pixels = bytearray(28 * 28)
    for x in range(7, 21):
        pixels[6 * 28 + x] = pixels[7 * 28 + x] = 230
    for y in range(8, 24):
        x = round(20 - (y - 8) * 0.55)
        pixels[y * 28 + x - 1] = pixels[y * 28 + x] = 230
    return {"seven.pgm": b"P5 28 28 255\n" + bytes(pixels)}


def _rows() -> dict[str, str | bytes]:
    """Three arms of a spiral."""
    numbers = random.Random(0)
    lines = []
    for i in range(COUNT):
        for arm, kind in enumerate(("fern", "moss", "palm")):
            radius = 0.2 + 2.8 * i / COUNT
            angle = 2.0 * math.pi * arm / 3 + 1.2 * radius + numbers.gauss(0.0, 0.12)
            lines.append(f"{radius * math.cos(angle):.4f},{radius * math.sin(angle):.4f},{kind}")
    numbers.shuffle(lines)
    return {"rows.csv": "\n".join(["width,height,kind", *lines]) + "\n"}


def _pictures() -> dict[str, str | bytes]:
    """Discs and squares of any dark colour, somewhere on a bright one."""
    from PIL import Image, ImageDraw

    numbers = random.Random(0)
    found: dict[str, str | bytes] = {}
    for i in range(COUNT):
        for kind in ("disc", "square"):
            back = tuple(numbers.randrange(130, 256) for _ in range(3))
            front = tuple(numbers.randrange(0, 100) for _ in range(3))
            image = Image.new("RGB", (32, 32), back)
            side = numbers.randrange(12, 24)
            x, y = (numbers.randrange(0, 32 - side) for _ in range(2))
            draw = ImageDraw.Draw(image)
            (draw.ellipse if kind == "disc" else draw.rectangle)((x, y, x + side, y + side), fill=front)
            buffer = io.BytesIO()
            image.save(buffer, format="PNG")
            found[f"{kind}/{i:03}.png"] = buffer.getvalue()
    return found


def _text() -> dict[str, str | bytes]:
    """The specs that come with dlc, one after another."""
    texts = (each.read_text(encoding="utf-8") for each in sorted(specs_path().rglob("*.dl")))
    return {"text.txt": "\n".join(texts)}


PROJECTS: Mapping[str, Project] = {
    "digits": Project(
        "Handwritten digits, classified",
        _seven,
        "The 1,797 digits that scikit-learn brings (`pip install 'dlc[data]'`): nothing is to be downloaded. `data/seven.pgm` is one that they don't have. For MNIST itself write\n"
        '`idx("data/train-images-idx3-ubyte.gz", labels="data/train-labels-idx1-ubyte.gz", batch=64)` in place of `digits(…)`.',
        "data/seven.pgm",
    ),
    "table": Project(
        "Rows of a table, classified",
        _rows,
        "`data/rows.csv` is made up: put your own there. A field of the batch is the column of its name, `features` all numbers that no other\n"
        "field takes; say how many there are (`columns`), and how many classes (`classes`). `parquet` and `json` are read the same way.",
        "data/rows.csv",
    ),
    "images": Project(
        "Pictures in folders, classified",
        _pictures,
        "The folders in `data` are the classes. These pictures are made up: put your own there, and say how many classes there are (`classes`).\n"
        "Pictures of any size are cropped and resized to `size`.",
        "data/disc/000.png",
    ),
    "text": Project(
        "A language model of characters",
        _text,
        "`data/text.txt` are the specs that come with dlc: put a text of your own there. Its characters are the tokens; for longer texts train a tokenizer,\n"
        '`dlc tokenizer train data/text.txt --vocab 4000 -o data/tokens.json`, and write `tokenizer="data/tokens.json"` and `vocab=4000`.',
        '"model Net("',
    ),
}
