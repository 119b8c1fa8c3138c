"""The networks against their definitions, naive twins, and the promises of saving and loading."""

import pytest
import timm
import torch
import torch.nn.functional as F

from mer_hf.rcn.configuration_rcn import RcnConfig
from mer_hf.rcn.modeling_rcn import (
    RcnForVideoClassification,
    RcnModel,
    RecurrentConvLayer,
    classification_loss,
    grid_average_by_products,
)

APPEARANCE = {"backbone_kwargs": {"width": 8}, "num_frames": 6, "image_size": [10, 8], "num_labels": 3}


def tiny(connectivity: str = "geometric", **changes) -> RcnConfig:
    shapes = {
        "geometric": {"num_frames": 1, "num_channels": 3},
        "sequence": {"num_frames": 4, "num_channels": 3},
        "appearance": {"num_frames": 6, "num_channels": 1},
    }
    fields = {"backbone_kwargs": {"width": 8}, "image_size": [20, 16], "num_labels": 3, "grid_size": 2}
    return RcnConfig(connectivity=connectivity, **{**fields, **shapes[connectivity], **changes})


def clips(config: RcnConfig, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, config.num_frames, config.num_channels, *config.image_size, generator=generator)


def reload(model, folder):
    model.save_pretrained(folder)
    return type(model).from_pretrained(folder).eval()


