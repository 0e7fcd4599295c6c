"""The study: no leakage, resuming, controls, SVMs, verdicts, groups of landmarks as players, figures."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from ferlab import temo
from ferlab.figures import facial
from ferlab.temo import gradients, groups, other, ranking, selection, study, verdicts
from ferlab.temo.svm import inner_split
from sklearn.feature_selection import f_classif
from sklearn.svm import SVC
from temo_toys import toy

from fercore.errors import DatasetError
from fercore.shapley.exact import exact_owen, exact_shapley

QUICK = temo.Recipe(epochs=4, hidden=4)
PLAN = temo.Plan(sizes=(12, 6, 3), steps=8, draws=2, grid=(1.0,), recipe=QUICK, neutral=2)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> temo.Study:
    return temo.run(toy(120), PLAN, folder=tmp_path_factory.mktemp("project"), progress=False)


def test_answers_of_test_clips_do_not_reach_the_selection(done, tmp_path):
    """On the test clips of fold 0 point 9 shouts the class: all folds but that one hear it."""
    clips = toy(120)
    parts = temo.folds(clips)
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(120))
    assert not any(set(clips.groups[train]) & set(clips.groups[test]) for train, test in parts)
    loud, points = parts[0][1], clips.points.copy()
    points[loud, :, 9, 0] = 20.0 * (clips.labels[loud, None] - 1)
    planted = temo.run(replace(clips, points=points), PLAN, folder=tmp_path, progress=False)
    for name in temo.BASELINES:
        assert (planted.relevance[name][0] == done.relevance[name][0]).all()
    assert (temo.top(planted.relevance["mean"][1:], 3) == 9).any(axis=2).all()


def test_rows_of_a_study(done):
    counted = Counter((row["method"], row["k"]) for row in done.rows)
    binary = 5 * 3  # folds x classes
    expected = dict.fromkeys([("all", 12), (study.OURS, 6), (study.OURS, 3), ("univariate F", 3)], binary)
    expected |= {("all, frozen embedding", 12): binary, ("random", 3): 2 * binary}
    for k in PLAN.sizes:
        expected |= {("linear SVM", k): binary, ("rbf SVM", k): binary, ("all classes in one", k): 5}
    assert counted == expected
    assert all(0 <= row[measure] <= 1 for row in done.rows for measure in ("accuracy", "balanced"))
    assert done.combined().sum(axis=1) == pytest.approx(np.ones(3))


def test_a_study_that_was_stopped_goes_on_and_damage_is_mended(tmp_path, monkeypatch):
    clips, explained, inside = toy(), [], gradients.relevance
    plan = replace(PLAN, grid=(), draws=0)
    monkeypatch.setattr(gradients, "relevance", lambda *args: explained.append(args) or inside(*args))

    def found(asked):
        done = temo.run(clips, asked, folder=tmp_path, progress=False)
        return len(explained), [
            done.rows,
            done.gaps,
            {name: own.tolist() for name, own in done.relevance.items()},
        ]

    count, first = found(plan)
    kept = sorted(tmp_path.glob("runs/toy/temo-*/fold-*.safetensors"))
    kept[1].unlink()
    kept[3].write_bytes(kept[3].read_bytes()[:-7])
    assert count == len(kept) == 5
    assert found(plan) == (7, first)
    assert found(replace(plan, seed=1))[0] == 12
    clips = replace(clips, groups=clips.groups[::-1])
    assert found(plan)[0] == 17  # of other clips nothing is kept


def test_selection_by_hand():
    assert temo.top(np.array([[1.0, 3, 3, 2]]), 3).tolist() == [[1, 2, 3]]  # ties by number
    scores = {"far": np.array([[1e6, 0]]), "near": np.array([[0, 1.0]])}
    assert selection.combine(scores).tolist() == [[0.5, 0.5]]
    still = toy(frames=1)
    expected, _ = f_classif(still.points.reshape(60, -1), still.labels == 1)
    assert temo.univariate(still, (1,))[0] == pytest.approx(expected.reshape(12, 2).sum(axis=1))


def test_contours_are_mediapipes():
    kept = set(temo.contours().tolist())
    assert len(kept) == 128
    brows = {276, 283, 282, 295, 285, 300, 293, 334, 296, 336, 46, 53, 52, 65, 55, 70, 63, 105, 66, 107}
    some = {61, 291, 0, 17, 13, 14, 78, 308, 33, 133, 263, 362, 10, 152, 234, 454}
    assert brows | some <= kept
    assert not kept & {1, 4, 168, 50, 280, 11, 12, 15, 16, 76, 62}  # nose, cheeks, the lips' inner rings


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_svm_is_scikit_learns(kernel):
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
    with pytest.raises(DatasetError, match="clips of one length"):
        temo.svm_scores(
            replace(train, lengths=np.r_[2, np.full(44, 3)]), test, np.arange(3), (0, 1, 2), kernel
        )
    fit, check = inner_split(train)  # C is chosen inside the training part
    assert not set(train.groups[fit]) & set(train.groups[check])
    chosen = temo.svm_scores(train, test, np.arange(12), (0, 1, 2), kernel)
    assert ((chosen > 0) == (test.labels[:, None] == np.arange(3))).mean() > 0.9


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
    by_fold = {("all", 4): [0.80, 0.81, 0.82], (study.OURS, 2): ours, ("random", 2): [0.5, 0.51, 0.52]}
    by_fold |= {("linear SVM", 2): svm, ("rbf SVM", 2): svm}
    about = {"class": 0, "balanced": 0.5}
    rows = [
        {**about, "fold": fold, "method": method, "k": k, "accuracy": value}
        for (method, k), values in by_fold.items()
        for fold, value in enumerate(values)
    ]
    costs = [{"k": 4, "parameters": 10, "flops": 9, "microseconds": 1.0}]
    costs += [{"k": 2, "parameters": 5, "flops": 5, "microseconds": 1.5}]
    judged = temo.judge(temo.Study(rows, {}, {}, (0,), replace(PLAN, sizes=(4, 2))), costs)
    found = {row["claim"]: row["verdict"] for row in judged}
    assert found["2 landmarks are better than 4"] == fewer
    assert found["T-EMO beats the two SVMs by 8 to 9 points on average"] == claimed
    assert found["parameters fall from 4 to 2 landmarks"] == "holds"
    assert found["measured time falls from 4 to 2 landmarks"] == "does not hold"
    half = 4.302652729911275 / 3**0.5  # Student's t
    assert verdicts.interval([1.0, 2.0, 3.0]) == pytest.approx((2, 2 - half, 2 + half))
    assert verdicts.interval([1.0]) == (1, -np.inf, np.inf)


def test_what_a_record_and_its_page_show(done):
    costs = temo.costs(toy(), PLAN.sizes, QUICK, repeats=1)
    mean = {name: values.mean(axis=0) for name, values in done.relevance.items()}
    judged, agreement = {"accuracy": temo.judge(done, costs)}, pd.DataFrame(temo.agreement(mean, (3,)))
    frames = pd.DataFrame(costs).set_index("k"), pd.DataFrame(done.gaps).T, agreement
    again = json.loads(json.dumps(other.as_metrics(done, temo.table(done), judged, *frames)))
    assert again["methods"]["all_classes_in_one"].keys() == {"12", "6", "3"}
    assert again["agreement"].keys() >= {"zeros_and_mean", "random_and_other_class"}
    assert again["verdicts"]["accuracy"].keys() >= {"fewer_6", "fewer_3", "over_svms", "over_random", "flops"}
    assert all(len(row) == 3 for row in again["kept"].values())
    text = ranking.slider(done, np.random.default_rng(0).normal(size=(3, 12, 2)), costs)
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text)[1])
    assert sorted(data["classes"][0]["order"]) == list(range(12))
    assert set(data["classes"][1]["measured"]) == {"12", "6", "3"}
    assert text.count("<circle") == 3 * 3  # classes x the smallest set, for readers without script
    assert not re.search(r"(src|href)=", text)  # nothing is loaded
    face = temo.from_faces(characters=1, variants=1, frames=1, noise=0, progress=False).points[:3, 0]
    relevance = np.random.default_rng(0).random((3, 468))
    figure = facial.kept_landmarks(face, temo.top(relevance, 20), (0, 1, 2), relevance, columns=3)
    assert [axes.get_title() for axes in figure.axes] == ["Angry", "Disgust", "Fear"]
    assert [len(axes.collections[2].get_offsets()) for axes in figure.axes] == [20, 20, 20]
    assert len(facial.accuracy_by_size(temo.table(done)).axes) == 2
    assert len(facial.baseline_relevance(face[0], dict(enumerate(relevance))).axes) == 3
    assert facial.group_scores({"a": np.arange(14.0), "b": -np.arange(14.0)}, groups.names()).axes


def test_owen_values_of_any_game():
    assert groups.tree_of(groups.FACE).n_leaves == len(groups.names()) == 14
    players = groups.members()
    assert np.bincount(players, minlength=14).min() > 0
    assert (groups.names()[players[61]], groups.names()[players[291]]) == ("right mouth", "left mouth")
    table = np.random.default_rng(0).normal(size=256)
    asked = []
    game = lambda s: asked.extend(s.tolist()) or table[s @ (1 << np.arange(8))]  # noqa: E731
    values = groups.owen_values(game, groups.tree_of([[8], [4, 4], [2] * 4, [1] * 8]))
    assert len(asked) == len({tuple(row) for row in asked}) == 44  # 2 (8² - 1) / 3 + 2
    assert values == pytest.approx(exact_owen(game, 8), abs=1e-12)


def enumerated(game, sizes):
    """Owen values by their definition: a player's mean marginal contribution over unions of nodes beside its own."""
    count, found = len(sizes[-1]), []
    for player in range(count):
        node, beside = (0, count), []
        for edges in (np.cumsum([0, *level]) for level in sizes[1:]):
            spans = [(a, b) for a, b in itertools.pairwise(edges) if node[0] <= a and b <= node[1]]
            node = next(span for span in spans if span[0] <= player < span[1])
            beside += [span for span in spans if span != node]
        contexts = np.zeros((2 ** len(beside), count), dtype=bool)
        for row, shown in enumerate(itertools.product((False, True), repeat=len(beside))):
            for here, (start, end) in zip(shown, beside, strict=True):
                contexts[row, start:end] = here
        joined = contexts | (np.arange(count) == player)
        found.append((game(joined) - game(contexts)).mean())
    return np.array(found)


