"""Selection without leakage, controls, SVMs, verdicts, groups of landmarks, and the figures."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from ferlab import temo
from ferlab.temo import groups, ranking, selection, study, verdicts
from ferlab.temo.svm import inner_split
from temo_toys import toy

from fercore.errors import DatasetError
from fercore.shapley.exact import exact_owen, exact_shapley

QUICK = temo.Recipe(epochs=4, hidden=4)
PLAN = temo.Plan(sizes=(12, 6, 3), steps=8, draws=2, grid=(1.0,), recipe=QUICK, neutral=2)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> temo.Study:
    return temo.run(toy(120), PLAN, folder=tmp_path_factory.mktemp("project"), progress=False)


def planted(where: np.ndarray) -> temo.LandmarkClips:
    """Clips whose point 9 shouts the class on the rows ``where``, and says nothing elsewhere."""
    clips = toy(120)
    points = clips.points.copy()
    points[where, :, 9, 0] = 20.0 * (clips.labels[where, None] - 1)
    return replace(clips, points=points)


def test_answers_of_test_clips_do_not_reach_the_selection():
    train, test = temo.folds(toy(120))[0]
    tops = {}
    for name, where in {"nothing": train[:0], "test": test, "training": train}.items():
        clips = planted(where)
        part = clips.subset(train)
        network = temo.fit(part, np.arange(12), clips.classes, temo.Recipe(epochs=20, hidden=4))
        scores, _ = study.select(network, part, PLAN)
        tops[name] = temo.top(selection.combine(scores), 3), temo.top(temo.univariate(part, (0, 1, 2)), 3)
    for method in (0, 1):
        assert (tops["nothing"][method] == tops["test"][method]).all()
    # The plant is strong enough to be found by whoever looks at it.
    assert all(9 in row for row in tops["training"][0])
    # F sees that class 0 and class 2 lie at the ends; class 1 lies in the middle, between the others.
    assert all(9 in tops["training"][1][label] for label in (0, 2))


def test_folds_keep_what_the_study_scores_apart(monkeypatch, tmp_path):
    """A plant in the test part of every fold changes no ranking of a whole run."""
    seen = []
    inside = study.select
    monkeypatch.setattr(study, "select", lambda *args: seen.append(args[1]) or inside(*args))
    clips = toy(120)
    temo.run(clips, PLAN, folder=tmp_path, progress=False)
    assert len(seen) == 5
    rows = {clip.tobytes(): group for clip, group in zip(clips.points, clips.groups, strict=True)}
    for train in seen:
        left_out = set(clips.groups) - set(train.groups)
        assert left_out
        assert not left_out & {rows[clip.tobytes()] for clip in train.points}


def test_rows_of_a_study(done):
    counted: dict[tuple[str, int], int] = {}
    for row in done.rows:
        assert 0 <= row["balanced"] <= 1
        counted[row["method"], row["k"]] = counted.get((row["method"], row["k"]), 0) + 1
    binary = 5 * 3  # folds x classes
    assert counted["all", 12] == counted["integrated gradients", 6] == counted["univariate F", 3] == binary
    assert counted["random", 3] == 2 * binary
    assert counted["linear SVM", 6] == counted["rbf SVM", 12] == binary
    assert counted["all classes in one", 3] == 5
    assert ("contours", 3) not in counted
    assert done.combined().shape == (3, 12)
    assert set(done.gaps) == set(temo.BASELINES)


def test_a_study_that_was_stopped_goes_on_and_damage_is_mended(done, tmp_path, monkeypatch):
    clips, calls = toy(120), []
    inside = study._fold
    monkeypatch.setattr(study, "_fold", lambda *args: calls.append(args[-1]) or inside(*args))
    first = temo.run(clips, PLAN, folder=tmp_path, progress=False)
    assert sorted(calls) == [0, 1, 2, 3, 4]
    kept = sorted(tmp_path.glob("runs/toy/temo-*/fold-*.json"))
    kept[1].unlink()
    kept[3].write_text("{")
    again = temo.run(clips, PLAN, folder=tmp_path, progress=False)
    assert sorted(calls[5:]) == [1, 3]
    assert again.rows == first.rows
    temo.run(clips, replace(PLAN, seed=1), folder=tmp_path, progress=False)
    assert len(calls) == 12


def test_bad_requests_are_named():
    clips = toy(120)
    with pytest.raises(ValueError, match="k=469: choose a whole number of landmarks from 1 to 468"):
        temo.top(np.zeros((7, 468)), 469)
    with pytest.raises(ValueError, match=r"clips have 12 landmarks"):
        temo.run(clips, replace(PLAN, sizes=(12, 13)))
    with pytest.raises(ValueError, match=r"clips have 12 landmarks"):
        temo.run(clips, replace(PLAN, sizes=(6, 3)))
    few = clips.subset(np.r_[np.flatnonzero(clips.labels < 2), np.flatnonzero(clips.labels == 2)[:4]])
    with pytest.raises(DatasetError, match="class 2 has 4 clips, too few for 5 folds"):
        temo.folds(few)
    crowd = toy(120, groups=4)
    with pytest.raises(DatasetError, match="class 0 has 4 groups, too few for 5 folds"):
        temo.folds(crowd)
    with pytest.raises(DatasetError, match="one class only"):
        temo.folds(toy(classes=1))
    uneven = replace(clips, lengths=np.r_[[2], np.full(119, 3)])
    with pytest.raises(DatasetError, match="clips of one length; these have 2 to 3 frames"):
        temo.svm_scores(uneven, clips, np.arange(3), (0, 1, 2), "linear")


def test_top_is_stable_and_ordered():
    assert temo.top(np.array([[1.0, 3, 3, 2]]), 3).tolist() == [[1, 2, 3]]


def test_combining_weighs_baselines_alike():
    scores = {"far": np.array([[1e6, 0]]), "near": np.array([[0, 1.0]])}
    assert selection.combine(scores).tolist() == [[0.5, 0.5]]


def test_contours_are_mediapipes():
    kept = set(temo.contours().tolist())
    assert len(kept) == 128
    brows = {276, 283, 282, 295, 285, 300, 293, 334, 296, 336, 46, 53, 52, 65, 55, 70, 63, 105, 66, 107}
    some = {61, 291, 0, 17, 13, 14, 78, 308, 33, 133, 263, 362, 10, 152, 234, 454}
    assert brows | some <= kept
    assert not kept & {1, 4, 168, 50, 280, 11, 12, 15, 16, 76, 62}  # nose, cheeks, the lips' inner rings


def test_univariate_f_is_scikit_learns():
    from sklearn.feature_selection import f_classif

    clips = toy(frames=1)
    expected, _ = f_classif(clips.points.reshape(60, -1), clips.labels == 1)
    assert temo.univariate(clips, (1,))[0] == pytest.approx(expected.reshape(12, 2).sum(axis=1))


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_svm_is_scikit_learns(kernel):
    from sklearn.svm import SVC

    clips = toy()
    train, test = clips.subset(np.arange(45)), clips.subset(np.arange(45, 60))
    flat = [part.points[:, :, [3, 1]].reshape(len(part), -1).astype(float) for part in (train, test)]
    mean, spread = flat[0].mean(axis=0), (flat[0] - flat[0].mean(axis=0)).std()
    fit, seen = ((part - mean) / spread for part in flat)
    columns = fit.shape[1]
    scale = columns**0.5 if kernel == "linear" else 1.0
    machine = SVC(kernel=kernel, C=10, class_weight="balanced", gamma=1 / columns)
    expected = machine.fit(fit / scale, train.labels == 1).decision_function(seen / scale)
    ours = temo.svm_scores(train, test, np.array([3, 1]), (0, 1), kernel, grid=(10.0,))
    assert ours[:, 1] == pytest.approx(expected, abs=1e-2)


def test_c_is_chosen_inside_the_training_part():
    clips = toy(120)
    fit, check = inner_split(clips)
    assert not set(clips.groups[fit]) & set(clips.groups[check])
    train, test = clips.subset(np.arange(90)), clips.subset(np.arange(90, 120))
    decided = temo.svm_scores(train, test, np.arange(12), (0, 1, 2), "linear")
    assert ((decided > 0) == (test.labels[:, None] == np.arange(3))).mean() > 0.9


def made(gains: dict[tuple[str, int], list[float]], sizes=(4, 2)) -> temo.Study:
    """A study with given accuracies by fold."""
    rows = [
        {"fold": fold, "method": m, "k": k, "class": 0, "accuracy": value, "balanced": value}
        for (m, k), values in gains.items()
        for fold, value in enumerate(values)
    ]
    return temo.Study(rows, {}, {}, (0,), replace(PLAN, sizes=sizes))


@pytest.mark.parametrize(
    ("ours", "svm", "fewer", "claimed"),
    [
        ([0.90, 0.91, 0.92], [0.815, 0.825, 0.835], "holds", "holds"),  # 8.5 points, without spread
        ([0.90, 0.91, 0.92], [0.80, 0.81, 0.82], "holds", "does not hold"),  # 10 points
        ([0.70, 0.71, 0.72], [0.70, 0.72, 0.71], "does not hold", "does not hold"),
        ([0.70, 0.81, 0.92], [0.72, 0.65, 0.60], "undecided", "undecided"),
    ],
)
def test_verdicts_follow_from_the_numbers(ours, svm, fewer, claimed):
    gains = {("all", 4): [0.80, 0.81, 0.82], (study.OURS, 2): ours, ("random", 2): [0.5, 0.51, 0.52]}
    gains |= {("linear SVM", 2): svm, ("rbf SVM", 2): svm}
    costs = [{"k": 4, "parameters": 10, "flops": 9, "microseconds": 1.0}]
    costs += [{"k": 2, "parameters": 5, "flops": 5, "microseconds": 1.5}]
    rows = {row["claim"]: row["verdict"] for row in temo.judge(made(gains), costs)}
    assert rows["2 landmarks are better than 4"] == fewer
    assert rows["T-EMO beats the two SVMs by 8 to 9 points on average"] == claimed
    assert rows["parameters fall from 4 to 2 landmarks"] == "holds"
    assert rows["measured time falls from 4 to 2 landmarks"] == "does not hold"


def test_interval_is_students():
    mean, low, high = verdicts.interval([1.0, 2.0, 3.0])
    half = 4.302652729911275 / 3**0.5
    assert (mean, low, high) == pytest.approx((2, 2 - half, 2 + half))


def test_tree_of_the_face():
    tree = groups.face_tree()
    assert tree.n_leaves == len(groups.names()) == 14
    assert [tree.n_nodes(level) for level in range(5)] == [1, 2, 4, 7, 14]
    players = groups.members()
    assert np.bincount(players, minlength=14).min() > 0
    assert groups.names()[players[61]] == "right mouth"
    assert groups.names()[players[291]] == "left mouth"
    with pytest.raises(ValueError, match="cut in two"):
        groups.tree_of([[3], [1, 1, 1]])
    with pytest.raises(ValueError, match="each player alone"):
        groups.tree_of([[4], [2, 2]])


def test_owen_values_of_any_game():
    table = np.random.default_rng(0).normal(size=256)
    game = lambda s: table[s @ (1 << np.arange(8))]  # noqa: E731
    values, count = groups.owen_values(game, groups.tree_of([[8], [4, 4], [2] * 4, [1] * 8]))
    assert values == pytest.approx(exact_owen(game, 8), abs=1e-12)
    assert count == 44  # 2 (8² - 1) / 3 + 2


def test_game_shows_the_clip_where_players_are_present():
    clips = toy(points=12)
    network = temo.fit(clips, np.arange(12), (0, 1, 2), QUICK)
    players = np.arange(12) % 4
    one, base = clips.subset(np.array([5])), temo.baselines("mean", clips)[:1]
    game = groups.clip_game(network, 1, one, base, players)
    coalitions = np.random.default_rng(0).random((6, 4)) < 0.5
    shown = np.where(coalitions[:, players][:, None, :, None], one.points, base)
    expected = network(torch.from_numpy(shown))[:, 1, 0].detach().numpy()
    assert game(coalitions) == pytest.approx(expected, abs=1e-5)


def test_methods_agree_on_an_additive_game():
    worth = np.array([3.0, -1.0, 0.5, 2.0])
    game = lambda s: s @ worth + 1.0  # noqa: E731
    assert exact_shapley(game, 4) == pytest.approx(worth)
    assert groups.shap_values(game, 4, 64) == pytest.approx(worth)
    assert groups.lime_values(game, 4, 500) == pytest.approx(worth, abs=0.1)
    rows = [{"Shapley": worth, "half": worth / 2}]
    assert groups.likeness(rows)["half"] == pytest.approx(
        {"correlation": 1, "kendall": 1, "error": 0.5, "sum": 0.5}
    )


def test_tables_of_another_domain_go_through_the_same_code(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    values = rng.normal(size=(80, 6)) + 4 * labels[:, None] * (np.arange(6) == 4)
    clips = temo.from_table("numbers", values, labels)
    plan = temo.Plan(sizes=(6, 1), steps=8, grid=(), draws=1, neutral=0, recipe=replace(QUICK, each=True))
    found = temo.run(clips, plan, classes=(1,), folder=tmp_path, progress=False)
    assert temo.top(found.combined()[0], 1).tolist() == [4]


def test_slider_is_whole_without_script(done):
    faces = np.random.default_rng(0).normal(size=(3, 12, 2))
    text = ranking.slider(done, faces, temo.costs(toy(), PLAN.sizes, QUICK, repeats=1))
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text)[1])
    assert sorted(data["classes"][0]["order"]) == list(range(12))
    assert [row["k"] for row in data["measured"]] == [12, 6, 3]
    assert set(data["classes"][1]["measured"]) == {"12", "6", "3"}
    assert text.count("<circle") == 3 * 3  # classes x the smallest set
    assert "<noscript>" in text
    assert "<title>" in text
    assert not re.search(r"(src|href)=", text)  # nothing is loaded


def test_figures_draw_what_they_are_given(done):
    import matplotlib as mpl

    mpl.use("Agg")
    from ferlab.figures import facial

    face = temo.from_faces(characters=1, variants=1, frames=1, noise=0, progress=False).points[:3, 0]
    relevance = np.random.default_rng(0).random((3, 468))
    figure = facial.kept_landmarks(face, temo.top(relevance, 20), (0, 1, 2), relevance, columns=3)
    assert [axes.get_title() for axes in figure.axes] == ["Angry", "Disgust", "Fear"]
    assert [len(axes.collections[2].get_offsets()) for axes in figure.axes] == [20, 20, 20]
    figure = facial.accuracy_by_size(temo.table(done))
    assert len(figure.axes) == 2
    assert len(facial.baseline_relevance(face[0], dict(enumerate(relevance))).axes) == 3
    scores = {"a": np.arange(14.0), "b": -np.arange(14.0)}
    assert len(facial.group_scores(scores, groups.names()).axes[0].patches) == 28
