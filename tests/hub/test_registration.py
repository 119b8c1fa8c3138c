"""What transformers knows in real processes, whichever of the two packages is imported first."""

import subprocess
import sys

PREPARE = """
import sys, warnings
def registered():
    from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor
    config = AutoConfig.for_model("rcn")
    assert type(config) is mer_hf.RcnConfig
    assert type(AutoModelForVideoClassification.from_config(config)) is mer_hf.RcnForVideoClassification
    assert type(AutoModel.from_config(config)) is mer_hf.RcnModel
    from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING
    assert VIDEO_PROCESSOR_MAPPING[mer_hf.RcnConfig] == {"torchvision": mer_hf.RcnVideoProcessor}
def task_registered():
    from transformers.pipelines import check_task
    assert check_task("micro-expression-classification")[1]["impl"] is mer_hf.MicroExpressionClassificationPipeline
"""


def run(program):
    command = [sys.executable, "-W", "error", "-c", PREPARE + program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_our_classes_may_come_before_the_registries():
    run("""
import mer_hf
assert mer_hf.RcnForVideoClassification._auto_class == "AutoModelForVideoClassification"  # its code will be saved
mer_hf.MicroExpressionClassificationPipeline  # asks for transformers.pipelines, which wants to register it
registered()
task_registered()
""")


def test_transformers_may_come_before_mer_hf():
    run("""
import transformers.pipelines
import mer_hf
registered()
task_registered()
""")


def test_the_auto_classes_are_enough():
    run("""
import mer_hf
from transformers import AutoModelForVideoClassification, AutoConfig
assert type(AutoModelForVideoClassification.from_config(AutoConfig.for_model("rcn"))).__module__.startswith("mer_hf.")
assert "transformers.pipelines" not in sys.modules
registered()
""")


def test_transformers_may_come_after_mer_hf_in_several_threads():
    run("""
import mer_hf
import threading
# what several threads must not import first, with mer_hf or without: under load they see it half imported
import transformers, transformers.integrations, transformers.video_processing_utils, torchvision.transforms.v2
assert not {"transformers.pipelines", "transformers.models.auto.modeling_auto"} & set(sys.modules)
names = ["pipeline", "AutoModelForVideoClassification", "AutoVideoProcessor", "Trainer", "AutoConfig"]
barrier, failed = threading.Barrier(len(names)), []
def load(name):
    barrier.wait()
    try:
        getattr(transformers, name)
    except BaseException as error:
        failed.append((name, error))
threads = [threading.Thread(target=load, args=(name,)) for name in names]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert failed == [], failed
registered()
task_registered()
""")


def test_a_failed_registration_is_told_and_leaves_transformers_whole():
    run("""
import mer_hf
sys.modules["mer_hf.rcn.configuration_rcn"] = None
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from transformers import AutoConfig
    assert AutoConfig.for_model("bert").model_type == "bert"
message = str(caught[0].message)
assert "mer_hf could not be registered with transformers.models.auto.configuration_auto" in message, message
assert "ModuleNotFoundError" in message, message
""")
