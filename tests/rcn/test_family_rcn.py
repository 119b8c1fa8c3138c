"""The published members by name, the authors' weights, ensembles, and what a saved one of them promises."""

import math

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModel, Trainer, TrainingArguments

from mer_hf.rcn.configuration_rcn import PRESETS, RcnConfig
from mer_hf.rcn.modeling_rcn import (
    RcnForVideoClassification,
    RcnModel,
    RecurrentConvLayer,
    class_activation,
    classification_loss,
    mirrored,
)
from mer_hf.rcn.released_rcn import RELEASED
from mer_hf.rcn.tuning_rcn import Dropout

RCN = ("rcn", "rcn-w", "rcn-s", "rcn-a", "rcn-c", "rcn-f")


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(preset: str = "rcn-a", **changes) -> RcnConfig:
    small = {"backbone_kwargs": {"width": 8}, "num_labels": 3}
    if preset in RCN:
        small |= {"image_size": [20, 16], "grid_size": 2}
    return RcnConfig.preset(preset, **{**small, **changes})


def clips(config: RcnConfig, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, config.num_frames, config.num_channels, *config.image_size, generator=draws())


# --- the definitions a second time, from torch.nn.functional, on weights named as in the authors' release ---


def released_weights(preset: str, width: int = 8, classes: int = 3, grid: int = 2, sections: int = 1) -> dict:
    """Random weights under the authors' names, with the entries that their forward passes never use."""
    generator = draws(1)
    weights = {}

    def linear(name, *shape):
        weights[f"{name}.weight"] = torch.randn(shape, generator=generator) / 3
        weights[f"{name}.bias"] = torch.randn(shape[0], generator=generator) / 3

    def norm(name, maps):
        linear(name, maps)
        weights[f"{name}.running_mean"] = torch.randn(maps, generator=generator) / 3
        weights[f"{name}.running_var"] = torch.rand(maps, generator=generator) + 0.5
        weights[f"{name}.num_batches_tracked"] = torch.tensor(7)

    if preset in ("rcn-w", "rcn-c"):
        for number, maps in enumerate((width // 2, width // 4, width // 4), start=1):
            linear(f"stream{number}.0", maps, 3, 3, 3)
            norm(f"stream{number}.2", maps)
    else:
        linear("conv1.0", width, 3, 5, 5)
        norm("conv1.1", width)
    dense = preset in ("rcn-s", "rcn-c")
    for section in range(sections):
        convs = {"dbl.{}.conv1": 1, "dbl.{}.conv2": 3, "dbl.{}.conv3": 3} if dense else {}
        for name, size in (convs or {"rcls.{}.ffconv": 1, "rcls.{}.rrconv": 3}).items():
            linear(f"{name.format(section)}.0", width, width, size, size)
            norm(f"{name.format(section)}.1", width)
    if preset == "rcn-c":
        linear("ebl.conv1.0", width, width, 1, 1)
    linear("classifier", classes, width * grid**2)
    return weights


def textbook(preset: str, weights: dict, pixels: torch.Tensor, grid: int = 2) -> torch.Tensor:
    """Logits of a network of 2020 for pictures (B, 3, H, W)."""

    def conv(x, name, **kwargs):
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **kwargs)

    def norm(x, name):
        parts = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *parts, training=False)

    def attention(x, share_weights=False):
        """The class-activation maps one by one, min-max scaled, and their mean: (B, 1, grid, grid)."""
        x = F.adaptive_avg_pool2d(x, grid)
        maps = []
        for row in weights["classifier.weight"]:
            row = row.reshape(-1, grid, grid)
            activation = ((row.mean(0, keepdim=True) if share_weights else row) * x).mean(1)
            flat = activation.flatten(1)
            low, high = flat.min(1).values[:, None, None], flat.max(1).values[:, None, None]
            maps.append((activation - low) / (high - low))
        return torch.stack(maps, 1).mean(1, keepdim=True)

    if preset in ("rcn-w", "rcn-c"):
        streams = []
        for number in (1, 2, 3):
            stream = conv(pixels, f"stream{number}.0", stride=3, padding=number, dilation=number)
            streams.append(norm(F.relu(stream), f"stream{number}.2"))
        x = torch.cat(streams, 1)
    else:
        x = F.max_pool2d(F.relu(norm(conv(pixels, "conv1.0"), "conv1.1")), 2)
    if preset == "rcn-c":
        x = x * F.interpolate(attention(pixels, share_weights=True), x.shape[2:])
    stem = x
    section = 0
    while f"rcls.{section}.ffconv.0.weight" in weights or f"dbl.{section}.conv1.0.weight" in weights:
        if preset in ("rcn-s", "rcn-c"):
            first, again = f"dbl.{section}.conv1", f"dbl.{section}.conv2"
        else:
            first, again = f"rcls.{section}.ffconv", f"rcls.{section}.rrconv"
        y = F.relu(norm(conv(x, f"{first}.0"), f"{first}.1"))
        z = F.relu(norm(conv(x + y, f"{again}.0", padding=1), f"{again}.1"))
        if preset in ("rcn-s", "rcn-c"):
            e = F.relu(norm(conv(x + y + z, f"{again}.0", padding=1), f"{again}.1"))
            out = F.relu(norm(conv(x + y + z + e, f"{again}.0", padding=1), f"{again}.1"))
        else:
            out = F.relu(norm(conv(x + z, f"{again}.0", padding=1), f"{again}.1"))
        x = F.max_pool2d(out, 2)
        section += 1
    x = F.adaptive_avg_pool2d(x, grid)
    if preset == "rcn-a":
        x = x * attention(stem)
    return F.linear(x.flatten(1), weights["classifier.weight"], weights["classifier.bias"])


