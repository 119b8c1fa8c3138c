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


def test_two_builds_of_opencv_in_one_environment_are_warned_of(tmp_path):
    program = f"""
import sys, warnings
sys.path.append({str(tmp_path)!r})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import mer_hf
print(len(caught), *(str(each.message) for each in caught))
assert "cv2" not in sys.modules
"""
    assert run(program)[0] == "0"
    metadata = tmp_path / "opencv_contrib_python-4.10.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: opencv-contrib-python\nVersion: 4.10.0\n")
    said = " ".join(run(program))
    assert said.startswith("1 opencv-python-headless ") and "and opencv-contrib-python 4.10.0 are installed" in said
