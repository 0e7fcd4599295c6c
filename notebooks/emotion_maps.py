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
# DnCShap. This page makes such maps for every emotion, on test images that are not copies of training images, and the
# mean map of each emotion.
#
# A map is only as good as what it is a map *of*. So this page first states the game that is played, then checks that
# the maps add up, and only then shows faces. At its end stand four maps of one face side by side: the paper's
# algorithm as printed, its released code, and the linear and the exact version used here.

# %% tags=["parameters"]
dataset = "faces"  # or "fer2013", "ferg", "jaffe", "ckplus"
model = ""  # "": on FER2013 the network that comes with fercore
fusion = "concatenate"
recipe = "paper"  # or "strong"
protocol = ""  # as splits.PROTOCOLS; "" takes the dataset's own
fold = 0
width = 0.25
epochs = 20
batch_size = 0  # 0: the recipe's (the paper's: 32 for FER2013, else 16)
precision = "float32"  # or "tf32", "bfloat16"
changes = {}  # other fields of fercore.recipes.Recipe, e.g. {"lr": 1e-3}
pretrained = True  # ImageNet weights, where a model has them
seed = 0
device = "auto"
examples = 3  # faces per emotion
depth = 6  # 2**depth regions
contexts = "exact"  # for the examples; what DnCShap accepts
mean_of = 24  # faces per emotion behind the mean maps, at most
mean_contexts = 8  # for the mean maps: K sampled contexts are unbiased

# %%
import numpy as np
import pandas as pd
import shap

from fercore import datasets, emotions, evaluation, experiments, maps
from fercore import models, plots, results
from fercore.datasets import splits
from fercore.shapley import DnCShap, PaperDnCShap, ReleasedDnCShap, build_tree

# %%
chosen = dict(epochs=epochs, precision=precision, seed=seed) | changes
setting = experiments.setting(
    dataset, model, fusion, width, fold, recipe, batch_size, pretrained, **chosen
)
own = {"examples": examples, "depth": depth, "contexts": contexts}
own |= {"mean_of": mean_of, "mean_contexts": mean_contexts, "protocol": protocol}
run = results.Run("emotion_maps", dataset, **setting.parameters(), **own)

# %% [markdown]
# ## The network and the faces
#
# On FER2013 the network is the one that comes with the package. Elsewhere it is that of the accuracy page: same settings,
# same data, same split, so its weights are found again instead of being trained again. The faces come from the test part, and only correctly classified ones are explained:
# a map of a wrong answer explains something else. Test images that are exact copies of training images are left out.
#
# Before hours of training, one line makes sure that the images can be halved as often as `depth` asks.

# %%
data = datasets.load(dataset)
parts = splits.split(data, protocol or None, fold, seed)
tree = build_tree(*data.images.shape[1:3], depth)
trained = experiments.trained(setting, data, parts, device)
test = data.subset(parts.test)
given = evaluation.predict(trained.model, test.images).softmax(dim=1).numpy()
correct = given.argmax(axis=1) == test.labels
eligible = correct & ~splits.duplicates(data, parts)
shares = {e.title: correct[test.labels == e] for e in test.emotions}
shares = {name: f"{hits.sum()} of {len(hits)}" for name, hits in shares.items()}
pd.Series(shares, name="correctly classified").to_frame()

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
# Which contexts? All unions of the siblings met on the way down make the scores exact: Owen values
# {cite:p}`owen1977values`, strictly Winter values on a tree of several levels {cite:p}`winter1989value`. That takes
# $2(n^2-1)/3 + 2$ evaluations for $n$ regions. A number of contexts per node that does not grow makes it linear: nothing
# else visible ("absent", $2n$), everything else visible ("present", $2n$), the mean of both ($4n - 4$), $K$ sampled ones (at
# most $2Kn + 2$), or the default, which chooses them where they teach most ("adaptive", $8n$). In all of them the scores of
# the halves sum to the score of the whole.
#
# The parameter `contexts` decides for the single faces, exact by default; `mean_contexts` for the mean maps, which need
# many faces: eight sampled contexts, whose errors have no bias and average out. A table says how far the linear scores
# are from the exact ones on the faces shown; the page "How good is linear?" asks it of all methods and budgets.

# %%
where = next(trained.model.parameters()).device


