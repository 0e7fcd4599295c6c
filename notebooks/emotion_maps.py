# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Emotion maps
#
# Which parts of a face made the network say "happy"? The paper's Figures 5 to 11 answer with one map per face, made by
# DnCShap. This page makes such maps for every emotion, on images that the network has not been trained on, and the mean
# map of each emotion.
#
# A map is only as good as what it is a map *of*. So this page first states the game that is played, then checks that
# the maps add up, and only then shows faces. At its end stand three maps of one face side by side: the paper's
# algorithm as printed, its released code, and the version used here.

# %% tags=["parameters"]
dataset = "faces"  # "faces" (rendered, always there) or "fer2013"
model = "proposed"
fusion = "concatenate"
protocol = ""  # "official", "subject" or "paper"; "" takes the dataset's own
fold = 0
width = 0.25
epochs = 20
batch_size = 0  # 0 takes the paper's: 32 for FER2013, 16 elsewhere
lr = 8e-4
min_lr = 8e-5
augment = "flip"
seed = 0
device = "auto"
examples = 3  # faces per emotion
depth = 8  # 2**depth regions for the examples
contexts = "both"  # "absent", "present", "both" or "exact"
mean_of = 24  # faces per emotion behind the mean maps, at most
mean_depth = 6  # 2**mean_depth regions for those

# %%
import numpy as np
import pandas as pd
import shap

from fercore import datasets, experiments, models, paper, plots, results, training
from fercore.datasets import splits
from fercore.shapley import DnCShap, PaperDnCShap, ReleasedDnCShap

# %%
recipe = training.Recipe(
    epochs, batch_size or paper.batch_size(dataset), lr, min_lr, augment=augment, seed=seed
)
setting = experiments.Setting(model, fusion, width, fold, recipe)
own = {
    "examples": examples,
    "depth": depth,
    "contexts": contexts,
    "mean_of": mean_of,
    "mean_depth": mean_depth,
}
run = results.Run(
    "emotion_maps",
    dataset,
    model=model,
    fusion=fusion,
    width=width,
    protocol=protocol,
    fold=fold,
    **vars(recipe),
    **own,
)

# %% [markdown]
# ## The network and the faces
#
# The network is the one of the accuracy page: same settings, same data, same split, so its weights are found again
# instead of being trained again. The faces come from the test part, and only correctly classified ones are explained:
# a map of a wrong answer explains something else.

# %%
data = datasets.load(dataset)
parts = splits.split(data, protocol or None, fold, seed)
trained = experiments.trained(setting, data, parts, device)
test = data.subset(parts.test)
probabilities = training.predict(trained.model, test.images).softmax(dim=1).numpy()
correct = probabilities.argmax(axis=1) == test.labels
counts = {e.title: f"{correct[test.labels == e].sum()} of {(test.labels == e).sum()}" for e in test.emotions}
pd.Series(counts, name="correctly classified").to_frame()

# %% [markdown]
# ## The game
#
# The players are regions of the image. A coalition $S$ of regions is shown to the network, the rest is black (the
# paper's baseline $b$), and the worth of the coalition is the probability of the class that the whole image gets:
#
# $$v(S) = f_c(x \text{ on } S,\ b \text{ elsewhere}).$$
#
# The image is halved again and again. A node $P = A \cup B$ of that tree passes its score on to its halves. In a context
# $C$ of visible pixels outside $P$ the two-player Shapley value (the paper's Equations 1 to 4) of $A$ is
#
# $$
# \varphi_A(C) = \tfrac12\,[v(C \cup A) - v(C)] + \tfrac12\,[v(C \cup P) - v(C \cup B)].
# $$
#
# `contexts="both"` takes the mean over two contexts, nothing else visible and everything else visible, which needs
# $4n - 4$ different evaluations for $n$ regions. What the two leave unexplained is shared by the halves, so that the scores of the
# halves always sum to the score of the whole. {cite:t}`shapley1953value` is the two-player case, {cite:t}`owen1977values`
# the one of players in groups, {cite:t}`winter1989value` the one of groups within groups.

# %%
explainer = DnCShap(
    trained.model, baseline="zero", output="probability", contexts=contexts, depth=depth, progress=True
)
confidence = probabilities.max(axis=1)
chosen = np.concatenate([np.flatnonzero(correct & (test.labels == e))[:examples] for e in test.emotions])
explained = explainer.attribute(models.to_input(test.images[chosen], next(trained.model.parameters()).device))
maps = explained.pixel_map()[..., 0].sum(axis=-1)
print(f"{len(chosen)} faces, {2**depth} regions each, {explained.evaluations[0]} evaluations each")

# %% [markdown]
# The first correctly classified faces of each emotion are taken, not the prettiest. Before looking at them, the sums:
# at every level of the tree the scores must add up to what there is to explain, $f_c(x) - f_c(b)$.

# %%
worth = explained.predictions - explained.base_values
gaps = [np.abs(level.sum(axis=1) - worth).max() for level in explained.levels]
print(
    f"largest gap over {len(gaps)} levels: {max(gaps):.1e}, map against f(x) - f(b): "
    f"{np.abs(maps.sum(axis=(1, 2)) - worth[:, 0]).max():.1e}"
)

# %% [markdown]
# ## Maps of single faces
#
# Red regions raise the probability of the emotion, blue regions lower it. Each map has its own colour scale, symmetric
# about zero; above it stands the probability that the network gives the emotion.