@pytest.mark.parametrize("preset", RELEASED)
@pytest.mark.parametrize(
    ("sizes", "pixels"),
    [
        ({}, (20, 16)),
        ({"width": 16, "classes": 5, "grid": 3}, (33, 39)),  # odd sides: what fills no window is dropped
        ({"sections": 2}, (45, 36)),
    ],
)
def test_released_weights_give_the_logits_of_the_textbook(preset, sizes, pixels):
    weights = released_weights(preset, **sizes)
    model = RcnForVideoClassification.from_released(weights, preset)
    pictures = torch.randn(3, 3, *pixels, generator=draws())
    expected = textbook(preset, weights, pictures, sizes.get("grid", 2))
    torch.testing.assert_close(model(pictures[:, None]).logits, expected, atol=1e-5, rtol=1e-4)
    assert not model.training


def test_rcn_f_attends_to_its_first_state_by_the_input_of_the_section():
    layer = RecurrentConvLayer(tiny("rcn-f"), 8).eval()
    class_weights = torch.randn(3, 8, 2, 2, generator=draws(2))
    maps = torch.randn(2, 8, 6, 5, generator=draws())

    def step(x):
        return F.relu(layer.recurrent_norm[0](layer.recurrent[0](x)))

    y = F.relu(layer.feed_forward_norm(layer.feed_forward(maps)))
    y = y * F.interpolate(class_activation(maps, class_weights), (6, 5), mode="nearest")
    z = step(maps + y)
    e = step(maps + y + z)
    expected = step(maps + y + z + e)
    torch.testing.assert_close(layer(maps[:, None], class_weights)[:, 0], expected)


@pytest.mark.parametrize(("preset", "parameters"), [("rcn", 15_331), ("rcn-a", 15_331), ("rcn-s", 15_331)])
def test_attention_and_shortcuts_cost_no_parameter(preset, parameters):
    model = RcnForVideoClassification(RcnConfig.preset(preset, num_labels=3))
    assert model.num_parameters(only_trainable=True) == parameters


@pytest.mark.parametrize("preset", ["rcn-w", "rcn-c", "rcn-f"])
def test_a_wide_stem_has_fewer_parameters(preset):
    model = RcnForVideoClassification(RcnConfig.preset(preset, num_labels=3))
    assert model.num_parameters(only_trainable=True) == 13_795


@pytest.mark.parametrize("preset", PRESETS)
def test_every_parameter_of_every_preset_learns(preset):
    torch.manual_seed(0)
    model = RcnForVideoClassification(tiny(preset)).eval()  # in training a bias before batch normalisation is idle
    model(clips(model.config, 4), labels=torch.tensor([0, 1, 2, 2])).loss.backward()
    dead = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not dead


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_loaded_as_it_was_saved(preset, tmp_path):
    model = RcnForVideoClassification(tiny(preset)).eval()
    pixels = clips(model.config)
    model.save_pretrained(tmp_path)
    loaded = RcnForVideoClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(model(pixels).logits, loaded(pixels).logits)