def settle(model) -> None:
    """Give batch normalisation statistics and parameters that are not their defaults."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
            for values in (module.bias.data, module.running_mean):
                values.copy_(torch.randn(values.shape, generator=generator) / 4)


def test_the_rcn_of_2020_has_the_trainable_parameters_of_its_paper():
    model = RcnForVideoClassification(RcnConfig.preset("rcn", num_labels=3))
    assert sum(parameter.numel() for parameter in model.parameters()) == 15_331


def textbook_rcn(model, pixels: torch.Tensor) -> torch.Tensor:
    """Section by section from torch.nn.functional: stem, y_0 = f(W_f x), y_k = f(W_r (x + y_{k-1})), head."""
    weights = model.state_dict()

    def conv(x, name, padding=0):
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    def norm_relu(x, name):
        parts = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.relu(F.batch_norm(x, *parts, training=False))

    x = norm_relu(conv(pixels[:, 0], "rcn.backbone.model.conv"), "rcn.backbone.model.norm")
    x = F.max_pool2d(x, 2)
    layer = "rcn.sections.0.layer"
    y = norm_relu(conv(x, f"{layer}.feed_forward"), f"{layer}.feed_forward_norm")
    for step in range(model.config.recurrent_steps):
        own = 0 if model.config.shared_weights else step
        own_norm = 0 if model.config.shared_norm else step
        y = norm_relu(conv(x + y, f"{layer}.recurrent.{own}", padding=1), f"{layer}.recurrent_norm.{own_norm}")
    pooled = F.adaptive_avg_pool2d(F.max_pool2d(y, 2), model.config.grid_size).flatten(1)
    return F.linear(pooled, weights["classifier.weight"], weights["classifier.bias"])


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_logits_are_those_of_the_textbook_definition(steps, shared):
    config = tiny(recurrent_steps=steps, shared_weights=shared, shared_norm=shared)
    model = RcnForVideoClassification(config).eval()
    settle(model)
    pixels = clips(config)
    torch.testing.assert_close(model(pixels).logits, textbook_rcn(model, pixels))


def test_recurrence_over_frames_takes_one_step_a_frame():
    config = tiny("sequence")
    layer = RecurrentConvLayer(config, 8).eval()
    frames = torch.randn(2, 5, 8, 6, 6)
    state = F.relu(layer.feed_forward_norm(layer.feed_forward(frames[:, 0])))
    states = [state]
    for frame in frames[:, 1:].unbind(1):
        state = F.relu(layer.recurrent_norm[0](layer.recurrent[0](frame + state)))
        states.append(state)
    torch.testing.assert_close(layer(frames), torch.stack(states, 1))


def test_sequence_connectivity_sees_the_order_of_frames():
    config = tiny("sequence")
    model = RcnForVideoClassification(config).eval()
    pixels = clips(config)
    assert not torch.allclose(model(pixels).logits, model(pixels.flip(1)).logits)


def test_appearance_connectivity_makes_a_matrix_of_moving_pixels_by_frames():
    config = tiny("appearance")
    model = RcnModel(config)
    mask = torch.zeros(20, 16, dtype=torch.bool)
    mask[2, 5] = mask[7, 5] = mask[1, 9] = True
    model.set_pixel_mask(mask)
    pixels = clips(config)
    matrix = model.arrange(pixels)
    assert matrix.shape == (2, 1, 1, 3, 6)
    # column by column of the face, as MATLAB lists the pixels of a mask
    for row, (y, x) in enumerate([(2, 5), (7, 5), (1, 9)]):
        torch.testing.assert_close(matrix[:, 0, 0, row], pixels[:, :, 0, y, x])


def test_the_pixel_mask_is_saved_with_the_model(tmp_path):
    model = RcnForVideoClassification(tiny("appearance")).eval()
    mask = torch.rand(20, 16, generator=torch.Generator().manual_seed(0)) > 0.6
    model.rcn.set_pixel_mask(mask)
    loaded = reload(model, tmp_path)
    assert torch.equal(loaded.rcn.pixel_index, mask.T.flatten().nonzero()[:, 0])
    pixels = clips(model.config)
    assert torch.equal(model(pixels).logits, loaded(pixels).logits)


BACKBONES = {
    "rcn_stem": 60,
    "strcn_stem": 40,
    "resnet18": 32,
    "mobilenetv3_small_100": 32,
    "efficientnet_b0": 32,
    "convnext_atto": 32,
    "swin_tiny_patch4_window7_224": 224,
    "vit_tiny_patch16_224": 224,
}


@pytest.mark.parametrize(("backbone", "size"), BACKBONES.items())
def test_a_saved_model_gives_bit_equal_logits(backbone, size, tmp_path):
    config = RcnConfig(backbone=backbone, image_size=[size, size], num_channels=2, num_labels=3, hidden_size=16)
    model = RcnForVideoClassification(config).eval()
    settle(model)
    pixels = clips(config, batch=1)
    logits = model(pixels).logits
    assert torch.equal(logits, reload(model, tmp_path)(pixels).logits)
    assert logits.isfinite().all()


def test_timm_initialises_its_own_weights():
    torch.manual_seed(0)
    expected = timm.create_model("resnet18", features_only=True)
    torch.manual_seed(0)
    model = RcnModel(RcnConfig(backbone="resnet18", image_size=[32, 32]))
    torch.testing.assert_close(model.backbone.model.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_several_feature_levels_are_averaged_to_the_smallest():
    config = RcnConfig(backbone="resnet18", out_indices=[1, 2], image_size=[64, 64], num_labels=3)
    model = RcnModel(config).eval()
    pixels = clips(config)
    fine, coarse = model.backbone.model(pixels[:, 0])
    expected = torch.cat([F.adaptive_avg_pool2d(fine, coarse.shape[2:]), coarse], 1)
    torch.testing.assert_close(model.backbone(pixels[:, 0]), expected)


@pytest.mark.parametrize("sides", [(6, 6), (10, 15), (14, 3), (1, 7)])
@pytest.mark.parametrize("grid_size", [1, 5])
def test_a_grid_average_by_products_is_adaptive_pooling(sides, grid_size):
    maps = torch.randn(2, 3, *sides)
    torch.testing.assert_close(grid_average_by_products(maps, grid_size), F.adaptive_avg_pool2d(maps, grid_size))


def test_losses_are_their_definitions():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 0, 1])
    log_p = logits.log_softmax(1)[torch.arange(6), labels]
    torch.testing.assert_close(classification_loss(logits, labels, tiny()), -log_p.mean())
    focal = classification_loss(logits, labels, tiny(loss="focal", focal_gamma=1.5))
    torch.testing.assert_close(focal, (-((1 - log_p.exp()) ** 1.5) * log_p).mean())
    counts, beta = [30, 20, 5], 0.9
    effective = torch.tensor([(1 - beta) / (1 - beta**n) for n in counts])
    balanced = classification_loss(
        logits, labels, tiny(loss="class_balanced", class_counts=counts, class_balance_beta=beta)
    )
    torch.testing.assert_close(balanced, -(effective / effective.mean())[labels].mul(log_p).mean())


def test_the_loss_comes_with_labels_and_only_then():
    model = RcnForVideoClassification(tiny())
    assert model(clips(model.config)).loss is None
    assert model(clips(model.config), labels=torch.tensor([0, 2])).loss.requires_grad


@pytest.mark.parametrize("connectivity", ["geometric", "sequence", "appearance"])
def test_every_parameter_is_alive(connectivity):
    model = RcnForVideoClassification(tiny(connectivity, section_pools=[2, 2]))
    model(clips(model.config), labels=torch.tensor([0, 2])).loss.backward()
    dead = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not dead


@pytest.mark.parametrize("backbone", ["rcn_stem", "resnet18"])
def test_gradient_checkpointing_leaves_the_gradients_as_they_are(backbone):
    kwargs = {"backbone_kwargs": None} if backbone == "resnet18" else {}
    model = RcnForVideoClassification(tiny(backbone=backbone, dropout=0.0, image_size=[32, 32], **kwargs)).train()
    pixels, labels = clips(model.config), torch.tensor([0, 2])
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        torch.manual_seed(0)
        model.zero_grad()
        model(pixels, labels=labels).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert model.is_activation_checkpointing
    torch.testing.assert_close(gradients[0], gradients[1])


def test_bf16_autocast_stays_near_full_precision():
    model = RcnForVideoClassification(tiny()).eval()
    pixels = clips(model.config)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(pixels, labels=torch.tensor([0, 1]))
    full = model(pixels, labels=torch.tensor([0, 1]))
    assert half.logits.dtype == torch.bfloat16
    torch.testing.assert_close(half.logits.float(), full.logits, atol=0.02, rtol=0.05)
    torch.testing.assert_close(half.loss, full.loss, atol=0.02, rtol=0.02)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # torch.compile's own, of its own modules
@pytest.mark.parametrize("connectivity", ["geometric", "appearance"])
def test_a_compiled_model_gives_the_same_logits(connectivity):
    model = RcnForVideoClassification(tiny(connectivity)).eval()
    pixels = clips(model.config)
    torch.testing.assert_close(torch.compile(model)(pixels).logits, model(pixels).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"num_frames": 3}, "num_frames is 3, not 1"),
        ({"connectivity": "appearance"}, "num_channels is 3, not 1"),
        ({"connectivity": "sequence", "shared_weights": False}, "needs shared_weights and shared_norm"),
        ({"image_size": [60]}, r"\[height, width\] in pixels"),
        ({"label_smoothing": 1.0}, r"must lie in \[0, 1\)"),
        ({"num_labels": 3, "class_counts": [4, 5]}, "2 entries for 3 labels"),
        ({"recurrent_steps": -1}, "recurrent_steps must be"),
        ({"section_pools": []}, "section_pools must have an entry"),
    ],
)
def test_contradictory_configurations_are_refused(fields, says):
    with pytest.raises(Exception, match=says):
        RcnConfig(**fields)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: RcnConfig.preset("rnc"), "no preset 'rnc'; choose from rcn"),
        (lambda: RcnConfig.preset("rcn", widht=3), r"no fields \['widht'\]"),
        (lambda: RcnModel(tiny())(torch.zeros(2, 3, 20, 16)), r"\(B, 1, 3, 20, 16\), got \(2, 3, 20, 16\)"),
        (lambda: RcnModel(tiny("appearance"))(torch.zeros(2, 6, 1, 20, 20)), r"mask is \(20, 16\), the frames are"),
        (lambda: RcnModel(tiny()).set_pixel_mask(torch.ones(20, 16)), "only appearance connectivity"),
        (lambda: RcnModel(tiny("appearance")).set_pixel_mask(torch.zeros(20, 16)), "with a pixel in it"),
        (lambda: timm.create_model("rcn_stem"), "features_only=True"),
        (
            lambda: classification_loss(torch.zeros(1, 3), torch.tensor([0]), tiny(loss="class_balanced")),
            "needs the training clips of each class, got None",
        ),
    ],
)
def test_what_a_model_cannot_take_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_appearance_preset_runs_on_the_matrix_of_its_paper():
    model = RcnForVideoClassification(RcnConfig.preset("strcn-a", **{**APPEARANCE, "num_frames": 30}))
    assert model(clips(model.config)).logits.shape == (2, 3)
