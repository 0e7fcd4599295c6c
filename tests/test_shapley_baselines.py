"""What hidden pixels show: constants, blur, inpainting and background sets."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from fercore.shapley import DnCShap, build_tree
from fercore.shapley.baselines import Background, Blur, Inpaint, as_baseline, blurred, of_group
from fercore.shapley.game import ImageGame
from fercore.shapley.tree import pack

TREE = build_tree(16, 12, 4)


def network(channels=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(channels, 6, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(24, 4)).double().eval()


def pictures(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random(shape))


def smooth(count=2, channels=3):
    """Pictures that inpainting can guess at."""
    return blurred(pictures(count, channels, 16, 12), 2.0)


def inputs(x, baseline, members):
    """The model's inputs for boolean coalitions (M, n): tensor (N, M, C, H, W) and the visible pixels (M, 1, H, W)."""
    seen = []

    def model(rows):
        seen.append(rows.clone())
        return rows.mean((2, 3))

    game = ImageGame(model, x, as_baseline(baseline, x), TREE.labels(), output="logit", batch_size=5)
    game.values(pack(members))
    rows = torch.cat(seen)
    return rows.reshape(len(x), -1, *rows.shape[1:]), torch.from_numpy(members[:, TREE.labels()])[:, None]


def some_members(count=6):
    members = np.random.default_rng(1).random((count, 16)) < 0.5
    members[0], members[1] = False, True
    return members


# --- blur


def test_blur_keeps_what_is_plain_and_what_is_bright():
    plain = torch.full((1, 3, 9, 7), 0.4, dtype=torch.float64)
    assert blurred(plain).numpy() == pytest.approx(plain.numpy(), abs=1e-15)
    x = pictures(2, 3, 16, 12)
    assert blurred(x, 1e-3).numpy() == pytest.approx(x.numpy(), abs=1e-15)
    assert blurred(x, 1e4).numpy() == pytest.approx(
        x.mean((2, 3), keepdim=True).expand_as(x).numpy(), abs=1e-6
    )
    assert blurred(x).var() < x.var() / 10
    assert blurred((x * 255).to(torch.uint8)).dtype == torch.float32


def test_blur_agrees_with_opencv_inside():
    cv2 = pytest.importorskip("cv2")
    x = pictures(1, 1, 64, 64)
    expected = cv2.GaussianBlur(x[0, 0].numpy(), (31, 31), 2.0)
    assert blurred(x, 2.0)[0, 0, 20:44, 20:44].numpy() == pytest.approx(expected[20:44, 20:44], abs=1e-6)


def test_blur_as_a_baseline():
    x, members = pictures(2, 3, 16, 12), some_members()
    rows, visible = inputs(x, "blur", members)
    expected = torch.where(visible, x[:, None], blurred(x, 12 / 8)[:, None])
    assert (rows == expected).all()
    assert (inputs(x, Blur(), members)[0] == rows).all()
    assert not torch.equal(inputs(x, Blur(3), members)[0], rows)


# --- inpainting