@pytest.mark.parametrize("width", [1, 2, 3, 5, 6, 7, 8, 10])
def test_a_wide_stem_takes_any_width(width):
    model = RcnModel(tiny("rcn-w", backbone_kwargs={"width": width}))
    widths = [branch.out_channels for branch in model.backbone.model["conv"].branches]
    assert sum(widths) == width
    assert widths == sorted(widths, reverse=True)
    assert len(widths) == min(width, 3) - (width == 3)
    assert model(clips(model.config)).last_hidden_state.shape[1] == width


@pytest.mark.parametrize("maps", [torch.zeros(2, 8, 5, 5), torch.full((2, 8, 5, 5), -3.0)])
def test_attention_is_finite_for_constant_maps_and_so_are_its_gradients(maps):
    class_weights = torch.ones(3, 8, 2, 2, requires_grad=True)
    attention = class_activation(maps.requires_grad_(), class_weights)
    assert torch.equal(attention, torch.zeros(2, 1, 2, 2))
    attention.sum().backward()
    assert maps.grad.isfinite().all()
    assert class_weights.grad.isfinite().all()


def test_attention_reaches_from_nothing_to_everything():
    maps = torch.randn(4, 8, 6, 6, generator=draws())
    attention = class_activation(maps, torch.randn(1, 8, 3, 3, generator=draws(1)))
    torch.testing.assert_close(attention.flatten(1).min(1).values, torch.zeros(4))
    torch.testing.assert_close(attention.flatten(1).max(1).values, torch.ones(4))


def test_without_a_head_nothing_is_attended_to():
    attending = RcnModel(tiny("rcn-a")).eval()
    plain = RcnModel(tiny("rcn")).eval()
    plain.load_state_dict(attending.state_dict())
    pixels = clips(attending.config)
    assert torch.equal(attending(pixels).pooler_output, plain(pixels).pooler_output)


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_dropout_zeroes_its_share_and_keeps_the_mean(p, memory_format):
    maps = torch.ones(16, 8, 31, 33).contiguous(memory_format=memory_format).requires_grad_()
    torch.manual_seed(0)
    dropped = Dropout(p)(maps)
    dropped.sum().backward()
    assert dropped.is_contiguous(memory_format=memory_format)
    assert torch.equal(maps.grad, dropped)
    torch.testing.assert_close(dropped.unique(), torch.tensor([0, 1 / (1 - p)]), atol=1e-3, rtol=1e-4)
    count = maps.numel()
    standard_error = math.sqrt(p * (1 - p) / count)
    assert abs((dropped == 0).float().mean() - p) < 4 * standard_error
    for lag in range(1, 9):  # elements that share their random bits' word are dropped independently
        flat = (dropped == 0).float().permute(0, 2, 3, 1).flatten() - p
        assert abs((flat[lag:] * flat[:-lag]).mean()) < 4 * p * (1 - p) / math.sqrt(count)
    assert torch.equal(Dropout(p).eval()(maps), maps)


@pytest.mark.parametrize("preset", RCN)
def test_bf16_autocast_stays_near_full_precision(preset):
    torch.manual_seed(0)
    model = RcnForVideoClassification(RcnConfig.preset(preset, num_labels=3)).eval()
    pixels = clips(model.config, 4)
    full = model(pixels).logits
    with torch.autocast("cpu", torch.bfloat16):
        half = model(pixels).logits
    assert (half.float() - full).norm() < 0.02 * full.norm()


def test_gradient_checkpointing_of_an_attending_section_leaves_the_gradients_as_they_are():
    model = RcnForVideoClassification(tiny("rcn-f")).train()
    pixels, labels = clips(model.config), torch.tensor([0, 2])
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        torch.manual_seed(0)  # of dropout
        model.zero_grad()
        model(pixels, labels=labels).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


