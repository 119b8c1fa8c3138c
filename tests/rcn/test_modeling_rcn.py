"""The networks against their definitions, naive twins, and the promises of saving and loading."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from mer_hf.errors import MerHfError
from mer_hf.rcn.configuration_rcn import OF_THE_WEIGHTS, RcnConfig
from mer_hf.rcn.modeling_rcn import (
    RcnForVideoClassification,
    RcnModel,
    RecurrentConvLayer,
    changes_of,
    classification_loss,
    grid_average_by_products,
    mirrored,
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


def test_without_steps_each_frame_is_by_itself():
    config = tiny("sequence", recurrent_steps=0)
    model = RcnForVideoClassification(config).eval()
    settle(model)
    pixels = clips(config)
    layer, frames = RecurrentConvLayer(config, 8).eval(), torch.randn(2, 5, 8, 6, 6)
    torch.testing.assert_close(
        layer(frames), torch.stack([layer(frame[:, None])[:, 0] for frame in frames.unbind(1)], 1)
    )
    torch.testing.assert_close(model(pixels).logits, model(pixels.flip(1)).logits)


def naive_changes(frames, side=9):
    """Pixel by pixel, of one clip (T, H, W)."""
    frames, reach = frames.double(), side // 2
    first, found = frames[0], torch.zeros(frames.shape, dtype=torch.float64)
    contrast = torch.zeros_like(first)
    for y in range(first.shape[0]):
        for x in range(first.shape[1]):
            window = first[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            contrast[y, x] = window.std(correction=0)
    for frame, change in zip(frames, found, strict=True):
        change += (frame - first - (frame.mean() - first.mean())) / (contrast + contrast.mean() / 2)
    return found / found.square().mean().sqrt()


def test_changes_are_their_definition_and_blind_to_light_and_contrast():
    config = tiny("sequence", num_channels=1)
    frames = clips(config, batch=3) / 10 + 0.5
    changes = changes_of(frames)
    for found, clip in zip(changes, frames, strict=True):
        torch.testing.assert_close(found[:, 0].double(), naive_changes(clip[:, 0]), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(changes_of(0.3 * frames + 0.1), changes, atol=1e-3, rtol=1e-3)
    lit = frames + torch.linspace(0, 0.2, config.num_frames)[:, None, None, None]
    torch.testing.assert_close(changes_of(lit), changes, atol=1e-3, rtol=1e-3)
    assert not changes_of(frames[:, :1].expand(-1, 4, -1, -1, -1)).any()


@pytest.mark.parametrize("connectivity", ["appearance", "sequence"])
def test_a_model_of_changes_is_one_of_frames_that_were_changes_already(connectivity, tmp_path):
    config = tiny(connectivity, num_channels=1, changes=True)
    model = RcnForVideoClassification(config).eval()
    pixels = clips(config)
    logits = reload(model, tmp_path)(pixels).logits
    model.rcn.config.changes = False
    torch.testing.assert_close(logits, model(changes_of(pixels)).logits)


def test_a_sequence_of_two_channels_is_flow_whose_u_is_inverted_in_a_mirror():
    flow = torch.randn(2, 4, 2, 6, 8)
    flipped = mirrored(flow, "sequence")
    torch.testing.assert_close(flipped[:, :, 0], -flow[:, :, 0].flip(-1))
    torch.testing.assert_close(flipped[:, :, 1], flow[:, :, 1].flip(-1))
    grey = torch.randn(2, 4, 1, 6, 8)
    torch.testing.assert_close(mirrored(grey, "sequence"), grey.flip(-1))


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
        ({"changes": True}, "changes are between grey frames: num_channels is 3, num_frames 1"),
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


# --- what users of transformers expect of a model ---


@pytest.mark.parametrize("backbone", ["rcn_stem", "rcn_wide_stem", "resnet18"])
def test_backbone_weights_that_a_checkpoint_lacks_begin_as_the_backbone_s_own_code_begins(backbone, tmp_path):
    kwargs = {"backbone_kwargs": None} if backbone == "resnet18" else {}
    saved = RcnForVideoClassification(tiny(backbone=backbone, image_size=[32, 32], **kwargs))
    saved.save_pretrained(tmp_path)
    torch.manual_seed(0)
    loaded = RcnForVideoClassification.from_pretrained(tmp_path, num_channels=2, ignore_mismatched_sizes=True)
    own, before = loaded.rcn.backbone.model.state_dict(), saved.rcn.backbone.model.state_dict()
    begun = [name for name in own if own[name].shape != before[name].shape]
    assert begun
    torch.manual_seed(0)
    expected = loaded.rcn.backbone.build().state_dict()
    for name in own:
        torch.testing.assert_close(own[name], expected[name] if name in begun else before[name], rtol=0, atol=0)


def test_a_whole_backbone_that_a_checkpoint_lacks_begins_anew(tmp_path):
    RcnForVideoClassification(tiny(hidden_size=8)).save_pretrained(tmp_path)
    loaded = RcnForVideoClassification.from_pretrained(
        tmp_path, backbone="resnet18", backbone_kwargs=None, ignore_mismatched_sizes=True
    )
    for name, module in loaded.rcn.backbone.model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert (module.running_var == 1).all(), name
        elif isinstance(module, torch.nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1), name


def test_published_weights_begin_a_backbone_and_are_no_part_of_its_configuration(tmp_path):
    published = timm.create_model("test_resnet", num_classes=0)
    settle(published)
    save_file(published.state_dict(), tmp_path / "published.safetensors")

    def with_local_weights(pretrained=False, **kwargs):
        overlay = {"file": str(tmp_path / "published.safetensors"), "num_classes": 0, "classifier": ()}
        return timm.models.model_entrypoint("test_resnet")(pretrained, **{**kwargs, "pretrained_cfg_overlay": overlay})

    entries = timm.models._registry._model_entrypoints
    entries["with_local_weights"] = with_local_weights
    try:
        config = tiny(backbone="with_local_weights", backbone_kwargs=None, image_size=[64, 64])
        model = RcnForVideoClassification.with_pretrained_backbone(config)
        torch.testing.assert_close(model.rcn.backbone.model.conv1[0].weight, published.conv1[0].weight)
        plain = RcnForVideoClassification(config)
        assert not torch.equal(plain.rcn.backbone.model.conv1[0].weight, published.conv1[0].weight)
        model.save_pretrained(tmp_path / "model")
        (tmp_path / "published.safetensors").unlink()
        loaded = RcnForVideoClassification.from_pretrained(tmp_path / "model")
        torch.testing.assert_close(loaded.rcn.backbone.model.conv1[0].weight, published.conv1[0].weight)
    finally:
        del entries["with_local_weights"]


def test_a_stem_of_the_papers_has_no_published_weights():
    with pytest.raises(MerHfError, match="cannot build the published weights of backbone 'rcn_stem'"):
        RcnForVideoClassification.with_pretrained_backbone(tiny())


@pytest.mark.parametrize("connectivity", ["geometric", "sequence"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_hidden_states_are_those_of_stem_steps_and_sections_and_have_gradients(connectivity, checkpointing):
    model = RcnForVideoClassification(tiny(connectivity, section_pools=[2, 2], dropout=0.0)).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    pixels = clips(model.config)
    out = model(pixels, output_hidden_states=True)
    steps = 1 if connectivity == "sequence" else 1 + model.config.recurrent_steps
    assert len(out.hidden_states) == 1 + 2 * (steps + 1)
    frames = () if connectivity == "geometric" else (4,)
    assert [tuple(state.shape[:-2]) for state in out.hidden_states] == [(2, *frames, 8)] * len(out.hidden_states)
    last = out.hidden_states[-1] if connectivity == "geometric" else out.hidden_states[-1].mean(1)
    torch.testing.assert_close(model.classifier(F.adaptive_avg_pool2d(last, 2).flatten(1)), out.logits)
    recorded = [out.hidden_states[0], out.hidden_states[-1]] if checkpointing else out.hidden_states
    for state in recorded:
        state.retain_grad()
    out.logits.sum().backward()
    assert all(state.grad is not None for state in recorded)
    assert model(pixels).hidden_states is None
    assert RcnModel(model.config)(pixels, output_hidden_states=True).hidden_states is not None


def test_hidden_states_of_an_ensemble_are_refused():
    ensemble = RcnForVideoClassification(tiny(members=[{}, {}]))
    with pytest.raises(MerHfError, match="ask one of its `members`"):
        ensemble(clips(ensemble.config), output_hidden_states=True)


def test_outputs_are_tuples_where_that_is_asked_for():
    model = RcnForVideoClassification(tiny()).eval()
    pixels, labels = clips(model.config), torch.tensor([0, 1])
    out = model(pixels, labels=labels)
    loss, logits = model(pixels, labels=labels, return_dict=False)
    assert torch.equal(loss, out.loss)
    assert torch.equal(logits, out.logits)
    _, pooled = model.rcn(pixels, return_dict=False)
    assert torch.equal(pooled, model.rcn(pixels).pooler_output)
    model.config.return_dict = False
    assert isinstance(model(pixels), tuple)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "class_balanced"])
def test_a_clip_of_label_minus_100_is_left_out(loss):
    config = tiny(loss=loss, class_counts=[5, 3, 2], label_smoothing=0.1)
    logits, labels = torch.randn(4, 3, requires_grad=True), torch.tensor([0, -100, 2, -1])
    kept = torch.tensor([0, 2, 3])
    torch.testing.assert_close(
        classification_loss(logits, labels, config), classification_loss(logits[kept], labels[kept], config)
    )
    torch.testing.assert_close(
        classification_loss(logits, labels, config, 3), classification_loss(logits[kept], labels[kept], config, 3)
    )
    (gradient,) = torch.autograd.grad(classification_loss(logits, labels, config), logits)
    assert (gradient[1] == 0).all()
    assert classification_loss(logits, torch.full((4,), -100), config) == 0


@pytest.mark.parametrize("labels", [[0, 3], [0, -2], [0], [0.5, 1.0]])
def test_labels_that_no_class_has_are_refused(labels):
    with pytest.raises(MerHfError, match="labels do not fit the logits"):
        classification_loss(torch.zeros(2, 3), torch.tensor(labels), tiny())


def test_targets_of_action_units_need_a_model_that_predicts_them_and_suffice_for_a_loss():
    pixels = clips(tiny())
    with pytest.raises(MerHfError, match=r"config\.action_units is None"):
        RcnForVideoClassification(tiny())(pixels, action_units=torch.zeros(2, 2))
    model = RcnForVideoClassification(tiny(action_units=[4, 6]))
    assert model(pixels, action_units=torch.zeros(2, 2)).loss.requires_grad
    with pytest.raises(MerHfError, match=r"\(batch, units\) = \(2, 2\), got \(2, 1\)"):
        model(pixels, action_units=torch.zeros(2, 1))


def test_class_counts_are_never_float64_on_the_device_of_the_logits():
    config = tiny(loss="class_balanced", class_counts=[5, 3, 2], logit_adjustment=0.5)
    labels = torch.zeros(2, dtype=torch.long, device="meta")
    loss = classification_loss(torch.zeros(2, 3, device="meta"), labels, config)
    assert (loss.device.type, loss.dtype) == ("meta", torch.float32)


@pytest.mark.parametrize("backbone", ["rcn_stem", "resnet18"])
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_counts_each_batch_once(backbone, use_reentrant):
    kwargs = {"backbone_kwargs": None} if backbone == "resnet18" else {}
    model = RcnForVideoClassification(tiny(backbone=backbone, dropout=0.0, image_size=[64, 64], **kwargs)).train()
    twin = copy.deepcopy(model)
    twin.activation_checkpointing_enable({"use_reentrant": use_reentrant})
    twin = copy.deepcopy(twin)  # as a moving average of the weights makes them
    for network in (model, twin):
        for seed in range(2):
            torch.manual_seed(seed)
            network(clips(model.config), labels=torch.tensor([0, 2])).loss.backward()
    torch.testing.assert_close(dict(twin.named_buffers()), dict(model.named_buffers()))
    twin.activation_checkpointing_disable()
    twin(clips(model.config), labels=torch.tensor([0, 2])).loss.backward()
    assert twin.rcn.sections[0].layer.feed_forward_norm.num_batches_tracked == 3


def test_a_backbone_without_gradient_checkpointing_says_so():
    model = RcnModel(tiny(backbone="hrnet_w18_small", backbone_kwargs=None, image_size=[64, 64], hidden_size=8))
    with pytest.raises(MerHfError, match="'hrnet_w18_small' has no gradient checkpointing"):
        model.activation_checkpointing_enable()
    model.activation_checkpointing_disable()


KINDS = ["rcn", "rcn-w", "rcn-s", "rcn-a", "rcn-c", "rcn-f"]


def kind(preset: str, **changes) -> RcnConfig:
    small = {"backbone_kwargs": {"width": 8, "drop_rate": 0.0}, "num_labels": 3, "image_size": [20, 16], "grid_size": 2}
    return RcnConfig.preset(preset, **{**small, "dropout": 0.0, **changes})


@pytest.mark.parametrize("preset", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_networks_that_are_stacked_have_the_gradients_of_each(preset, training):
    networks = [RcnForVideoClassification(kind(preset)).train(training) for _ in range(3)]
    pixels, labels = clips(networks[0].config, 4), torch.tensor([0, 2, -100, -1])
    parameters, buffers = torch.func.stack_module_state(networks)
    skeleton = copy.deepcopy(networks[0]).to("meta")

    def loss(parameters, buffers):
        return torch.func.functional_call(skeleton, (parameters, buffers), (pixels,), {"labels": labels}).loss

    together = torch.func.vmap(torch.func.grad(loss))(parameters, buffers)
    for number, network in enumerate(networks):
        network(pixels, labels=labels).loss.backward()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(together[name][number], parameter.grad, atol=1e-5, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:FutureWarning")  # torch's own, of its own modules
@pytest.mark.parametrize("preset", KINDS)
def test_forward_mode_gives_the_derivative_of_finite_differences(preset):
    model = RcnForVideoClassification(kind(preset)).eval().double()
    pixels = clips(model.config).double()
    direction = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1)).double()
    _, slope = torch.func.jvp(lambda x: model(x).logits, (pixels,), (direction,))
    step = 1e-6
    with torch.no_grad():
        expected = (model(pixels + step * direction).logits - model(pixels - step * direction).logits) / (2 * step)
    torch.testing.assert_close(slope, expected, atol=1e-6, rtol=1e-3)


class Adapted(torch.nn.Module):
    """A linear layer with an adapter of low rank, whose `weight` is, as in peft, that of the layer below."""

    def __init__(self, base: torch.nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = torch.randn(2, base.in_features) / 4, torch.randn(base.out_features, 2) / 4

    @property
    def weight(self):
        return self.base.weight

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T


@pytest.mark.parametrize("preset", ["rcn-a", "rcn-c", "rcn-f"])
def test_attention_sees_a_classifier_as_it_answers(preset):
    model = RcnForVideoClassification(kind(preset)).eval()
    settle(model)
    model.classifier.bias.data.fill_(0.5)
    pixels = clips(model.config)
    adapted, merged = copy.deepcopy(model), copy.deepcopy(model)
    adapted.classifier = Adapted(adapted.classifier)
    merged.classifier.weight.data += adapted.classifier.up @ adapted.classifier.down
    torch.testing.assert_close(adapted(pixels).logits, merged(pixels).logits, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(adapted(pixels).logits, model(pixels).logits, atol=1e-2)


@pytest.mark.filterwarnings("ignore")  # what torch says of tracing and of this way to quantise
@pytest.mark.parametrize("preset", ["rcn", "rcn-a", "rcn-c", "rcn-f"])
def test_a_model_is_traced_and_quantised(preset):
    model = RcnForVideoClassification(kind(preset)).eval()
    pixels = clips(model.config)
    with torch.no_grad():
        logits = model(pixels).logits
        traced = torch.jit.trace(model, (pixels,), strict=False, check_trace=False)
        torch.testing.assert_close(traced(pixels)["logits"], logits)
        quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
        assert (quantised(pixels).logits - logits).abs().max() < 0.05 * logits.abs().max() + 0.01


def test_a_model_that_is_trained_further_gives_up_what_it_says_of_its_training():
    known = {"temperature": 2.0, "abstain_below": 0.5, "abstain_because": "so it was"}
    model = RcnForVideoClassification(tiny(trained_on="On no recording of a face.", training_subjects=["a/1"], **known))
    pixels, labels = clips(model.config), torch.tensor([0, 1])
    model.eval()(pixels, labels=labels)
    model.train()(pixels)
    assert model.config.trained_on == "On no recording of a face."
    model(pixels, labels=labels)
    assert {name: getattr(model.config, name) for name in OF_THE_WEIGHTS} == OF_THE_WEIGHTS
    assert model.config.training_subjects == ["a/1"]


@pytest.mark.parametrize("members", [1, 2])
def test_a_temperature_divides_logits_in_evaluation_changes_no_prediction_and_is_saved(members, tmp_path):
    model = RcnForVideoClassification.average([RcnForVideoClassification(tiny(dropout=0.0)) for _ in range(members)])
    pixels = clips(model.config)
    plain = model(pixels).logits
    model.config.temperature = 2.5
    torch.testing.assert_close(model(pixels).logits, plain / 2.5)
    torch.testing.assert_close(reload(model, tmp_path)(pixels).logits, plain / 2.5)
    assert RcnForVideoClassification.average([model, model]).config.temperature == 1.0, "it was fitted to another"
    model.train()
    torch.manual_seed(0)  # of dropout
    learning = model(pixels).logits
    model.config.temperature = 1.0
    torch.manual_seed(0)
    torch.testing.assert_close(model(pixels).logits, learning)


def test_a_score_below_the_threshold_is_doubted_in_the_words_of_the_rule():
    config = tiny(abstain_below=0.75, abstain_because="one in ten was wrong")
    assert config.doubt(0.75) is None
    assert config.doubt(0.7) == "the first score is 0.70. Below 0.75, an answer is not confident: one in ten was wrong."
    assert tiny().doubt(0.0) is None
    assert "No answer is confident." in tiny(abstain_below=1.01).doubt(1.0)
    for wrong in ({"temperature": 0.0}, {"temperature": float("nan")}, {"abstain_below": -0.1}):
        with pytest.raises(MerHfError, match=next(iter(wrong))):
            tiny(**wrong)
