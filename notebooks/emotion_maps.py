# %% [markdown]
# # Emotion maps
#
# Which parts of a face made the network say "happy"? The paper's Figures 5 to 11 answer with a few maps per emotion, made by
# DnCShap. This page has a section for each emotion: test faces drawn at random, their maps, and the mean map of *all*
# correctly classified test faces of that emotion with its uncertainty.
#
# A map is only as good as what it is a map *of*. So the page first states the game that is played, then checks that
# the maps add up, and only then shows faces. At its end stand four maps of one face side by side: the paper's
# algorithm as printed, its released code, and the linear and the exact version used here. Whether the maps lie where
# anatomy expects them is the subject of the page "Facial regions".

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
changes = {}  # other fields of fercore.training.recipes.Recipe, e.g. {"lr": 1e-3}
pretrained = True  # ImageNet weights, where a model has them
seed = 0
device = "auto"
examples = 3  # faces per emotion
depth = 6  # 2**depth regions
contexts = "exact"  # for the examples; what DnCShap accepts
mean_depth = 6  # for the mean maps, of all correctly classified faces
mean_contexts = 2  # K sampled contexts are unbiased: errors average out

# %%
import numpy as np
import pandas as pd

from fercore import datasets, emotions, models
from fercore.datasets import splits
from fercore.emotions import Emotion
from fercore.shapley import DnCShap, PaperDnCShap, ReleasedDnCShap, build_tree
from ferlab import networks
from ferlab.figures import panels
from ferlab.runs import records
from ferlab.studies import maps

# %%
chosen = dict(epochs=epochs, precision=precision, seed=seed) | changes
setting = networks.setting(
    dataset, model, fusion, width, fold, recipe, batch_size, pretrained, **chosen
)
own = {"examples": examples, "depth": depth, "contexts": contexts}
own |= {"mean_depth": mean_depth, "mean_contexts": mean_contexts}
own |= {"protocol": protocol}
run = records.Run("emotion_maps", dataset, **setting.parameters(), **own)

# %% [markdown]
# ## The network and the faces
#
# On FER2013 the network is the one that comes with the package. Elsewhere it is that of the accuracy page: same settings,
# same data, same split, so its weights are found again instead of being trained again. The faces come from the test part, and
# only correctly classified ones are explained: a map of a wrong answer explains something else. Test images that are exact
# copies of training images are left out.
#
# Before hours of training, one line makes sure that the images can be halved as often as `depth` and `mean_depth` ask.

# %%
data = datasets.load(dataset)
parts = splits.split(data, protocol or None, fold, seed)
build_tree(*data.images.shape[1:3], max(depth, mean_depth))
trained = networks.trained(setting, data, parts, device)
test = data.subset(parts.test)
answers = networks.outcome(setting, data, parts, device)
given = answers.logits["test"].softmax(dim=1).numpy()
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
# many faces: sampled contexts, drawn anew for every group of faces, whose errors have no bias and average out.

# %%
where = next(trained.model.parameters()).device


def explain(index, **options):
    """Explain test images; the keyword arguments go to DnCShap."""
    options |= {"depth": depth, "class_names": emotions.NAMES, "progress": True}
    explainer = DnCShap(trained.model, **options)
    return explainer.attribute(models.to_input(test.images[index], where))


# %% [markdown]
# The faces are drawn at random among the correctly classified ones, not picked by hand. Before looking at them, the
# sums: at every level of the tree the scores must add up to what there is to explain, $f_c(x) - f_c(b)$.

# %%
chosen = maps.choose(test.labels, eligible, examples, seed)
explained = explain(chosen, contexts=contexts)
pictures = explained.pixel_map()[..., 0].sum(axis=-1)
worth = explained.predictions - explained.base_values
gap = max(np.abs(level.sum(axis=1) - worth).max() for level in explained.levels)
map_gap = np.abs(pictures.sum(axis=(1, 2)) - worth[:, 0]).max()
print(f"{len(chosen)} faces, {explained.evaluations[0]} evaluations a face")
print(f"largest gap on any level {gap:.0e}, of the maps {map_gap:.0e}")

# %% [markdown]
# How good is the linear version? Here are the cheaper contexts: the correlation of their region scores with
# the exact ones, and the size of the difference relative to the exact scores, as means over the faces shown. The page
# "How good is linear?" asks this of all methods and budgets.

# %%
known = contexts == "exact"
reference = explained if known else explain(chosen, contexts="exact")
exact, rows = reference.region_scores[..., 0], {}
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
# ## All faces
#
# Single maps are noisy. The mean over all correctly classified faces of an emotion shows what the network uses *in
# general*, as far as faces lie in the same place in all images. The faces are explained in chunks; a run that is stopped
# goes on with the next chunk, and what has been computed is kept in one small file.