# --- from_released: what it refuses ---


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda weights: weights.pop("rcls.0.rrconv.1.running_var"), "rcls.0.rrconv.1.running_var is missing"),
        (lambda weights: weights.pop("classifier.bias"), "classifier.bias is missing"),
        (lambda weights: weights.update({"conv2.0.weight": torch.zeros(1)}), "conv2.0.weight is unknown"),
        (
            lambda weights: weights.update({"conv1.0.weight": torch.zeros(8, 1, 5, 5)}),
            r"conv1.0.weight is \(8, 1, 5, 5\), expected \(8, 3, 5, 5\)",
        ),
        (
            lambda weights: weights.update({"rcls.0.ffconv.0.bias": torch.zeros(4)}),
            r"network: rcls.0.ffconv.0.bias is \(4,\), expected \(8,\)$",
        ),
        (
            lambda weights: weights.update({"classifier.weight": torch.zeros(3, 70)}),
            r"network: classifier.weight is \(3, 70\), expected \(3, 32\)$",
        ),
    ],
)
def test_released_weights_with_a_fault_are_refused_by_name(damage, says):
    weights = released_weights("rcn-a")
    damage(weights)
    with pytest.raises(ValueError, match=says):
        RcnForVideoClassification.from_released(weights, "rcn-a")


def test_released_weights_of_another_member_are_refused():
    with pytest.raises(ValueError, match=r"dbl.0.conv1.0.weight is missing.*rcls.0.ffconv.0.weight is unknown"):
        RcnForVideoClassification.from_released(released_weights("rcn-a"), "rcn-s")
    with pytest.raises(ValueError, match="no released weights for the preset 'rcn-f'; choose from rcn, rcn-a"):
        RcnForVideoClassification.from_released({}, "rcn-f")


# --- losses ---


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_logit_adjustment_trains_on_logits_with_the_prior_and_predicts_without(loss):
    config = tiny(loss=loss, class_counts=[60, 30, 10], logit_adjustment=0.5, label_smoothing=0.1)
    model = RcnForVideoClassification(config).eval()
    pixels, labels = clips(config, 3), torch.tensor([0, 1, 2])
    output = model(pixels, labels=labels)
    assert torch.equal(output.logits, model(pixels).logits)
    adjusted = output.logits + 0.5 * torch.tensor([0.6, 0.3, 0.1]).log()
    targets = 0.9 * F.one_hot(labels, 3) + 0.1 / 3
    expected = -(targets * adjusted.log_softmax(1)).sum(1)
    if loss == "focal":
        expected = expected * (1 - adjusted.softmax(1)[range(3), labels]) ** 2
    torch.testing.assert_close(output.loss, expected.mean())


@pytest.mark.parametrize("counts", [None, [5, 0, 5]])
def test_logit_adjustment_needs_clips_of_each_class(counts):
    config = tiny(logit_adjustment=0.5, class_counts=counts)
    with pytest.raises(ValueError, match="logit_adjustment needs the training clips of each class, got"):
        classification_loss(torch.zeros(1, 3), torch.tensor([0]), config)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "class_balanced"])
def test_the_losses_of_uneven_parts_sum_up_to_that_of_the_whole_batch(loss):
    config = tiny(loss=loss, class_counts=[6, 3, 1], label_smoothing=0.1)
    logits, labels = torch.randn(7, 3, generator=draws()), torch.tensor([0, 1, 2, 2, 1, 0, 0])
    whole = classification_loss(logits, labels, config)
    parts = [
        classification_loss(part, of_part, config, torch.tensor(7))
        for part, of_part in zip(logits.split([4, 2, 1]), labels.split([4, 2, 1]), strict=True)
    ]
    torch.testing.assert_close(sum(parts), whole)