@pytest.mark.parametrize("settings", ["inpaint", Inpaint("ns"), Inpaint(radius=2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inpainting(settings, dtype):
    pytest.importorskip("cv2")
    x, members = smooth().to(dtype), some_members()
    rows, visible = inputs(x, settings, members)
    shown = visible.expand(2, 6, 3, 16, 12)
    original = x[:, None].expand_as(shown)
    assert rows.dtype == dtype
    assert (rows[shown] == original[shown]).all()  # bit by bit
    assert (rows[:, 1] == x).all()
    mean = x.mean((2, 3), keepdim=True).expand_as(x)
    assert rows[:, 0].numpy() == pytest.approx(mean.numpy(), abs=1e-6)  # nothing to go by
    guessed = (rows - original)[:, 2:][~shown[:, 2:]].abs().mean()
    assert guessed < (mean[:, None] - original)[:, 2:][~shown[:, 2:]].abs().mean() * 0.8
    assert len(rows[:, 2:][~shown[:, 2:]].unique()) > 300  # of 8 bits there would be fewer
    assert torch.isfinite(rows).all()


def test_inpainting_does_not_depend_on_the_scale():
    pytest.importorskip("cv2")
    x, members = smooth(), some_members()
    small, large = inputs(x, "inpaint", members)[0], inputs(x * 1024 - 512, "inpaint", members)[0]
    assert large.numpy() == pytest.approx((small * 1024 - 512).numpy(), abs=0.1)


def test_inpainting_agrees_with_shap():
    shap = pytest.importorskip("shap")
    pytest.importorskip("cv2")
    x, members = (smooth(1) * 255).round(), some_members()
    rows, visible = inputs(x, "inpaint", members)
    nhwc = x[0].permute(1, 2, 0).numpy().copy()
    masker = shap.maskers.Image("inpaint_telea", nhwc.shape)
    for row, mask in zip(rows[0], visible[:, 0].numpy(), strict=True):
        theirs = masker(np.repeat(mask[..., None], 3, axis=2).ravel(), nhwc)[0][0]
        assert row.permute(1, 2, 0).numpy() == pytest.approx(
            theirs, abs=6
        )  # they quantise to 8 bits on the way
        assert np.abs(row.permute(1, 2, 0).numpy() - theirs).mean() < 1


def test_inpainting_in_groups_of_images(monkeypatch):
    pytest.importorskip("cv2")
    x = smooth(3)
    together = DnCShap(network(), "inpaint", depth=3).attribute(x, "all")
    assert together.efficiency_gap < 1e-12
    monkeypatch.setattr("fercore.shapley.base._GROUP_IMAGES", 1)
    apart = DnCShap(network(), Inpaint(), depth=3).attribute(x, "all")
    assert apart.region_scores == pytest.approx(together.region_scores, abs=1e-13)


def test_inpainting_without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    explainer = DnCShap(network(), "inpaint", depth=2)
    with pytest.raises(ImportError, match=r"pip install opencv-python-headless"):
        explainer.attribute(smooth())
    DnCShap(network(), "blur", depth=2).attribute(smooth())


# --- background sets


def test_background_is_the_mean_over_its_images():
    net, x, b = network(), pictures(2, 3, 16, 12), pictures(5, 3, 16, 12, seed=1)
    members = some_members()
    for batch_size in (1, 3, "auto"):
        game = ImageGame(net, x, as_baseline(Background(b), x), TREE.labels(), batch_size=batch_size)
        values = game.values(pack(members))
        for i in range(2):
            for m, coalition in enumerate(members):
                visible = torch.from_numpy(coalition[TREE.labels()])
                with torch.inference_mode():
                    expected = net(torch.where(visible, x[i], b)).softmax(1).mean(0).numpy()
                assert values[i, m] == pytest.approx(expected, abs=1e-14)
        assert game.evaluations.tolist() == [5 * 5 + 1] * 2  # the whole image needs no background
        own = np.stack([pack(members)[:3], pack(members)[3:]])
        assert game.each(own)[1] == pytest.approx(values[1, 3:], abs=1e-14)
        assert game.evaluations.tolist() == [26 + 11, 26 + 15]


def test_background_of_one_image_is_a_constant():
    x, b = pictures(2, 3, 16, 12), pictures(1, 3, 16, 12, seed=1)
    one = DnCShap(network(), Background(b), depth=3).attribute(x, "all")
    constant = DnCShap(network(), b[0], depth=3).attribute(x, "all")
    assert one.region_scores == pytest.approx(constant.region_scores, abs=1e-14)
    assert (one.evaluations == constant.evaluations).all()


def test_explaining_against_a_background(capsys):
    net, x = network(), pictures(2, 3, 16, 12)
    b = pictures(4, 16, 12, 3, seed=1).numpy()
    result = DnCShap(net, Background(b), depth=3, progress=True).attribute(x, "all")
    with torch.inference_mode():
        base = net(torch.from_numpy(b).permute(0, 3, 1, 2)).softmax(1).mean(0).numpy()
    assert result.base_values == pytest.approx(np.stack([base, base]), abs=1e-14)
    assert result.efficiency_gap < 1e-13
    rows = 4 * (int(DnCShap(net, depth=3).attribute(x).evaluations[0]) - 1) + 1
    assert result.evaluations.tolist() == [rows, rows]
    assert f"{2 * rows}/{2 * rows}" in capsys.readouterr().err
    first = Background(b.transpose(0, 3, 1, 2), channels="first")
    assert DnCShap(net, first, depth=3).attribute(x, "all").region_scores == pytest.approx(
        result.region_scores
    )


def test_background_of_integers_and_lists():
    x, b = pictures(1, 3, 16, 12), (pictures(2, 3, 16, 12, seed=1) * 2).to(torch.uint8)
    scores = [
        DnCShap(network(), Background(same), depth=2).attribute(x).region_scores
        for same in (b, b.double(), list(b), b.permute(0, 2, 3, 1).numpy())
    ]
    for other in scores[1:]:
        assert other == pytest.approx(scores[0], abs=1e-14)


def test_groups():
    x = pictures(3, 3, 16, 12)
    assert len(of_group(as_baseline("mean", x), slice(1, 3))) == 2
    assert len(of_group(as_baseline("zero", x), slice(1, 3))) == 1
    filling = as_baseline(Background(x), x)
    assert of_group(filling, slice(0, 1)) is filling


# --- errors


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Blur(0), ValueError, "sigma"),
        (lambda: Blur(float("nan")), ValueError, "sigma"),
        (lambda: Inpaint("patch"), ValueError, "'telea' or 'ns'"),
        (lambda: Inpaint(radius=0), ValueError, "radius"),
        (lambda: Background([]), ValueError, "background images cannot be used.*nothing to explain"),
        (lambda: Background(torch.zeros(0, 3, 8, 8)), ValueError, "background images cannot be used"),
        (lambda: Background(torch.zeros(8, 8)), ValueError, "background images cannot be used.*3 axes"),
        (lambda: Background("white"), TypeError, "background images cannot be used.*str"),
        (
            lambda: Background(torch.tensor([0.0, torch.nan]).reshape(2, 1, 1, 1)),
            ValueError,
            r"image 1 holds NaN or infinity \(1 of 2 do\)",
        ),
    ],
)
def test_settings(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("baseline", "error", "words"),
    [
        (
            Background(torch.zeros(2, 3, 8, 8)),
            ValueError,
            r"\(3, 8, 8\) cannot fill in images of shape \(3, 16, 12\)",
        ),
        (Background(torch.zeros(2, 1, 16, 12)), ValueError, r"\(1, 16, 12\) cannot fill in"),
        (torch.zeros(3, 12, 16), ValueError, "does not fit"),
        (torch.full((3, 1, 1), torch.inf), ValueError, "NaN or infinity"),
        ("noise", ValueError, "Unknown baseline 'noise'.*'blur', 'inpaint'.*Background"),
        (object(), TypeError, "object is no baseline"),
        (None, TypeError, "NoneType is no baseline"),
    ],
)
def test_baselines_that_do_not_fit(baseline, error, words):
    with pytest.raises(error, match=words):
        DnCShap(network(), baseline, depth=2).attribute(pictures(2, 3, 16, 12))
