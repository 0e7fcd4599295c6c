"""What hidden pixels show: constants, blur, inpainting and background sets."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from shapley_games import network, pictures

from fercore.shapley import Background, Blur, DnCShap, Inpaint, build_tree
from fercore.shapley.baselines import as_baseline, blurred
from fercore.shapley.game import ImageGame
from fercore.shapley.tree import pack

TREE = build_tree(16, 12, 4)
MEMBERS = np.random.default_rng(1).random((6, 16)) < 0.5
MEMBERS[0], MEMBERS[1] = False, True
VISIBLE = torch.from_numpy(MEMBERS[:, TREE.labels()])[:, None]  # (6, 1, 16, 12)
X = pictures(2, 3, 16, 12)


def smooth(count=2):
    """Pictures that inpainting can guess at."""
    return blurred(pictures(count, 3, 16, 12), 2.0)


def shown(x, baseline):
    """The model's inputs, tensor (N, 6, C, H, W)."""
    seen = []

    def model(rows):
        seen.append(rows.clone())
        return rows.mean((2, 3))

    game = ImageGame(model, x, as_baseline(baseline, x), TREE.labels(), output="logit", batch_size=5)
    game.values(pack(MEMBERS))
    return torch.cat(seen).reshape(len(x), 6, *x.shape[1:])


def test_constants():
    mean = X.mean((2, 3), keepdim=True)
    for baseline, value in (("zero", 0.0), (0.1, 0.1), ("mean", mean), (mean, mean), (X.flip(0), X.flip(0))):
        hidden = torch.as_tensor(value, dtype=torch.float64).expand_as(X)
        assert (shown(X, baseline) == torch.where(VISIBLE, X[:, None], hidden[:, None])).all()
    for same in (np.full((3, 1, 1), 0.1), torch.full((3, 16, 12), 0.1, dtype=torch.float64), np.float64(0.1)):
        assert (shown(X, same) == shown(X, 0.1)).all()


def test_blur():
    plain = torch.full((1, 3, 9, 7), 0.4, dtype=torch.float64)
    assert blurred(plain).numpy() == pytest.approx(plain.numpy(), abs=1e-15)
    assert blurred(X, 1e-3).numpy() == pytest.approx(X.numpy(), abs=1e-15)
    assert blurred(X, 1e4).numpy() == pytest.approx(
        X.mean((2, 3), keepdim=True).expand_as(X).numpy(), abs=1e-6
    )
    assert blurred((X * 255).to(torch.uint8)).dtype == torch.float32
    expected = torch.where(VISIBLE, X[:, None], blurred(X, 12 / 8)[:, None])
    assert (shown(X, "blur") == expected).all()
    assert (shown(X, Blur()) == expected).all()
    assert not torch.equal(shown(X, Blur(3)), expected)


def test_blur_agrees_with_opencv_inside():
    cv2 = pytest.importorskip("cv2")
    x = pictures(1, 1, 64, 64)
    expected = cv2.GaussianBlur(x[0, 0].numpy(), (31, 31), 2.0)
    assert blurred(x, 2.0)[0, 0, 20:44, 20:44].numpy() == pytest.approx(expected[20:44, 20:44], abs=1e-6)


@pytest.mark.parametrize("settings", ["inpaint", Inpaint("ns"), Inpaint(radius=2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inpainting(settings, dtype):
    pytest.importorskip("cv2")
    x = smooth().to(dtype)
    rows, visible = shown(x, settings), VISIBLE.expand(2, 6, 3, 16, 12)
    original, mean = x[:, None].expand_as(rows), x.mean((2, 3), keepdim=True).expand_as(x)
    assert rows.dtype == dtype
    assert (rows[visible] == original[visible]).all()  # bit by bit
    assert rows[:, 0].numpy() == pytest.approx(mean.numpy(), abs=1e-6)  # nothing to go by
    hidden = ~visible[:, 2:]
    guessed = (rows - original)[:, 2:][hidden].abs().mean()
    assert guessed < (mean[:, None] - original)[:, 2:][hidden].abs().mean() * 0.8
    assert len(rows[:, 2:][hidden].unique()) > 300  # of 8 bits there would be fewer
    larger = shown(x * 1024 - 512, settings)
    assert larger.numpy() == pytest.approx((rows * 1024 - 512).numpy(), abs=0.1)


def test_inpainting_agrees_with_shap():
    shap = pytest.importorskip("shap")
    pytest.importorskip("cv2")
    x = (smooth(1) * 255).round()
    nhwc = x[0].permute(1, 2, 0).numpy().copy()
    masker = shap.maskers.Image("inpaint_telea", nhwc.shape)
    for row, mask in zip(shown(x, "inpaint")[0], VISIBLE[:, 0].numpy(), strict=True):
        theirs = masker(np.repeat(mask[..., None], 3, axis=2).ravel(), nhwc)[0][0]
        difference = np.abs(row.permute(1, 2, 0).numpy() - theirs)
        assert difference.max() < 6  # they quantise to 8 bits on the way
        assert difference.mean() < 1


def test_inpainting_without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pip install opencv-python-headless.*blur"):
        DnCShap(network(), "inpaint", depth=2).attribute(X)
    DnCShap(network(), "blur", depth=2).attribute(X)


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
def test_background_is_the_mean_over_its_images(batch_size, monkeypatch):
    net, b = network(), pictures(5, 3, 16, 12, seed=1)
    monkeypatch.setattr("fercore.shapley.game._TRANSFER_ROWS", 16)  # more rows than fit at once
    game = ImageGame(net, X, as_baseline(Background(b), X), TREE.labels(), batch_size=batch_size)
    values = game.values(pack(MEMBERS))
    for i, m in np.ndindex(2, 6):
        with torch.inference_mode():
            expected = net(torch.where(VISIBLE[m], X[i], b)).softmax(1).mean(0).numpy()
        assert values[i, m] == pytest.approx(expected, abs=1e-14)
    assert game.evaluations.tolist() == [5 * 5 + 1] * 2  # the whole image needs no background
    own = np.stack([pack(MEMBERS)[:3], pack(MEMBERS)[3:]])
    assert game.each(own)[1] == pytest.approx(values[1, 3:], abs=1e-14)
    assert game.evaluations.tolist() == [26 + 11, 26 + 15]


def test_layouts_of_backgrounds():
    b = (pictures(2, 3, 16, 12, seed=1) * 2).to(torch.uint8)
    expected = DnCShap(network(), Background(b), depth=2).attribute(X, "all").region_scores
    for same, channels in (
        (list(b.double()), None),
        (b.permute(0, 2, 3, 1).numpy(), None),
        (b.numpy(), "first"),
    ):
        result = DnCShap(network(), Background(same, channels), depth=2).attribute(X, "all")
        assert result.region_scores == pytest.approx(expected, abs=1e-14)
    one, constant = (DnCShap(network(), b, depth=2).attribute(X) for b in (Background(b[:1]), b[0]))
    assert one.region_scores == pytest.approx(constant.region_scores, abs=1e-14)
    assert (one.evaluations == constant.evaluations).all()


def test_fillings_in_groups_of_images(monkeypatch):
    pytest.importorskip("cv2")
    explainers = [DnCShap(network(), b, depth=3) for b in ("inpaint", "mean", Background(X))]
    together = [explainer.attribute(smooth(3), "all") for explainer in explainers]
    monkeypatch.setattr("fercore.shapley.base._GROUP_IMAGES", 1)
    for explainer, result in zip(explainers, together, strict=True):
        apart = explainer.attribute(smooth(3), "all").region_scores
        assert apart == pytest.approx(result.region_scores, abs=1e-13)