def test_owen_values_on_the_tree_of_the_face_are_those_of_the_definition():
    """The eyes are alone in their pair, so one branch of the tree ends before the others."""
    table = np.random.default_rng(1).normal(size=2**14)
    game = lambda s: table[s @ (1 << np.arange(14))]  # noqa: E731
    found = groups.owen_values(game, groups.tree_of(groups.FACE))
    assert found == pytest.approx(enumerated(game, groups.FACE), abs=1e-12)


@pytest.mark.parametrize("sizes", [((4,), (2, 2), (2, 1, 1), (1,) * 4), ((3,), (1, 1, 1))])
def test_trees_that_carry_over_what_is_cut_later_are_refused(sizes):
    with pytest.raises(ValueError, match="until it is one leaf"):
        groups.owen_values(lambda s: s.sum(axis=1), groups.tree_of(sizes))


def test_methods_agree_on_an_additive_game():
    worth = np.array([3.0, -1.0, 0.5, 2.0])
    game = lambda s: s @ worth + 1.0  # noqa: E731
    assert exact_shapley(game, 4) == pytest.approx(worth)
    assert groups.shap_values(game, 4, 64) == pytest.approx(worth)
    assert groups.lime_values(game, 4, 500) == pytest.approx(worth, abs=0.1)
    likeness = groups.likeness([{"Shapley": worth, "half": worth / 2}])["half"]
    assert likeness == pytest.approx({"correlation": 1, "kendall": 1, "error": 0.5, "sum": 0.5})