# %% mystnb={"figure": {"name": "fig-rows", "caption": "Test faces and their DnCShap maps, one row per emotion (the paper's Figures 5 to 11). Red raises the probability of the emotion, blue lowers it."}, "image": {"alt": "Grid of faces with coloured maps over them, one row for each emotion; red regions support the predicted emotion and blue regions speak against it."}}
captions = [f"p = {confidence[index]:.2f}" for index in chosen]
plots.emotion_rows(test.images[chosen], maps, test.labels[chosen], captions, examples)

# %% [markdown]
# Look for two things in {numref}`fig-rows`. First, whether red lies where a person would look: the paper names the smile
# for happiness, eyes and upper lip for surprise, the eyes for anger. Second, how much lies elsewhere: hair, background,
# the border of the image. A network may well use them, and a faithful map must then show it.
#
# The result is an ordinary `shap.Explanation`, so shap's own plot draws it too.

# %% mystnb={"figure": {"name": "fig-shap", "caption": "The first of these faces in the plot of the shap library."}, "image": {"alt": "A face beside its map of Shapley values as drawn by shap.image_plot, with a colour bar."}}
explanation = explainer(models.to_input(test.images[chosen[:1]], next(trained.model.parameters()).device))
shap.image_plot(explanation, show=False)

# %% [markdown]
# ## The mean map of an emotion
#
# Single maps are noisy. The mean over many correctly classified faces of one emotion shows what the network uses *in
# general*, as far as faces lie in the same place in all images. Here the regions are larger, and all maps share one
# colour scale.

# %%
coarse = DnCShap(trained.model, output="probability", contexts=contexts, depth=mean_depth, progress=True)
rows = [np.flatnonzero(correct & (test.labels == e))[:mean_of] for e in test.emotions]
kept = [(e, index) for e, index in zip(test.emotions, rows) if len(index)]
several = np.concatenate([index for _, index in kept])
result = coarse.attribute(models.to_input(test.images[several], next(trained.model.parameters()).device))
signed = result.pixel_map()[..., 0].sum(axis=-1)
pieces = np.split(np.arange(len(several)), np.cumsum([len(index) for _, index in kept])[:-1])
mean_map = np.stack([signed[piece].mean(axis=0) for piece in pieces])
mean_face = np.stack([test.images[several[piece]].mean(axis=0) for piece in pieces])

# %% mystnb={"figure": {"name": "fig-means", "caption": "Mean DnCShap map of each emotion over its mean face, on one colour scale."}, "image": {"alt": "One blurred mean face per emotion in a row, each under its mean map of Shapley values in red and blue."}}
plots.mean_maps(mean_face, mean_map, [e for e, _ in kept], [len(index) for _, index in kept])

# %% [markdown]
# How strong is the pattern in {numref}`fig-means` against the scatter of single faces? The table gives, for each
# emotion, the mean of $f_c(x) - f_c(b)$, which is what the map distributes, and the share of the map's energy (sum of
# squares) that the mean map keeps: 1 if all faces had the same map, about one over the number of faces if they had
# nothing in common.

# %%
energy = (signed**2).sum(axis=(1, 2))
pattern = pd.DataFrame(
    {
        "faces": [len(piece) for piece in pieces],
        "mean of f(x) - f(b)": [signed[piece].sum(axis=(1, 2)).mean() for piece in pieces],
        "shared energy": [(m**2).sum() / energy[piece].mean() for m, piece in zip(mean_map, pieces)],
    },
    index=[e.title for e, _ in kept],
)
pattern.round(3)

# %% [markdown]
# ## What the published algorithm draws
#
# The same face, three ways. `as printed` follows the paper's Algorithms 1 and 2, `as released` behaves like its code,
# both at 9 halvings as in the paper's figures. They cut strips through the *whole* image instead of halving the part in
# hand, so their map is a sum of a row profile and a column profile. Such a matrix has rank two at most: it can show
# bands, but not an eye.

# %%
one = models.to_input(test.images[chosen[:1]], next(trained.model.parameters()).device)
variants = {
    "as printed": PaperDnCShap(trained.model, times=9).attribute(one),
    "as released": ReleasedDnCShap(trained.model, times=9).attribute(one),
    "this project": DnCShap(trained.model, contexts=contexts, depth=depth).attribute(one),
}
drawn = {name: found.pixel_map()[0].sum(axis=(2, 3)) for name, found in variants.items()}
facts = {
    "calls": [found.calls or found.evaluations[0] for found in variants.values()],
    "distinct": [found.evaluations[0] for found in variants.values()],
    "sum / (f(x) - f(b))": [f.region_scores[0].sum() / worth[0, 0] for f in variants.values()],
    "rank": [np.linalg.matrix_rank(m, tol=1e-9 * np.abs(m).max()) for m in drawn.values()],
}
pd.DataFrame(facts, index=list(drawn)).round(3)

# %% mystnb={"figure": {"name": "fig-published", "caption": "One face under the printed algorithm, under the behaviour of the released code, and under the version of this project."}, "image": {"alt": "A face and three maps of it: the two published variants show horizontal and vertical bands only, the third shows localised regions."}}
plots.labelled_maps(test.images[chosen[0]], drawn)

# %% [markdown]
# The bands in the first two maps of {numref}`fig-published` are a property of the algorithm, not of the face. Their
# sums miss $f_c(x) - f_c(b)$ by a factor that doubles with each halving: beyond depth two they are not Shapley values of
# anything. The chapter on the paper derives both facts.
#
# ## The record

# %%
record = run.finish(
    setting.name(parts),
    data,
    {
        "efficiency_gap": float(max(gaps)),
        "evaluations_per_image": int(explained.evaluations[0]),
        "seconds_per_image": explained.compute_time / len(chosen),
        "emotions": pattern.to_dict(orient="index"),
    },
    training.choose_device(device),
    parts.protocol,
    key=trained.key,
)
print("Record:", results.place(record))
