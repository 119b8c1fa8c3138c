"""Importing mer_hf: what it costs in a real process, and the names that it has."""

import subprocess
import sys

import pytest

import mer_hf


def run(program):
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_is_light():
    seconds, *heavy = run("""
import sys, time
before = time.process_time()
import mer_hf
print(time.process_time() - before)
assert dir(mer_hf) == sorted(mer_hf.__all__)
heavy = {"torch", "transformers", "datasets", "evaluate", "huggingface_hub", "numpy", "pandas", "cv2", "av"}
print(*(heavy & set(sys.modules)))
""")
    assert float(seconds) < 0.3
    assert heavy == []


def test_every_public_name_is_there():
    for name in mer_hf.__all__:
        assert getattr(mer_hf, name) is not None
        assert name in dir(mer_hf)
    assert mer_hf.RcnConfig.__name__ == "RcnConfig"


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'RcnConfiguration'"):
        mer_hf.RcnConfiguration  # noqa: B018
