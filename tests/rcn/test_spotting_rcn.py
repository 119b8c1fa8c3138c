"""The network that watches a face: the same in pieces, blind beyond its lookahead, on any backbone."""

import pytest
import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassClassValidationError
from transformers import AutoConfig, AutoModel

from mer_hf.errors import MerHfError
from mer_hf.rcn.configuration_spotting_rcn import RcnSpottingConfig
from mer_hf.rcn.motion_rcn import ResidualMotion
from mer_hf.rcn.spotting_rcn import OUTPUTS, RcnForSpotting, moment_input, spotting_loss

TINY = {"backbone_kwargs": {"width": 6}, "moment_size": 5, "hidden_size": 7, "offsets": [-6, -2, -1, 0, 1, 3, 8]}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = RcnForSpotting(RcnSpottingConfig(**TINY))
    with torch.no_grad():  # statistics as after a training, not those of the first moment
        for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.fixture(scope="module")
def motion():
    return torch.randn(1, 130, 4, 16, 9, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def in_chunks(model, motion, size):
    state, told = None, []
    for piece in motion.split(size, 1):
        output = model(piece, state, last=False)
        state = output.state
        told.append(output.logits)
    told.append(model(motion[:, :0], state, last=True).logits)
    return torch.cat(told, 1)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_video_in_chunks_gives_to_the_bit_what_the_whole_gives(model, motion, size):
    with torch.inference_mode():
        whole = model(motion).logits
    assert whole.shape == (1, 130, len(OUTPUTS))
    assert torch.equal(in_chunks(model, motion, size), whole)


@torch.inference_mode()
def test_outputs_are_those_of_the_textbook(model, motion):
    """The twin runs the recurrence y_t = f(W_r * (x_t + y_{t-1})) over all frames, and gathers with padding."""
    layer, states, state = model.layer, [], None
    for maps in model.backbone(motion[0]).split(1):
        if state is None:
            state = F.relu(layer.feed_forward_norm(layer.feed_forward(maps)))
        else:
            state = F.relu(layer.recurrent_norm[0](layer.recurrent[0](maps + state)))
        states.append(state)
    numbers = torch.tanh(model.moment(torch.cat(states).flatten(1)))
    padded = F.pad(numbers, (0, 0, 6, 8))
    rows = [torch.cat([padded[6 + t + offset] for offset in TINY["offsets"]]) for t in range(130)]
    expected = model.outputs(F.relu(model.hidden(torch.stack(rows))))
    torch.testing.assert_close(model(motion).logits[0], expected)


@torch.inference_mode()
def test_training_and_evaluation_agree_where_norms_are_frozen(model, motion):
    model.train()
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d | torch.nn.Dropout)):
        norm.eval()
    trained = model(motion).logits
    model.eval()
    torch.testing.assert_close(trained, model(motion).logits)


@torch.inference_mode()
def test_what_lies_beyond_the_lookahead_changes_nothing(model, motion):
    changed = motion.clone()
    changed[:, 70:] += 1
    before, after = model(motion).logits, model(changed).logits
    assert torch.equal(before[:, : 70 - 8], after[:, : 70 - 8])
    assert not torch.equal(before[:, 70 - 8], after[:, 70 - 8])


@torch.inference_mode()
def test_outputs_wait_for_the_lookahead_and_no_longer(model, motion):
    first = model(motion[:, :20], last=False)
    assert first.logits.shape[1] == 12 and first.state.waiting == 8
    assert model(motion[:, :5]).logits.shape[1] == 5, "a video shorter than the lookahead"
    assert model(motion[:, :0]).logits.shape[1] == 0


@torch.inference_mode()
def test_the_state_does_not_grow(model, motion):
    sizes = {model(motion[:, :count], last=False).state.moments.shape for count in (40, 90, 130)}
    assert len(sizes) == 1


