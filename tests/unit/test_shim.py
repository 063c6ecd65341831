"""The shim in C, compiled and run as it runs in a training pod."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

SOURCE = Path(__file__).parents[2] / "training" / "shim" / "shim.c"
STEP = "train"


@dataclass(frozen=True)
class Result:
    code: int
    out: bytes
    err: bytes
    record: dict[str, Any]
    message: dict[str, Any] | None
    message_size: int


@dataclass(frozen=True)
class Shim:
    binary: Path
    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "steps" / "deep" / "train.json"

    def command(self, *command: str, flags: tuple[str, ...] = ()) -> list[str]:
        message = str(self.folder / "termination-log")
        options = ["--name", STEP, "--state", str(self.state), "--message", message, *flags]
        return [str(self.binary), *options, "--", *command]

    def run(self, *command: str, flags: tuple[str, ...] = ()) -> Result:
        done = subprocess.run(
            self.command(*command, flags=flags), capture_output=True, check=False, timeout=60
        )
        return self.result(done.returncode, done.stdout, done.stderr)

    def result(self, code: int, out: bytes = b"", err: bytes = b"") -> Result:
        log = self.folder / "termination-log"
        text = log.read_text() if log.exists() else ""
        message = json.loads(text) if text else None
        return Result(code, out, err, json.loads(self.state.read_text()), message, len(text))

    def python(self, program: str, flags: tuple[str, ...] = ()) -> Result:
        return self.run(sys.executable, "-c", program, flags=flags)


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The machine's compiler when it has one, else the one that the image is built with."""
    path = tmp_path_factory.mktemp("shim") / "shim"
    compiler = ["cc"] if shutil.which("cc") else [sys.executable, "-m", "ziglang", "cc"]
    target = [] if shutil.which("cc") else ["-target", f"{os.uname().machine}-linux-musl"]
    flags = ["-static", "-Os", "-Wall", "-Wextra", "-Werror", "-Wno-format-truncation"]
    subprocess.run([*compiler, *target, *flags, "-o", str(path), str(SOURCE)], check=True)
    return path


@pytest.fixture
def shim(binary: Path, tmp_path: Path) -> Shim:
    return Shim(binary, tmp_path)


def test_success_passes_output_through_and_records_it(shim: Shim) -> None:
    done = shim.python("import sys; print('to out'); print('to err', file=sys.stderr)")
    assert (done.code, done.out, done.err) == (0, b"to out\n", b"to err\n")
    assert done.message is None
    assert done.record["name"] == STEP
    assert (done.record["exitCode"], done.record["signal"]) == (0, None)
    assert done.record["tolerated"] is False
    assert sorted(done.record["lastLines"]) == ["to err", "to out"]
    assert done.record["startedAt"] <= done.record["finishedAt"]
    assert done.record["finishedAt"].endswith("Z")


def test_failure_keeps_exit_code_and_says_the_last_lines(shim: Shim) -> None:
    done = shim.python("raise ValueError('no column \"carrier\"')")
    assert done.code == 1
    assert done.message is not None
    assert (done.message["reason"], done.message["exitCode"]) == ("Error", 1)
    assert done.message["lastLines"].endswith('ValueError: no column "carrier"')
    assert done.record["lastLines"][-1] == 'ValueError: no column "carrier"'


def test_death_by_signal_is_128_plus_its_number(shim: Shim) -> None:
    done = shim.python("import os; os.kill(os.getpid(), 11)")
    assert (done.code, done.record["exitCode"], done.record["signal"]) == (139, 139, 11)
    assert done.message is not None
    assert done.message["signal"] == 11


def test_tolerate_exits_0_and_records_the_failure(shim: Shim) -> None:
    done = shim.python("raise SystemExit(7)", flags=("--tolerate",))
    assert (done.code, done.message) == (0, None)
    assert (done.record["exitCode"], done.record["tolerated"]) == (7, True)


def test_tolerate_changes_nothing_on_success(shim: Shim) -> None:
    done = shim.python("pass", flags=("--tolerate",))
    assert (done.code, done.record["exitCode"], done.record["tolerated"]) == (0, 0, False)


def test_missing_command_says_what_to_do(shim: Shim) -> None:
    done = shim.run("no-such-command")
    assert (done.code, done.record["exitCode"]) == (127, 127)
    assert done.message is not None
    assert done.message["reason"] == "CannotRun"
    assert 'cannot run "no-such-command": No such file' in done.message["lastLines"]
    assert "write a command that exists in the step's image" in done.message["lastLines"]
    assert b'step train: cannot run "no-such-command"' in done.err


def test_command_without_execute_permission_is_126(shim: Shim) -> None:
    script = shim.folder / "script"
    script.write_text("#!/bin/true\n")
    assert shim.run(str(script)).code == 126