def explain(index, **options):
    """Explain test images; the keyword arguments go to DnCShap."""
    options |= {"depth": depth, "class_names": emotions.NAMES, "progress": True}
    explainer = DnCShap(trained.model, **options)
    return explainer.attribute(models.to_input(test.images[index], where))


# %%
chosen = maps.choose(test.labels, eligible, examples, seed)
explained = explain(chosen, contexts=contexts)
pictures = explained.pixel_map()[..., 0].sum(axis=-1)
print(f"{len(chosen)} faces, {explained.evaluations[0]} evaluations a face")

# %% [markdown]
# The faces are drawn at random among these, not picked by hand. Before looking at them, the
# sums: at every level of the tree the scores must add up to what there is to explain, $f_c(x) - f_c(b)$.

# %%
worth = explained.predictions - explained.base_values
gap = max(np.abs(level.sum(axis=1) - worth).max() for level in explained.levels)
map_gap = np.abs(pictures.sum(axis=(1, 2)) - worth[:, 0]).max()
print(f"largest gap on any level {gap:.0e}, of the maps {map_gap:.0e}")

# %% [markdown]
# ## Maps of single faces
#
# Red regions raise the probability of the emotion, blue regions lower it. Each map has its own colour scale, symmetric
# about zero; above it stands the probability that the network gives the emotion.

# %% mystnb={"figure": {"name": "fig-rows", "caption": "Test faces and their DnCShap maps, one row per emotion (the paper's Figures 5 to 11). Red raises the probability of the emotion, blue lowers it."}, "image": {"alt": "Grid of faces with coloured maps over them, one row for each emotion; red regions support the predicted emotion and blue regions speak against it."}}
captions = [f"p = {given[index].max():.2f}" for index in chosen]
faces, labels = test.images[chosen], test.labels[chosen]
plots.emotion_rows(faces, pictures, labels, captions, examples)

# %% [markdown]
# How to read a patch: its colour is the change in probability that this patch makes, averaged over the surroundings in
# which it may appear, from a black image to the whole face. A patch is not red because it is unusual or bright but
# because the network becomes surer of the emotion when the patch is there. A pale patch has no say, or says opposite
# things in different surroundings.
#
# Look for two things in {numref}`fig-rows`. First, whether red lies where a person would look: the paper names the smile
# for happiness, eyes and upper lip for surprise, the eyes for anger. Second, how much lies elsewhere: hair, background,
# the border of the image. A network may well use them, and a faithful map must then show it.
#
# The result is an ordinary `shap.Explanation`, so shap's own plot draws it too.

# %% mystnb={"figure": {"name": "fig-shap", "caption": "The first of these faces in the plot of the shap library."}, "image": {"alt": "A face beside its map of Shapley values as drawn by shap.image_plot, with a colour bar."}}
first = explain(chosen[:1], contexts=contexts)
shap.image_plot(first.explanation(), show=False)

# %% [markdown]
# How good is the linear version? Here is the same for the cheaper contexts: the correlation of their region scores with
# the exact ones, and the size of the difference relative to the exact scores, as means over the faces shown.

# %%
known = contexts == "exact"
reference = explained if known else explain(chosen, contexts="exact")
exact = reference.region_scores[..., 0]
rows = {}
for name in ("absent", "present", "both", 8, "adaptive"):
    cheap = explain(chosen, contexts=name)
    scores = cheap.region_scores[..., 0]
    size = np.linalg.norm(exact, axis=1)
    error = np.linalg.norm(scores - exact, axis=1) / size
    alike = [np.corrcoef(pair)[0, 1] for pair in zip(scores, exact)]
    rows[str(name)] = [int(cheap.evaluations[0]), np.mean(alike), error.mean()]
names = ["evaluations", "correlation", "relative error"]
agreement = pd.DataFrame.from_dict(rows, orient="index", columns=names)
agreement.round(2)

# %% [markdown]
# ## The mean map of an emotion
#
# Single maps are noisy. The mean over many correctly classified faces of one emotion shows what the network uses *in
# general*, as far as faces lie in the same place in all images. All maps share one colour scale.

# %%
several = maps.choose(test.labels, eligible, mean_of, seed)
signed = np.empty((len(several), *test.images.shape[1:3]))
for group in range(min(8, len(several))):  # sampled contexts: a seed each
    part = explain(several[group::8], contexts=mean_contexts, seed=group)
    signed[group::8] = part.pixel_map()[..., 0].sum(axis=-1)
