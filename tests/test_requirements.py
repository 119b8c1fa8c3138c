"""What the package asks for: every lower bound is one of the versions that are installed together to test it."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

CHECKOUT = Path(__file__).parents[1]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
EXTRAS = ("inspect", "control", "tvl1", "space", "onnx", "complete")
FOR_USERS = [
    *PROJECT["dependencies"],
    *(line for name in EXTRAS for line in PROJECT["optional-dependencies"][name]),
]


def versions(name):
    """The pins of a constraints file: canonical name -> version."""
    lines = [line.split("#")[0].strip() for line in (CHECKOUT / name).read_text().splitlines()]
    return {canonicalize_name(line.split("==")[0]): Version(line.split("==")[1]) for line in lines if line}


@pytest.mark.parametrize("line", FOR_USERS, ids=lambda line: re.split(r"[<>=]", line)[0])
def test_a_lower_bound_is_the_version_that_is_tested_as_the_lowest_and_the_newest_tested_fits(line):
    requirement = Requirement(line)
    name = canonicalize_name(requirement.name)
    (lowest,) = (Version(each.version) for each in requirement.specifier if each.operator == ">=")
    tested = versions("constraints-minimum.txt")[name]
    assert requirement.specifier.contains(tested)
    assert tested.release[: len(lowest.release)] == lowest.release
    assert requirement.specifier.contains(versions("constraints.txt")[name])


def test_where_the_repository_is_stands_in_one_place():
    (host,) = {re.match(r"https://[^/]+/[^/]+", address)[0] for address in PROJECT["urls"].values()}
    assert all(re.fullmatch(re.escape(host) + r"(/.*)?", address) for address in PROJECT["urls"].values())