@torch.inference_mode()
def test_a_past_moment_is_remembered_by_the_recurrence(model, motion):
    changed = motion.clone()
    changed[:, 10] += 3
    difference = (model(motion).logits - model(changed).logits).abs().amax(2)[0]
    assert difference[10 + 6 + 1 : 10 + 6 + 10].max() > 0, "beyond what the head looks back"


@pytest.mark.parametrize(
    "kinds",
    [
        {"backbone": "rcn_wide_stem", "backbone_kwargs": {"width": 8}},
        {"backbone": "resnet10t", "backbone_kwargs": {}, "out_indices": [1]},
    ],
)
def test_any_timm_backbone_will_do(kinds, motion):
    model = RcnForSpotting(RcnSpottingConfig(**{**TINY, **kinds})).eval()
    with torch.inference_mode():
        assert torch.equal(in_chunks(model, motion[:, :30], 7), model(motion[:, :30]).logits)


def test_it_learns():
    torch.manual_seed(0)
    model = RcnForSpotting(RcnSpottingConfig(**TINY)).train()
    motion, targets = torch.randn(2, 30, 4, 16, 9), torch.zeros(2, 30, len(OUTPUTS))
    targets[:, 10:20, 0] = 1
    motion[:, 10:20, 0] += 2
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        losses.append(model(motion, targets=targets).loss)
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.5 * losses[0]


def test_rare_targets_weigh_more():
    logits = torch.full((1, 1, len(OUTPUTS)), -3.0)
    targets = torch.zeros(1, 1, len(OUTPUTS))

    def cost(name):
        return (spotting_loss(logits, targets.index_fill(2, torch.tensor([OUTPUTS.index(name)]), 1.0))).item()

    assert cost("upper apex") > cost("upper expression") > cost("speech")


def test_what_is_not_told_counts_nowhere():
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(2, 9, 11, generator=generator), torch.rand(2, 9, 11, generator=generator)
    untold = targets.clone()
    untold[:, 5:] = untold[:, :, 8] = torch.nan
    weights = torch.tensor([3.0, 12, 12, 12, 3, 12, 12, 12, 1, 1, 1])
    each = -(weights * targets * logits.sigmoid().log() + (1 - targets) * (-logits).sigmoid().log())
    expected = each[:, :5, [*range(8), 9, 10]].mean()
    torch.testing.assert_close(spotting_loss(logits, untold), expected)
    torch.testing.assert_close(spotting_loss(logits, targets), each.mean())
    free = logits.requires_grad_()
    spotting_loss(free, torch.full_like(targets, torch.nan)).backward()
    assert not free.grad.any()


def test_a_saved_network_says_the_same(model, motion, tmp_path):
    model.save_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), RcnSpottingConfig)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(loaded, RcnForSpotting)
    with torch.inference_mode():
        assert torch.equal(loaded.eval()(motion).logits, model(motion).logits)


def test_input_keeps_signs_and_order_and_tells_the_head():
    field = torch.linspace(-0.2, 0.2, 2 * 16 * 9).reshape(1, 2, 16, 9)
    seen = moment_input(ResidualMotion(field, torch.tensor([0.02]), torch.tensor([0.7])))
    assert seen.shape == (1, 4, 16, 9)
    assert (seen[:, :2].flatten().diff() > 0).all() and torch.equal(seen[:, :2].sign(), field.sign())
    faster = moment_input(ResidualMotion(field, torch.tensor([0.2]), torch.tensor([0.7])))
    assert (faster[:, 2] > seen[:, 2]).all() and torch.equal(faster[:, 3], seen[:, 3])


def test_another_shape_is_refused(model):
    with pytest.raises(MerHfError, match="motion must be"):
        model(torch.zeros(1, 3, 2, 16, 9))


@pytest.mark.parametrize("fields", [{"offsets": [1, 2]}, {"offsets": [0, 0]}, {"threshold": 2.0}, {"hidden_size": 0}])
def test_a_configuration_that_contradicts_itself_is_refused(fields):
    with pytest.raises((ValueError, StrictDataclassClassValidationError), match=r"offsets|must be"):
        RcnSpottingConfig(**fields)