class FrozenNorms(RcnForVideoClassification):
    """Batch normalisation by its running statistics, which do not depend on how a batch is cut."""

    def train(self, mode: bool = True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        return self


def test_gradients_accumulated_over_uneven_batches_are_those_of_one_batch(tmp_path):
    config = tiny("rcn", dropout=0.0, backbone_kwargs={"width": 8, "drop_rate": 0.0})
    pixels, labels = clips(config, 5), [0, 1, 2, 2, 0]
    samples = [{"pixel_values_videos": clip, "labels": label} for clip, label in zip(pixels, labels, strict=True)]
    start = FrozenNorms(config).state_dict()
    weights = {}
    for batch, accumulated in ((5, 1), (2, 3)):
        model = FrozenNorms(config)
        model.load_state_dict(start)
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulated,
            max_steps=1,
            learning_rate=1.0,
            optim="sgd",
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        Trainer(model, arguments, train_dataset=samples).train()
        weights[batch] = model.classifier.weight.detach()
    torch.testing.assert_close(weights[2], weights[5])
    assert not torch.allclose(weights[5], start["classifier.weight"], atol=1e-3)


# --- the mirror, and ensembles ---


def test_flow_in_a_mirror_runs_the_other_way():
    flow = torch.randn(2, 1, 3, 4, 5, generator=draws())
    u, v, strain = mirrored(flow, "geometric").unbind(2)
    for x in range(5):
        assert torch.equal(u[..., x], -flow[:, :, 0, :, 4 - x])
        assert torch.equal(v[..., x], flow[:, :, 1, :, 4 - x])
        assert torch.equal(strain[..., x], flow[:, :, 2, :, 4 - x])
    frames = torch.randn(2, 6, 1, 4, 5, generator=draws())
    for connectivity in ("appearance", "sequence"):
        assert torch.equal(mirrored(frames, connectivity), frames.flip(-1))


@pytest.mark.parametrize("preset", ["rcn-a", "strcn-a"])
def test_mirror_averaging_is_the_mean_probability_of_both_views_in_evaluation_alone(preset):
    config = tiny(preset, mirror_averaging=True)
    model = RcnForVideoClassification(config).eval()
    plain = RcnForVideoClassification(tiny(preset)).eval()
    plain.load_state_dict(model.state_dict())
    pixels = clips(config)
    views = [plain(view).logits.softmax(1) for view in (pixels, mirrored(pixels, config.connectivity))]
    assert not torch.allclose(*views)
    torch.testing.assert_close(model(pixels).logits.softmax(1), sum(views) / 2)
    for network in (model, plain):
        torch.manual_seed(0)
        network.train()
    torch.manual_seed(0)
    trained = model(pixels).logits
    torch.manual_seed(0)
    assert torch.equal(trained, plain(pixels).logits)


def test_an_ensemble_predicts_the_mean_probability_of_its_members_and_is_one_folder(tmp_path):
    models = [RcnForVideoClassification(tiny(class_counts=[seed, 2, 3])).eval() for seed in (1, 2, 3)]
    for model in models:
        model.classifier.weight.data.mul_(100)
    pixels = clips(models[0].config)
    expected = torch.stack([model(pixels).logits.softmax(1) for model in models]).mean(0)
    ensemble = RcnForVideoClassification.average(models)
    torch.testing.assert_close(ensemble(pixels).logits.softmax(1), expected)
    ensemble.save_pretrained(tmp_path)
    loaded = RcnForVideoClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(pixels).logits, ensemble(pixels).logits)
    assert len(loaded.members) == 3
    assert list(loaded.config.members) == [{}, {}, {}]
    with pytest.raises(ValueError, match="an ensemble of 3 members has no features of its own"):
        AutoModel.from_pretrained(tmp_path)


def test_an_ensemble_of_appearance_models_keeps_the_mask_of_each(tmp_path):
    models = [RcnForVideoClassification(tiny("strcn-a", image_size=[6, 5], num_frames=8)).eval() for _ in range(2)]
    for number, model in enumerate(models):
        mask = torch.zeros(6, 5, dtype=torch.bool)
        mask[number : number + 3] = True
        model.rcn.set_pixel_mask(mask)
    RcnForVideoClassification.average(models).save_pretrained(tmp_path)
    loaded = RcnForVideoClassification.from_pretrained(tmp_path).eval()
    pixels = clips(loaded.config)
    expected = torch.stack([model(pixels).logits.softmax(1) for model in models]).mean(0)
    torch.testing.assert_close(loaded(pixels).logits.softmax(1), expected)