# %%
faces = np.flatnonzero(eligible)
scored = maps.explain_all(
    trained.model,
    test.images[faces],
    dataset,
    f"{setting.name(parts)}-{2**mean_depth}",
    mean_depth,
    mean_contexts,
    seed,
)
mean = maps.average(scored.maps(), test.images[faces], test.labels[faces])
captions = [f"p = {given[index].max():.2f}" for index in chosen]
shown = test.images[chosen], pictures, test.labels[chosen], captions, mean
gallery = panels.Gallery(*shown)
print(f"{len(faces)} faces, {scored.evaluations:.0f} evaluations each")

# %% [markdown]
# How to read the figures. The first columns are test faces; above each stands the probability that the network gives the
# emotion. Below a face lies the **positive part** of its map, red as in the paper: what speaks *for* the emotion. The
# third row shows the **signed** map: red raises the probability, blue lowers it. Each column has its own scale, symmetric
# about zero. The last column is the mean face with the mean map. Its hatched pixels are within two standard errors of
# zero: there the faces disagree, or have nothing to say.
#
# A patch's colour is the change in probability that the patch makes, averaged over the surroundings in which it may appear,
# from a black image to the whole face. A patch is not red because it is unusual or bright but because the network becomes
# surer of the emotion when the patch is there. A pale patch has no say, or says opposite things in different surroundings.
# A network may also use hair, background or the border of the image, and a faithful map must then show it.

# %% [markdown]
# ## Angry
#
# By FACS {cite:p}`ekman2002facs`, the expression is made of lowered brows, raised upper lids and tightened lips
# (action units 4, 5, 7, 23, 24). The paper sees features that are "vertically distributed with more emphasis on the
# eyes".

# %% mystnb={"figure": {"name": "fig-angry", "caption": "Angry (the paper's Figure 5): test faces and the mean face, the positive part of their maps, and the signed maps."}, "image": {"alt": "Faces labelled angry above two rows of maps; in the middle row red marks what speaks for angry, in the lower row red speaks for it and blue against it; the last column is the mean."}}
reason = maps.why_none(Emotion.ANGRY, test.labels, correct, eligible)
panels.emotion(gallery, Emotion.ANGRY, examples, reason)

# %% [markdown]
# ## Disgust
#
# By FACS {cite:p}`ekman2002facs`, the expression is made of a wrinkled nose and a raised upper lip (9, 10, also 15
# and 17). The paper shows maps and says nothing of them.

# %% mystnb={"figure": {"name": "fig-disgust", "caption": "Disgust (the paper's Figure 6): test faces and the mean face, the positive part of their maps, and the signed maps."}, "image": {"alt": "Faces labelled disgust above two rows of maps; in the middle row red marks what speaks for disgust, in the lower row red speaks for it and blue against it; the last column is the mean."}}
reason = maps.why_none(Emotion.DISGUST, test.labels, correct, eligible)
panels.emotion(gallery, Emotion.DISGUST, examples, reason)

# %% [markdown]
# ## Fear
#
# By FACS {cite:p}`ekman2002facs`, the expression is made of raised and drawn-together brows, wide eyes, stretched
# lips (1, 2, 4, 5, 7, 20, 25, 26). The paper shows maps and says nothing of them.

# %% mystnb={"figure": {"name": "fig-fear", "caption": "Fear (the paper's Figure 7): test faces and the mean face, the positive part of their maps, and the signed maps."}, "image": {"alt": "Faces labelled fear above two rows of maps; in the middle row red marks what speaks for fear, in the lower row red speaks for it and blue against it; the last column is the mean."}}
reason = maps.why_none(Emotion.FEAR, test.labels, correct, eligible)
panels.emotion(gallery, Emotion.FEAR, examples, reason)

# %% [markdown]
# ## Happy
#
# By FACS {cite:p}`ekman2002facs`, the expression is made of raised cheeks and pulled lip corners (6, 12, also 25).
# The paper sees "smile patterns".

# %% mystnb={"figure": {"name": "fig-happy", "caption": "Happy (the paper's Figure 8): test faces and the mean face, the positive part of their maps, and the signed maps."}, "image": {"alt": "Faces labelled happy above two rows of maps; in the middle row red marks what speaks for happy, in the lower row red speaks for it and blue against it; the last column is the mean."}}
reason = maps.why_none(Emotion.HAPPY, test.labels, correct, eligible)
panels.emotion(gallery, Emotion.HAPPY, examples, reason)

# %% [markdown]
# ## Sad
#
# By FACS {cite:p}`ekman2002facs`, the expression is made of raised inner brows and lowered lip corners (1, 4, 15,
# also 17). The paper sees features that are "distributed throughout the face vertically".