def test_explanations_of_a_clip_are_of_its_mixtures_with_the_baseline_and_add_up_to_the_same():
    clips = temo.from_faces(characters=5, variants=1, frames=2, progress=False)
    network = temo.fit(clips, np.arange(468), clips.classes, QUICK)
    one, base = clips.subset(np.array([5])), np.array(temo.baselines("mean", clips)[:1])
    coalitions = np.random.default_rng(0).random((6, 14)) < 0.5
    shown = np.where(coalitions[:, groups.members()][:, None, :, None], one.points, base)
    expected = network(torch.from_numpy(shown))[:, 1, 0].detach().numpy()
    game = groups.clip_game(network, 1, one, base, groups.members())
    assert game(coalitions) == pytest.approx(expected, abs=1e-5)
    found = groups.study(clips, temo.Plan(steps=64, recipe=temo.Recipe(epochs=20)), each=1, evaluations=64)
    assert len(found.labels) == len(found.scores) > 1
    for scores in found.scores:
        assert all(one.shape == (14,) for one in scores.values())
        for method in ("Owen (DnCShap)", "SHAP", "integrated gradients"):
            assert scores[method].sum() == pytest.approx(scores["Shapley"].sum(), rel=0.02)
    assert found.likeness["Owen (DnCShap)"]["correlation"] > 0.9


def test_tables_of_another_domain_go_through_the_same_code(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    values = rng.normal(size=(80, 6)) + 4 * labels[:, None] * (np.arange(6) == 4)
    clips = temo.from_table("numbers", values, labels)
    plan = temo.Plan(sizes=(6, 1), steps=8, grid=(), draws=1, neutral=0, recipe=replace(QUICK, each=True))
    found = temo.run(clips, plan, classes=(1,), folder=tmp_path, progress=False)
    assert temo.top(found.combined()[0], 1).tolist() == [4]