mean = maps.average(signed, test.images[several], test.labels[several])
print(
    f"{len(several)} faces, {mean_contexts!r}: {part.evaluations[0]} evaluations each"
)

# %% mystnb={"figure": {"name": "fig-means", "caption": "Mean DnCShap map of each emotion over its mean face, on one colour scale."}, "image": {"alt": "One blurred mean face per emotion in a row, each under its mean map of Shapley values in red and blue."}}
plots.mean_maps(mean.faces, mean.maps, mean.emotions, mean.counts)

# %% [markdown]
# A mean map can mislead in two ways. Where faces are not aligned, features smear and cancel. And a network that looks at
# the left eye of one face and at the right eye of the next has a mean map with two pale eyes. So a pale mean map does
# not say that the network looks nowhere.
#
# How strong is the pattern in {numref}`fig-means` against the scatter of single faces? The table gives, for each
# emotion, the mean of $f_c(x) - f_c(b)$, which is what the map distributes, and the share of the map's energy (sum of
# squares) that the mean map keeps: 1 if all faces had the same map, about one over the number of faces if they had
# nothing in common.

# %%
columns = {
    "faces": mean.counts,
    "mean of f(x) - f(b)": mean.worth,
    "shared energy": mean.shared_energy,
}
titles = [emotion.title for emotion in mean.emotions]
pattern = pd.DataFrame(columns, index=titles)
pattern.round(3)

# %% [markdown]
# ## What the published algorithm draws
#
# The same face, four ways. `as printed` follows the paper's Algorithms 1 and 2, `as released` behaves like its code,
# both at 9 halvings as in the paper's figures. They cut strips through the *whole* image instead of halving the part in
# hand, so their map is a sum of a row profile and a column profile. Such a matrix has rank two at most: it can show
# bands, but not an eye.

# %%
one = models.to_input(test.images[chosen[:1]], where)
variants = {
    "as printed": PaperDnCShap(trained.model, times=9).attribute(one),
    "as released": ReleasedDnCShap(trained.model, times=9).attribute(one),
    "linear (adaptive)": explain(chosen[:1], contexts="adaptive"),
    "exact": explain(chosen[:1], contexts="exact"),
}
drawn = {name: v.pixel_map()[0].sum(axis=(2, 3)) for name, v in variants.items()}
ranks = [np.linalg.matrix_rank(m, rtol=1e-9) for m in drawn.values()]

# %%
found = variants.values()
facts = {
    "model calls": [v.calls or v.evaluations[0] for v in found],
    "distinct": [v.evaluations[0] for v in found],
    "sum / (f(x) - f(b))": [v.region_scores.sum() / worth[0, 0] for v in found],
    "rank": ranks,
}
pd.DataFrame(facts, index=list(variants)).round(2)

# %% mystnb={"figure": {"name": "fig-published", "caption": "One face under the printed algorithm, under the behaviour of the released code, and under the two versions of this project."}, "image": {"alt": "A face and four maps of it: the two published variants show horizontal and vertical bands only, the other two show localised regions."}}
plots.labelled_maps(test.images[chosen[0]], drawn)

# %% [markdown]
# The table first: the published procedure calls the model 1,024 times, although only 94 of the inputs differ, because the
# strips of different branches of the recursion coincide. Then the sums: a map of Shapley values must distribute exactly
# $f_c(x) - f_c(b)$, so the column should read 1.
#
# The bands in the first two maps of {numref}`fig-published` are a property of the algorithm, not of the face. The
# sum of the printed one misses $f_c(x) - f_c(b)$ by a factor that doubles with every halving after the second, that of
# the released one by no fixed factor: neither is a Shapley value of anything. {ref}`paper` derives these facts.
#
# ## The record

# %%
facts = {
    "efficiency_gap": float(gap),
    "evaluations_per_face": int(explained.evaluations[0]),
    "agreement_with_exact": agreement.to_dict(orient="index"),
    "emotions": pattern.to_dict(orient="index"),
}
record = run.finish(
    setting.name(parts), data, facts, where, parts.protocol, key=trained.key
)
print("Record:", results.place(record))