# %% mystnb={"figure": {"name": "fig-sad", "caption": "Sad (the paper's Figure 9): test faces and the mean face, the positive part of their maps, and the signed maps."}, "image": {"alt": "Faces labelled sad above two rows of maps; in the middle row red marks what speaks for sad, in the lower row red speaks for it and blue against it; the last column is the mean."}}
reason = maps.why_none(Emotion.SAD, test.labels, correct, eligible)
panels.emotion(gallery, Emotion.SAD, examples, reason)

# %% [markdown]
# ## Surprise
#
# By FACS {cite:p}`ekman2002facs`, the expression is made of raised brows, wide eyes and a dropped jaw (1, 2, 5, 25,
# 26). The paper sees "eyes and upper lips".

# %% mystnb={"figure": {"name": "fig-surprise", "caption": "Surprise (the paper's Figure 10): test faces and the mean face, the positive part of their maps, and the signed maps."}, "image": {"alt": "Faces labelled surprise above two rows of maps; in the middle row red marks what speaks for surprise, in the lower row red speaks for it and blue against it; the last column is the mean."}}
reason = maps.why_none(Emotion.SURPRISE, test.labels, correct, eligible)
panels.emotion(gallery, Emotion.SURPRISE, examples, reason)

# %% [markdown]
# ## Neutral
#
# FACS {cite:p}`ekman2002facs` expects nothing: no action unit belongs to it. The paper shows maps and says nothing of
# them. What speaks for a neutral face is, above all, what does not speak for another emotion.

# %% mystnb={"figure": {"name": "fig-neutral", "caption": "Neutral (the paper's Figure 11): test faces and the mean face, the positive part of their maps, and the signed maps."}, "image": {"alt": "Faces labelled neutral above two rows of maps; in the middle row red marks what speaks for neutral, in the lower row red speaks for it and blue against it; the last column is the mean."}}
reason = maps.why_none(Emotion.NEUTRAL, test.labels, correct, eligible)
panels.emotion(gallery, Emotion.NEUTRAL, examples, reason)

# %% [markdown]
# ## The mean maps side by side
#
# Above, every column has a scale of its own. On one common scale the emotions can be compared: an emotion whose faces
# reach a probability near one has more to distribute.

# %% mystnb={"figure": {"name": "fig-means", "caption": "Mean DnCShap map of each emotion over its mean face, on one colour scale; in brackets the number of faces."}, "image": {"alt": "One blurred mean face per emotion, each under its mean map of Shapley values in red and blue, with a common colour bar."}}
panels.mean_maps(mean.faces, mean.maps, mean.emotions, mean.counts)

# %% [markdown]
# A mean map can mislead in two ways. Where faces are not aligned, features smear and cancel. And a network that looks at
# the left eye of one face and at the right eye of the next has a mean map with two pale eyes. So a pale mean map does
# not say that the network looks nowhere.
#
# How strong is the pattern in {numref}`fig-means` against the scatter of single faces? The table gives, for each
# emotion, the mean of $f_c(x) - f_c(b)$, which is what the map distributes; the share of the map's energy (sum of
# squares) that the mean map keeps: 1 if all faces had the same map, about one over the number of faces if they had
# nothing in common; and the share of pixels that are further than two standard errors from zero. The noise of the
# sampled contexts counts as scatter here, so the true agreement is larger.

# %%
certain = np.abs(mean.maps) > 2 * mean.errors
columns = {
    "faces": mean.counts,
    "mean of f(x) - f(b)": mean.worth,
    "shared energy": mean.shared_energy,
    "pixels beyond 2 errors": certain.mean(axis=(1, 2)),
}
titles = [emotion.title for emotion in mean.emotions]
pattern = pd.DataFrame(columns, index=titles)
pattern.round(3)

# %% [markdown]
# ## What the published algorithm draws
#
# One face, four ways. `as printed` follows the paper's Algorithms 1 and 2, `as released` behaves like its code,
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
facts = {
    "model calls": [v.calls or v.evaluations[0] for v in variants.values()],
    "distinct": [v.evaluations[0] for v in variants.values()],
    "sum": [v.region_scores.sum() / worth[0, 0] for v in variants.values()],
    "rank": [np.linalg.matrix_rank(m, rtol=1e-9) for m in drawn.values()],
}
pd.DataFrame(facts, index=list(variants)).round(2)

# %% mystnb={"figure": {"name": "fig-published", "caption": "One face under the printed algorithm, under the behaviour of the released code, and under the two versions of this project."}, "image": {"alt": "A face and four maps of it: the two published variants show horizontal and vertical bands only, the other two show localised regions."}}
panels.labelled_maps(test.images[chosen[0]], drawn)

# %% [markdown]
# The table first: the published procedure calls the model 1,024 times, although only 94 of the inputs differ, because the
# strips of different branches of the recursion coincide. Then the sums: a map of Shapley values must distribute exactly
# $f_c(x) - f_c(b)$, so *sum*, the sum of the scores over it, should read 1.
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
print("Record:", records.place(record))
