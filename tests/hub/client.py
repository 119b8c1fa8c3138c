"""A process that talks to the local Hub with the real huggingface_hub, and keeps what transformers takes to import.

huggingface_hub reads HF_ENDPOINT and the like when it is imported, so it must not be the process of the tests.
"""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, NamedTuple


class Answer(NamedTuple):
    value: Any
    out: str
    err: str


def environment(hub: Any, home: Path, **changes: str) -> dict[str, str]:
    """The variables of a process whose Hub is the local one, whose cache is in a folder, and that is nobody there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    local = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost"}
    return {**kept, **local, **changes}


def assert_refused(answer: Answer, *expected: str) -> None:
    """The exit status 2, and one message of at most a few lines, with these texts in it and no traceback."""
    assert answer.value == 2, answer
    assert "Traceback" not in answer.err
    assert answer.err.count("mer-hf: ") == 1
    told = answer.err[answer.err.index("mer-hf: ") :]
    assert len(told.splitlines()) <= 5, told
    for text in expected:
        assert text in told, told


class Client:
    """Runs programs one after the other in one process; every one must keep the tokens of the Hub to itself."""

    def __init__(self, hub: Any, home: Path) -> None:
        self.hub, self.home = hub, home
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(hub, home),
        )

    def run(self, program: str, token: str | None = None, **names: Any) -> Answer:
        """Run a program with these names defined, and give its `answer`, which must be JSON, and what it printed."""
        names = {name: str(value) if isinstance(value, Path) else value for name, value in names.items()}
        print(json.dumps({"program": program, "names": names, "token": token}), file=self.process.stdin, flush=True)
        value, out, err, failure = json.loads(self.process.stdout.readline())
        assert failure is None, f"{failure}\n{out}\n{err}"
        assert not any(secret in out + err for secret in self.hub.users), "a token was printed"
        return Answer(value, out, err)

    def mer_hf(self, *arguments: Any, token: str | None = None) -> Answer:
        """Run a command of `mer-hf`; the value is its exit status."""
        program = "from mer_hf.commands import main\nanswer = main(arguments)"
        return self.run(program, token, arguments=[str(argument) for argument in arguments])

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def _work() -> None:
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        task = json.loads(line)
        os.environ.pop("HF_TOKEN", None)
        if task["token"] is not None:
            os.environ["HF_TOKEN"] = task["token"]
        names, failure = {"answer": None, **task["names"]}, None
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            try:
                exec(task["program"], names)
            except BaseException:
                failure = traceback.format_exc()
            printed = []
            for stream, file in ((sys.stdout, out), (sys.stderr, err)):
                stream.flush()
                file.seek(0)
                printed.append(file.read().decode(errors="replace"))
        print(json.dumps([names["answer"], *printed, failure]), file=answers, flush=True)


if __name__ == "__main__":
    _work()
