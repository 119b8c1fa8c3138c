"""What a report of a fault holds, and what a shell is told of how a command line can go on."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from mer_hf.commands import COMMANDS, OF_A_RECIPE, _module_of, main, parser_of
from mer_hf.commands.completion import options_of
from mer_hf.hub.catalogue import sha256_of_weights
from mer_hf.hub.packaged import PACKAGED
from mer_hf.training.recipe import HELP


def test_a_report_has_versions_system_decoder_and_models_and_nothing_of_the_user(capsys):
    assert main(["env", "--json"]) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed)
    assert found["mer-hf"] == version("mer-hf")
    assert found["packages"]["torch"] == version("torch")
    assert torch.__version__ in found["accelerator"]  # which build it is
    assert sys.version.split()[0] in found["python"]
    assert "libavcodec" in found["ffmpeg"]
    assert sha256_of_weights(PACKAGED["default"]) in found["models"]["default 1"]
    assert str(Path.home()) not in printed and os.uname().nodename not in printed
    assert main(["env"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"  torch: {version('torch')}" in lines and f"cores: {found['cores']}" in lines


# --- completion ---


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in OF_A_RECIPE])
def test_the_options_that_are_read_from_a_source_are_those_of_its_parser(name):
    actions = parser_of(name, _module_of(name))._actions
    expected = {action.option_strings[0]: action.nargs == 0 for action in actions if action.option_strings}
    del expected["-h"]
    assert dict(options_of(name)) == expected


def test_a_recipes_options_are_completed_too():
    assert [option for option, _ in options_of("train")] == [f"--{name.replace('_', '-')}" for name in HELP]


def completed(line, tmp_path):
    program = (
        "import sys; from mer_hf.commands import main\n"
        "import os; end = os._exit\n"
        "def ended(status):\n"
        "    assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)\n"
        "    end(status)\n"
        "os._exit = ended\n"
        "main()"
    )
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_COMP_WORDBREAKS": " "}
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "told"), "_ARGCOMPLETE_IFS": "\n"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env={**os.environ, **asked}, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    return [word.strip() for word in (tmp_path / "told").read_text().splitlines()]


def test_a_shell_is_told_commands_options_and_files_without_waiting_for_torch(tmp_path):
    (tmp_path / "interview.mp4").touch()
    assert {"predict", "models", "env"} <= set(completed("mer-hf ", tmp_path))
    assert completed("mer-hf predict --to", tmp_path) == ["--top-k"]
    assert completed("mer-hf predict int", tmp_path) == ["interview.mp4"]
    assert completed("mer-hf train --see", tmp_path) == ["--seeds"]
