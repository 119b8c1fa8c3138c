"""The command line as a whole: help, and what becomes of errors."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from mer_hf.analysis.parts import LENGTH
from mer_hf.analysis.results import DEFAULT
from mer_hf.analysis.watching import Options
from mer_hf.commands import COMMANDS, CUT_OFF, INTERRUPTED, OF_A_RECIPE, _module_of, main, parser_of
from mer_hf.errors import MerHfError
from mer_hf.hub.export import FORMATS


def test_help_and_version_answer_without_loading_anything():
    program = (
        "import sys; from mer_hf.commands import main\nstatus = main(sys.argv[1:])\n"
        "assert not {'torch', 'transformers', 'datasets', 'pandas', 'numpy'} & set(sys.modules)\nsys.exit(status)"
    )
    answers = {}
    for option in ("--version", "--help"):
        done = subprocess.run([sys.executable, "-c", program, option], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answers[option] = done.stdout
    assert answers["--version"].strip() == f"mer-hf {version('mer-hf')}"
    assert all(f"  {command} " in answers["--help"] for command in COMMANDS)


def test_the_help_of_a_command_waits_for_no_network_library():
    """But that of training and of scoring, whose options are those of transformers and of a recipe."""
    program = (
        "import contextlib, sys; from mer_hf.commands import COMMANDS, main\n"
        "for name in COMMANDS:\n"
        "    if name not in ('train', 'score'):\n"
        "        with contextlib.suppress(SystemExit):\n"
        "            main([name, '--help'])\n"
        "        assert not {'torch', 'transformers'} & set(sys.modules), name"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: mer-hf") == len(COMMANDS) - 2


def test_defaults_that_a_parser_has_without_what_does_the_work_are_those_of_the_work():
    analyze, export = (parser_of(name, _module_of(name)) for name in ("analyze", "export"))
    assert analyze.get_default("kinds") == ",".join(Options().kinds)
    assert (analyze.get_default("part_seconds"), analyze.get_default("model")) == (LENGTH, DEFAULT)
    (formats,) = (action.choices for action in export._actions if action.dest == "to")
    assert tuple(formats) == tuple(FORMATS)


@pytest.mark.parametrize("arguments", [["corpora"], ["corpora", "list", "samm"]], ids=["while it prints", "at its end"])
def test_where_nobody_reads_on_nothing_is_said(arguments):
    program = "import sys; from mer_hf.commands import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == CUT_OFF


def test_the_commands_are_those_of_the_project():
    assert {*("corpora", "synthesize", "prepare", "train", "score", "scores", "compare")} < set(COMMANDS)
    assert {*("predict", "inspect", "push")} < set(COMMANDS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in OF_A_RECIPE])
def test_every_command_has_an_example_that_its_parser_takes(name, capsys, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    example = capsys.readouterr().out.split("example:")[1].split()
    assert example[:2] == ["mer-hf", name]
    monkeypatch.setattr(f"mer_hf.commands.{name.replace('-', '_')}.run", lambda arguments: 7)
    assert main(example[1:]) == 7


@pytest.mark.parametrize("arguments", [["predict"], ["synthesize"], ["score", "default"], ["push", "folder"]])
def test_a_command_line_that_lacks_something_has_status_2_and_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: mer-hf" in capsys.readouterr().err


def test_without_a_command_the_usage_is_printed_with_status_2(capsys):
    assert main([]) == 2
    assert "usage: mer-hf COMMAND" in capsys.readouterr().out


def test_an_unknown_command_is_answered_with_the_known_ones_in_one_line(capsys):
    assert main(["evaluate", "x.csv"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mer-hf: there is no command 'evaluate'; there are predict, ")


# --- what becomes of errors ---


def raising(error):
    def run(arguments):
        raise error

    return run


@pytest.mark.parametrize("error", [MerHfError("what is wrong"), FileNotFoundError(2, "what is wrong"), OSError("what")])
def test_what_the_package_and_the_system_explain_becomes_one_line_with_status_2(monkeypatch, capsys, error):
    monkeypatch.setattr("mer_hf.commands.synthesize.run", raising(error))
    assert main(["synthesize", "folder"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line == f"mer-hf: {error}"


@pytest.mark.parametrize("error", [ValueError("x"), TypeError("x"), KeyError("x"), RuntimeError("x"), MemoryError()])
def test_any_other_exception_keeps_its_traceback(monkeypatch, error):
    monkeypatch.setattr("mer_hf.commands.synthesize.run", raising(error))
    with pytest.raises(type(error)) as kept:
        main(["synthesize", "folder"])
    assert kept.value is error


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch, tmp_path):
    """Also where it is raised in C, which no line of the package says."""

    def faulty(folder, **options):
        return json.loads("{")

    monkeypatch.setattr("mer_hf.commands.synthesize.synthesize", faulty)
    with pytest.raises(ValueError, match="line 1 column 2"):
        main(["synthesize", str(tmp_path / "corpus")])


def test_ctrl_c_is_one_line_that_says_what_is_kept(monkeypatch, capsys):
    monkeypatch.setattr("mer_hf.commands.synthesize.run", raising(KeyboardInterrupt()))
    assert main(["synthesize", "folder"]) == INTERRUPTED == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "mer-hf: stopped; what was finished is kept, and the same command goes on from there"