# What the kernel was given for this process, and the program that its parent is.
SHOW_WORDS = (
    "import os, sys\n"
    "parent = os.fsencode(os.readlink(f'/proc/{os.getppid()}/exe'))\n"
    "with open('/proc/self/cmdline', 'rb') as words:\n"
    "    sys.stdout.buffer.write(parent + bytes(1) + words.read())\n"
)
SHELLISH = [
    "", " ", "--", "-", "--tolerate", "--state", "-c", "$HOME", "$(id)", "`id`", "a b", "a\nb",
    "\t", "*", "~", ";", "| cat", "> out", "&&", "'", '"', "\\", "%s", "#", "\x1b[2J",
    "é", "🙂", "x" * 5000,
]  # fmt: skip
words = st.one_of(
    st.sampled_from(SHELLISH),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.binary(max_size=8).map(lambda word: os.fsdecode(word.replace(b"\0", b"/"))),
)


@settings(max_examples=25)  # each starts two processes
@example(SHELLISH)
@given(st.lists(words, max_size=8))
def test_a_command_gets_its_words_as_they_are_and_from_no_shell(
    binary: Path, rest: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-S", "-c", SHOW_WORDS, *rest]
        done = Shim(binary, Path(folder)).run(*command)
    assert (done.code, done.err) == (0, b"")
    expected = [str(binary.resolve()), *command]
    assert done.out.split(b"\0")[:-1] == [os.fsencode(word) for word in expected]


@pytest.mark.parametrize(
    "command", ["--", "--tolerate", "--name", "$(true)", "true; true", "", " "]
)
def test_the_first_word_is_a_command_too_and_no_option(shim: Shim, command: str) -> None:
    done = shim.run(command, "--state", "elsewhere")
    assert (done.code, done.record["exitCode"], done.record["tolerated"]) == (127, 127, False)
    assert f'cannot run "{command}"'.encode() in done.err


def test_sigterm_reaches_the_command(shim: Shim) -> None:
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))\n"
        "print('ready', flush=True)\n"
        "signal.pause()\n"
    )
    command = shim.command(sys.executable, "-c", program)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 42
    assert shim.result(42).record["exitCode"] == 42


def test_huge_output_passes_whole_and_the_records_stay_small(shim: Shim) -> None:
    done = shim.python(
        "import sys\n"
        "for number in range(200_000): print(f'line {number} é \"quoted\" \\x1b[1m')\n"
        "sys.exit(1)"
    )
    wanted = "".join(f'line {number} é "quoted" \x1b[1m\n' for number in range(200_000)).encode()
    assert hashlib.sha256(done.out).digest() == hashlib.sha256(wanted).digest()
    assert done.record["lastLines"] == [
        f'line {number} é "quoted" \x1b[1m' for number in range(199_980, 200_000)
    ]
    assert done.message is not None
    assert done.message["lastLines"].endswith('line 199999 é "quoted" \x1b[1m')
    assert done.message_size <= 1200


def test_one_endless_line_is_cut_not_kept(shim: Shim) -> None:
    done = shim.python("import sys; sys.stdout.write('x' * 5_000_000); sys.exit(1)")
    assert len(done.out) == 5_000_000
    assert [len(line) for line in done.record["lastLines"]] == [1000]
    assert done.message_size <= 1200


def test_progress_bars_leave_their_last_state(shim: Shim) -> None:
    done = shim.python(r"print(' 10%\r 50%\r100%\r\nsaved\r')")
    assert done.record["lastLines"] == ["100%", "saved"]


def test_bytes_that_are_not_utf8_become_replacement_characters(shim: Shim) -> None:
    done = shim.python(r"import sys; sys.stdout.buffer.write(b'a\xff\xc3b\xe2\x82\xac\x00!\n')")
    assert done.record["lastLines"] == ["a\ufffd\ufffdb€!"]


def test_a_grandchild_that_holds_the_output_does_not_hold_the_step(shim: Shim) -> None:
    program = (
        "import os, sys, signal\n"
        "child = os.fork()\n"
        "if child == 0: signal.pause()\n"
        "print(child, flush=True)\n"
    )
    command = shim.command(sys.executable, "-c", program)
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        orphan = int(process.stdout.readline())
        assert process.wait(timeout=60) == 0
        os.kill(orphan, signal.SIGKILL)


@pytest.mark.parametrize(
    "arguments",
    [[], ["--name", "a", "--", "true"], ["--name", "a", "--state", "s"], ["--shell", "--", "x"]],
    ids=["nothing", "no state", "no command", "unknown option"],
)
def test_wrong_use_is_told(binary: Path, arguments: list[str]) -> None:
    done = subprocess.run([str(binary), *arguments], capture_output=True, check=False, timeout=60)
    assert done.returncode == 2
    assert b"usage: shim --name STEP --state FILE" in done.stderr