@pytest.mark.parametrize("preset", PRESETS)
def test_weights_begin_as_in_the_authors_release(preset):
    torch.manual_seed(0)
    config = RcnConfig.preset(preset, num_labels=3, backbone_kwargs={"width": 16}, hidden_size=16, action_units=[1, 2])
    model = RcnForVideoClassification(config)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.25), name
        elif isinstance(module, torch.nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.3), name
        elif isinstance(module, torch.nn.BatchNorm2d):
            assert (module.weight == 1).all()
        if getattr(module, "bias", None) is not None:
            assert (module.bias == 0).all(), name


def test_layers_that_a_saved_model_lacks_begin_anew_and_the_others_as_saved(tmp_path):
    saved = RcnForVideoClassification(tiny(num_labels=3))
    saved.save_pretrained(tmp_path)
    labels = {"id2label": {number: str(number) for number in range(200)}}
    loaded = RcnForVideoClassification.from_pretrained(
        tmp_path, **labels, shared_norm=False, ignore_mismatched_sizes=True
    )
    assert loaded.classifier.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert (loaded.classifier.bias == 0).all()
    for norm in loaded.rcn.sections[0].layer.recurrent_norm:
        assert (norm.weight == 1).all()
        assert (norm.running_var == 1).all()
    assert torch.equal(loaded.rcn.backbone.model.conv.weight, saved.rcn.backbone.model.conv.weight)


@pytest.mark.parametrize("mirror_averaging", [False, True])
def test_an_ensemble_among_the_averaged_shares_one_vote_among_its_members_and_one_model_stays_itself(
    tmp_path, mirror_averaging
):
    options = {"action_units": [1, 12], "mirror_averaging": mirror_averaging}
    models = [RcnForVideoClassification(tiny(**options)).eval() for _ in range(3)]
    for model in models:
        model.classifier.weight.data.mul_(100)
        model.unit_classifier.weight.data.mul_(100)
    nested = RcnForVideoClassification.average([RcnForVideoClassification.average(models[:2]), models[2]])
    nested.save_pretrained(tmp_path)
    pixels = clips(models[0].config)
    first, second, third = (model(pixels) for model in models)
    found = RcnForVideoClassification.from_pretrained(tmp_path).eval()(pixels)
    expected = first.logits.softmax(1) / 4 + second.logits.softmax(1) / 4 + third.logits.softmax(1) / 2
    torch.testing.assert_close(found.logits.softmax(1), expected)
    units = [told.action_unit_logits.sigmoid() for told in (first, second, third)]
    torch.testing.assert_close(found.action_unit_logits.sigmoid(), units[0] / 4 + units[1] / 4 + units[2] / 2)
    assert nested.config.votes == [0.25, 0.25, 0.5]
    assert RcnForVideoClassification.average(models).config.votes is None
    alone = RcnForVideoClassification.average(models[:1])
    assert alone.state_dict().keys() == models[0].state_dict().keys()
    assert torch.equal(alone(pixels).logits, models[0](pixels).logits)


def test_networks_of_different_kinds_are_averaged_and_saved_as_one(tmp_path):
    kinds = [{"action_units": [1, 12]}, {"grid_size": 3}, {"recurrent_steps": 0, "dropout": 0.1}]
    models = [RcnForVideoClassification(tiny(**fields)).eval() for fields in kinds]
    for model in models:
        model.classifier.weight.data.mul_(100)
    pixels = clips(models[0].config)
    RcnForVideoClassification.average([models[1], models[0], models[2]]).save_pretrained(tmp_path)
    loaded = RcnForVideoClassification.from_pretrained(tmp_path).eval()
    expected = torch.stack([model(pixels).logits.softmax(1) for model in models]).mean(0)
    torch.testing.assert_close(loaded(pixels).logits.softmax(1), expected)
    assert list(loaded.config.action_units) == [1, 12]
    assert torch.equal(loaded(pixels).action_unit_logits, models[0](pixels).action_unit_logits)


def test_action_units_are_told_by_a_layer_of_their_own_and_averaged_as_probabilities(tmp_path):
    models = [RcnForVideoClassification(tiny("rcn", action_units=[4, 6, 12])).eval() for _ in range(2)]
    pixels = clips(models[0].config)
    told = [model(pixels).action_unit_logits for model in models]
    assert told[0].shape == (len(pixels), 3)
    features = models[0].rcn(pixels).pooler_output
    torch.testing.assert_close(told[0], F.linear(features, *models[0].unit_classifier.parameters()))
    averaged = RcnForVideoClassification.average(models)(pixels).action_unit_logits
    torch.testing.assert_close(averaged.sigmoid(), (told[0].sigmoid() + told[1].sigmoid()) / 2)
    assert RcnForVideoClassification(tiny())(pixels).action_unit_logits is None


