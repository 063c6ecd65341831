"""What each image is made of, and the tag that follows from it.

A tag is a digest over everything that goes into the image, so the same tag always means the same
content: what a registry has under it need not be built or pushed again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Target of the Dockerfile → what it copies from the repository (files, or folders as a whole).
INPUTS: dict[str, tuple[str, ...]] = {
    "operator": ("requirements/operator.txt", "operator/everloop"),
    "runtime": (
        "requirements/runtime.txt",
        "requirements/shim.txt",
        "training/shim",
        "training/everloop_training",
        "model_server/everloop_server",
        "operator/everloop/__init__.py",
        "operator/everloop/contract.py",
        "operator/everloop/py.typed",
    ),
    "router": ("requirements/router.txt",),
}


def files_of(paths: Iterable[str], root: Path = ROOT) -> Iterator[Path]:
    """The files behind `paths`, sorted, without what Python leaves beside its sources."""
    for path in paths:
        place = root / path
        if place.is_dir():
            found = (f for f in sorted(place.rglob("*")) if f.is_file())
            yield from (f for f in found if "__pycache__" not in f.parts)
        elif place.is_file():
            yield place
        else:
            raise FileNotFoundError(f"{place} goes into an image but does not exist")


def key(paths: Iterable[str], extra: Iterable[str] = (), root: Path = ROOT) -> str:
    """Twelve hex digits over name, mode and content of every file, and over the `extra` texts."""
    sha = hashlib.sha256()
    for text in extra:
        sha.update(f"{text}\0".encode())
    for file in files_of(paths, root):
        name, executable = file.relative_to(root).as_posix(), os.access(file, os.X_OK)
        sha.update(f"{name}\0{int(executable)}\0{file.stat().st_size}\0".encode())
        sha.update(file.read_bytes())
    return sha.hexdigest()[:12]


def image_key(target: str, base: str, root: Path = ROOT) -> str:
    """The tag of one image: its inputs, its part of the recipe and the base it stands on."""
    part = recipe(target, (root / "Dockerfile").read_text())
    return key(INPUTS[target], extra=(target, base, part), root=root)


def recipe(target: str, dockerfile: str) -> str:
    """The stages of a Dockerfile that a target is made of, and what stands before all of them.

    >>> recipe("b", "FROM x AS a\\nFROM y AS other\\nFROM a AS b\\nRUN z\\n")
    'FROM x AS a\\nFROM a AS b\\nRUN z\\n'
    """
    text = re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE)  # comments change nothing
    head, *stages = re.split(r"^(?=FROM )", text, flags=re.MULTILINE)
    named = {stage.split(maxsplit=4)[3]: stage for stage in stages}  # FROM base AS name
    needed, todo = set(), [target]
    while todo:
        name = todo.pop()
        if name in named and name not in needed:
            needed.add(name)
            todo += re.findall(r"(?:^FROM |--from=)(\S+)", named[name], re.MULTILINE)
    return head + "".join(stage for name, stage in named.items() if name in needed)


@contextmanager
def snapshot(targets: Iterable[str]) -> Iterator[Path]:
    """A copy of what the images are built from, so that key and content are of the same moment.

    Somebody may be editing the sources while an image is being built.
    """
    with tempfile.TemporaryDirectory(prefix="everloop-images-") as folder:
        copy = Path(folder)
        for file in files_of(["Dockerfile", *{p for t in targets for p in INPUTS[t]}]):
            place = copy / file.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, place)
        yield copy
