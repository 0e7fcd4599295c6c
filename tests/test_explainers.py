"""Every explainer behind the one call: the contract, closed forms, and a network that is left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ferlab.explainers import CONTROLS, METHODS, Settings, explain, regions
from ferlab.explainers.gradients import last_layer
from torch import nn
from torch.nn import functional as F

from fercore import models
from fercore.errors import ModelOutputError, UnknownNameError
from fercore.shapley import PaperDnCShap, ReleasedDnCShap, build_tree

for package in ("shap", "captum", "lime"):
    pytest.importorskip(package)

SIZE = 16
EFFICIENT = [name for name, method in METHODS.items() if method.efficient]
OF_NETWORK = [name for name in METHODS if name not in CONTROLS]


class SmallNet(nn.Module):
    """Two convolutions, with all that has a mode or a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(6 * 64, 7))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


class LinearProbability(nn.Module):
    """Two classes whose probabilities are exactly linear in the pixels: ½ ± Σ w x."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        sums = (images * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([0.5 + sums, 0.5 - sums], dim=1).log()


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(1)
    return SmallNet().eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def settings() -> Settings:
    background = torch.rand(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    about = {"lime_samples": 60, "lime_size": 64, "gradient_samples": 20, "steps": 40}
    return Settings(depth=4, evaluations=100, background=background, **about)


@pytest.fixture(scope="module")
def linear() -> tuple[nn.Module, torch.Tensor]:
    """A network with linear probabilities, and w x of the images (3, 3, H, W)."""
    weights = 1e-3 * torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))
    return LinearProbability(weights), weights


TARGETS = np.array([2, 0, 5])


def probability(model: nn.Module, images: torch.Tensor, targets: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(images).softmax(dim=1)[range(len(images)), targets].double().numpy()


@pytest.mark.parametrize("name", METHODS)
def test_every_explainer_keeps_the_contract(name, net, images, settings):
    maps = explain(name, net, images, TARGETS, settings)
    assert maps.name == name
    assert maps.values.shape == (3, SIZE, SIZE)
    assert maps.values.dtype == np.float64
    assert np.isfinite(maps.values).all()
    assert (np.ptp(maps.values, axis=(1, 2)) > 0).any()  # of some images Grad-CAM rectifies everything
    for counts in (maps.evaluations, maps.gradients):
        assert counts.shape == (3,)
        assert counts.dtype == np.int64
    assert (maps.evaluations > 0).all() == (name not in CONTROLS)
    with_gradients = name in ("gradient_shap", "integrated_gradients", "grad_cam")
    assert (maps.gradients > 0).all() == with_gradients
    assert (maps.seconds > 0).all()


@pytest.mark.parametrize("name", METHODS)
def test_maps_do_not_depend_on_what_else_is_explained(name, net, images, settings):
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    together = explain(name, net, images, TARGETS, settings).values
    alone = explain(name, net, images[1:2], torch.from_numpy(TARGETS[1:2]), settings).values
    assert alone[0] == pytest.approx(together[1], abs=1e-6)
    assert (np.random.get_state()[1] == states[0]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])


@pytest.mark.parametrize("name", METHODS)
def test_the_network_is_left_as_it_was(name, images, settings):
    torch.manual_seed(1)
    model, own = SmallNet().train(), images.clone()
    model.features[1].eval()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    model.head[2].bias.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    found = explain(name, model, own, TARGETS, settings).values
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert all((p.grad == 3).all() for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert not own.requires_grad
    assert torch.equal(own, images)
    assert explain(name, model.eval(), own, TARGETS, settings).values == pytest.approx(found, abs=1e-7)


@pytest.mark.parametrize("name", EFFICIENT)
def test_maps_sum_to_what_there_is_to_explain(name, net, images, settings):
    worth = probability(net, images, TARGETS) - probability(net, torch.zeros_like(images), TARGETS)
    found = explain(name, net, images, TARGETS, settings).values.sum(axis=(1, 2))
    assert found == pytest.approx(worth, abs=1e-5)


def test_integrated_gradients_are_complete_up_to_their_steps(net, images, settings):
    worth = probability(net, images, TARGETS) - probability(net, torch.zeros_like(images), TARGETS)
    found = explain("integrated_gradients", net, images, TARGETS, settings).values.sum(axis=(1, 2))
    assert found == pytest.approx(worth, abs=0.02 * np.abs(worth).max())


def test_budgets_are_kept(net, images, settings):
    for name in ("dnc", "partition", "kernel"):
        assert (explain(name, net, images, TARGETS, settings).evaluations <= 100).all()
    assert explain("dnc_exact", net, images[:1], [0], settings).evaluations.tolist() == [
        2 * (16**2 - 1) // 3 + 2
    ]
    assert explain("dnc_both", net, images[:1], [0], settings).evaluations.tolist() == [4 * 16 - 4]
    gradients = explain("gradient_shap", net, images, TARGETS, settings)
    assert gradients.evaluations.tolist() == gradients.gradients.tolist() == [20] * 3
    assert explain("lime", net, images[:1], [0], settings).evaluations.tolist() == [60]
    assert Settings(depth=5).budget == 256


class TestLinearProbability:
    """Where the probability is linear, what each method must find is known."""

    @pytest.mark.parametrize("name", [*EFFICIENT])
    def test_regions_get_their_sums(self, name, linear, images):
        model, weights = linear
        labels = build_tree(SIZE, SIZE, 4).labels()
        products = (images * weights).sum(dim=1).double().numpy()
        enough = Settings(depth=4, evaluations=2 * (16**2 - 1) // 3 + 2)  # what the exact values need
        found = explain(name, model, images, [0, 1, 0], enough).values
        for values, product, sign in zip(found, products, (1, -1, 1), strict=True):
            sums = np.bincount(labels.ravel(), product.ravel())
            assert values == pytest.approx(sign * (sums / np.bincount(labels.ravel()))[labels], abs=1e-5)

    def test_gradients_times_input(self, linear, images, settings):
        model, weights = linear
        products = (images * weights).sum(dim=1).numpy()
        found = explain("integrated_gradients", model, images, [0, 0, 0], settings).values
        assert found == pytest.approx(products, abs=1e-5)

    def test_expected_gradients_from_one_baseline(self, linear, images, settings):
        model, weights = linear
        only = Settings(depth=4, background=settings.background[:1], gradient_samples=7)
        expected = ((images - settings.background[:1]) * weights).sum(dim=1).numpy()
        found = explain("gradient_shap", model, images, [0, 0, 0], only).values
        assert found == pytest.approx(expected, abs=1e-5)

    def test_occlusion_averages_the_windows_over_a_pixel(self, linear, images, settings):
        model, weights = linear
        found = explain("occlusion", model, images, [0, 0, 0], settings).values
        product = (images * weights).sum(dim=1, keepdim=True)
        windows = F.avg_pool2d(product, 2, stride=1) * 4  # side 16 // 6, moved by half of it
        inner = F.avg_pool2d(windows, 2, stride=1)[:, 0].numpy()  # four windows over each inner pixel
        # Every channel carries the window's whole value.
        assert found[:, 1:-1, 1:-1] == pytest.approx(3 * inner, abs=1e-5)


def test_grad_cam_is_the_rectified_weighted_sum_of_the_layer(net, images, settings):
    layer = net.features[5]
    found = explain("grad_cam", net, images, TARGETS, Settings(layer=layer)).values
    activations = net.features(images).detach().requires_grad_()
    chosen = net.head(activations).softmax(dim=1)[range(3), TARGETS].sum()
    (gradient,) = torch.autograd.grad(chosen, activations)
    cam = (gradient.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1, keepdim=True).clamp_min(0)
    cam = F.interpolate(cam, (SIZE, SIZE), mode="bilinear").detach()
    assert found == pytest.approx(cam[:, 0].numpy(), abs=1e-6)
    assert explain("grad_cam", net, images, TARGETS, settings).values == pytest.approx(found)


def test_grad_cam_needs_no_parameter_that_learns(net, images, settings):
    with_them = explain("grad_cam", net, images, TARGETS, settings).values
    frozen = SmallNet().eval()
    frozen.load_state_dict(net.state_dict())
    frozen.requires_grad_(False)
    assert explain("grad_cam", frozen, images, TARGETS, settings).values == pytest.approx(with_them)


def test_grad_cam_looks_where_things_still_have_a_place():
    network = models.ProposedNet(width=0.05)
    assert last_layer(network, torch.zeros(1, 3, 48, 48)) is network.blocks[3][5]  # 6 x 6, before B4's pool
    coarse = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AvgPool2d(4), nn.Conv2d(2, 2, 1), nn.Flatten())
    assert last_layer(coarse, torch.zeros(1, 3, 8, 8)) is coarse[0]
    assert last_layer(coarse, torch.zeros(1, 3, 4, 4)) is coarse[0]  # the finest, where none has six cells
    shared = nn.ReLU()  # one layer in two places: captum could not tell them apart
    twice = nn.Sequential(nn.Conv2d(3, 2, 1), shared, nn.Conv2d(2, 2, 1), shared, nn.Flatten())
    assert last_layer(twice, torch.zeros(1, 3, 8, 8)) is twice[2]
    block = nn.Sequential(nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)), nn.Flatten()).eval()
    assert last_layer(block, torch.zeros(1, 3, 8, 8)) is block[0]  # the block, which ends after its layers
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(ModelOutputError, match="Grad-CAM needs a layer"):
        last_layer(flat, torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize(
    ("name", "variant"), [("dnc_printed", PaperDnCShap), ("dnc_released", ReleasedDnCShap)]
)
def test_published_variants_cut_as_often_as_the_image_allows(name, variant, net, images, settings):
    found = explain(name, net, images, TARGETS, settings).values
    direct = variant(net, times=8).attribute(images, TARGETS).region_map()[..., 0]
    assert found == pytest.approx(direct, abs=1e-6)
    assert all(np.linalg.matrix_rank(values, rtol=1e-6) <= 2 for values in found)


def test_lime_finds_its_segments_on_an_enlarged_image():
    squares = np.kron(np.arange(4.0).reshape(2, 2), np.ones((4, 5)))
    seen = []

    def algorithm(image: np.ndarray) -> np.ndarray:
        seen.append(image.shape)
        return 10 * image[:, :, 0].round().astype(int)

    found = regions.segments(np.repeat(squares[:, :, None], 3, axis=2), algorithm, 20)
    assert seen == [(24, 30, 3)]
    assert (found == squares).all()
    assert (regions.segments(squares[:, :, None], algorithm, 2) == squares).all()  # never made smaller


def test_lime_weighs_segments_as_a_linear_function_does(images, settings, monkeypatch):
    # Halves of the image as segments; f is linear in them, so the coefficients are what each half adds over its mean.
    weights = torch.zeros(3, SIZE, SIZE)
    weights[:, :4, :] = 1e-3
    weights[:, 8:12, :] = -2e-3
    image = torch.zeros(1, 3, SIZE, SIZE)
    image[:, :, :4], image[:, :, 8:12] = 1.0, 0.5
    rows = np.repeat(np.arange(SIZE) // 8, SIZE).reshape(SIZE, SIZE)
    monkeypatch.setattr(regions, "segments", lambda *_: rows)
    many = Settings(lime_samples=500)
    found = explain("lime", LinearProbability(weights), image, [0], many).values[0]
    per_half = 3 * 4 * SIZE  # values that count in each half
    assert found[:8].sum() == pytest.approx(1e-3 * per_half * (1 - 0.5), rel=0.05)
    assert found[8:].sum() == pytest.approx(-2e-3 * per_half * (0.5 - 0.25), rel=0.05)
    assert np.ptp(found[:8]) == np.ptp(found[8:]) == 0


@pytest.mark.parametrize("name", METHODS)
def test_a_network_with_one_answer_has_nothing_to_explain(name, images, settings):
    constant = SmallNet().eval()
    nn.init.zeros_(constant.head[2].weight)
    found = explain(name, constant, images, [0, 0, 0], settings).values
    assert np.isfinite(found).all()
    if name in OF_NETWORK:
        assert found == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", OF_NETWORK)
def test_grey_images_in_three_equal_channels(name, net, settings):
    grey = torch.rand(1, 1, 12, 20, generator=torch.Generator().manual_seed(5)).expand(-1, 3, -1, -1)
    pooled = nn.Sequential(net.features, nn.AdaptiveAvgPool2d(8), net.head).eval()
    background = settings.background[:, :, :12].repeat(1, 1, 1, 2)[..., :20]
    chosen = Settings(depth=3, background=background, lime_samples=40, lime_size=48, gradient_samples=5)
    found = explain(name, pooled, grey, [1], chosen)
    assert found.values.shape == (1, 12, 20)
    assert np.isfinite(found.values).all()


def test_controls_know_nothing_of_the_network(net, images, settings):
    other = SmallNet().eval()
    for name in CONTROLS:
        maps = explain(name, net, images, TARGETS, settings).values
        assert (maps == explain(name, other, images, TARGETS, settings).values).all()
    random, centre = (explain(name, net, images, TARGETS, settings).values for name in CONTROLS)
    assert (centre == centre[0]).all()
    assert np.abs(np.corrcoef(random.reshape(3, -1))[np.triu_indices(3, 1)]).max() < 0.3
    assert centre[0].argmax() in (7 * 16 + 7, 7 * 16 + 8, 8 * 16 + 7, 8 * 16 + 8)
    assert centre[0] == pytest.approx(centre[0].T)


def test_wrong_requests_are_named(net, images, settings):
    with pytest.raises(UnknownNameError, match="no explainer 'shap'; choose one of dnc, "):
        explain("shap", net, images, TARGETS)
    with pytest.raises(ValueError, match=r"a class for each, not \(3, 3, 16, 16\) and \(2,\)"):
        explain("dnc", net, images, [0, 1])
    with pytest.raises(ValueError, match=r"Settings\(background"):
        explain("gradient_shap", net, images, TARGETS)
    with pytest.raises(ValueError, match="too deep"):
        explain("dnc", net, images, TARGETS, Settings(depth=9))
    broken = LinearProbability(torch.full((3, SIZE, SIZE), 1.0))  # log of a negative number
    with pytest.raises(ModelOutputError):
        explain("dnc", broken, images, [0, 0, 0], settings)
    with pytest.raises(ModelOutputError, match="NaN"):
        explain("integrated_gradients", broken, images, [0, 0, 0], settings)


def test_no_images_are_no_error(net, settings):
    found = explain("dnc", net, torch.zeros(0, 3, SIZE, SIZE), [], settings)
    assert found.values.shape == (0, SIZE, SIZE)


def test_one_channel_is_segmented_as_three_equal_ones():
    from ferlab.explainers.regions import segments
    from lime.wrappers.scikit_image import SegmentationAlgorithm

    grey = np.zeros((24, 24, 1))
    grey[4:14, 6:18] = 1.0
    quickshift = SegmentationAlgorithm("quickshift", kernel_size=2, max_dist=10, ratio=0.2, random_seed=0)
    found = [segments(image, quickshift, 48) for image in (grey, np.repeat(grey, 3, axis=2))]
    assert (found[0] == found[1]).all()
    assert found[0].max() > 0