def test_a_clip_without_an_expression_is_best_told_by_no_class():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.2, 0.1]])
    config = tiny(label_smoothing=0.1)
    loss = classification_loss(logits, torch.tensor([-1, 2]), config)
    told = classification_loss(logits[1:], torch.tensor([2]), config)
    uniform = F.cross_entropy(logits[:1], torch.full((1, 3), 1 / 3))
    torch.testing.assert_close(loss, (told + uniform) / 2)


def test_the_loss_of_action_units_is_added_to_that_of_the_classes():
    model = RcnForVideoClassification(tiny(action_units=[4, 6])).eval()
    pixels = clips(model.config)
    labels, units = torch.zeros(len(pixels), dtype=torch.long), torch.rand(len(pixels), 2).round()
    out = model(pixels, labels=labels, action_units=units)
    probabilities = out.action_unit_logits.sigmoid()
    expected = -(units * probabilities.log() + (1 - units) * (1 - probabilities).log()).mean()
    torch.testing.assert_close(out.loss, F.cross_entropy(out.logits, labels) + expected)
    torch.testing.assert_close(model(pixels, labels=labels).loss, F.cross_entropy(out.logits, labels))
    halves = [model(pixels, labels=labels, action_units=units, num_items_in_batch=2 * len(pixels)).loss for _ in "ab"]
    torch.testing.assert_close(sum(halves), out.loss)


def test_an_ensemble_owns_its_weights():
    models = [RcnForVideoClassification(tiny()).eval() for _ in range(2)]
    ensemble = RcnForVideoClassification.average(models)
    pixels = clips(models[0].config)
    before = ensemble(pixels).logits
    models[0].classifier.bias.data.add_(1)
    assert torch.equal(ensemble(pixels).logits, before)


@pytest.mark.parametrize(
    ("configs", "says"),
    [
        ([], "at least one model, got none"),
        ([{}, {"image_size": [20, 30]}], r"must agree in \['image_size'\]"),
        ([{}, {"id2label": {0: "a", 1: "b", 2: "c"}}], r"must agree in \['id2label'\]"),
        ([{}, {"action_units": [1, 2]}, {"action_units": [1, 4]}], r"must agree in \['action_units'\]"),
    ],
)
def test_models_of_different_kinds_are_not_averaged(configs, says):
    models = [RcnForVideoClassification(tiny(**changes)) for changes in configs]
    with pytest.raises(ValueError, match=says):
        RcnForVideoClassification.average(models)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"connectivity": "sequence", "attention": "output"}, "for one map a clip, not for recurrence over frames"),
        ({"connectivity": "sequence", "dense_shortcuts": True}, "for one map a clip, not for recurrence over frames"),
        ({"attention": "output", "grid_size": 1}, "grid_size must be at least 2"),
        ({"attention": "everywhere"}, "attention"),
        ({"members": []}, "members must have an entry"),
        ({"action_units": []}, "action_units must have an entry"),
        ({"logit_adjustment": -0.5}, "logit_adjustment must be 0 or more, got -0.5"),
    ],
)
def test_fields_that_no_member_of_the_family_can_have_are_refused(fields, says):
    with pytest.raises(Exception, match=says):
        RcnConfig(**fields)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # a loop over networks, on CPUs alone
@pytest.mark.parametrize("p", [0.3, 0.5])
def test_networks_that_are_stacked_drop_out_each_by_itself(p):
    torch.manual_seed(0)
    maps = torch.ones(2, 16, 8, 15, 17)
    first, second = torch.func.vmap(Dropout(p), randomness="different")(maps)
    assert not torch.equal(first, second)
    for dropped in (first, second):
        assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=0.02)
        torch.testing.assert_close(dropped.unique(), torch.tensor([0, 1 / (1 - p)]), atol=1e-3, rtol=1e-4)
