"""`mer-hf models`: the models that come with the package."""

import argparse
import json

from mer_hf.hub.catalogue import describe_models, description_lines

DESCRIPTION = """\
List the models in the package: what each is for, what it sees and was trained on, its scores with 95 % intervals over
subjects and what they were measured on, size, licence, version, and sha256. `--model NAME` of other commands takes the
names; a version never gets other weights."""
EXAMPLE = "mer-hf models --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """List them."""
    models = describe_models()
    if arguments.json:
        print(json.dumps(models, indent=2))
    else:
        print("\n\n".join("\n".join(description_lines(model)) for model in models))
    return 0
