# %% [markdown]
# # Explainers
#
# The paper compares DnCShap with SHAP, LIME and Grad-CAM in two small study. Table 3 gives a theoretical cost and
# an execution time for each. Table 4 gives the overlap of three kinds of maps with those of SHAP. From these it
# concludes that DnCShap is cheaper than SHAP and closest to it.
#
# This page measures what the tables are about. It runs the methods on the same faces and the same network, counts
# evaluations and seconds, and asks of every overlap what chance alone would give. Then it asks the question that
# an overlap cannot answer: which map says most about what the network does? The chapter {ref}`verdict` draws the
# conclusions.

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
images = 100  # test faces, spread over the emotions
depth = 6  # 2**depth regions
exact = False  # also the exact values: 2,732 evaluations for 64 regions
lime_samples = 2000  # as the authors
gradient_samples = 200  # as the authors
steps = 24  # of insertion and deletion
repeats = 10  # faces for the noise and the randomised network
noises = 2  # noisy copies of each
scales = [4, 5, 6, 7, 8]  # halvings for the growth of the cost

# %%
import numpy as np
import pandas as pd

from fercore import datasets, models
from fercore.datasets import splits
from ferlab import networks, provenance
from ferlab.explainers import METHODS, Settings, store
from ferlab.figures import charts, panels
from ferlab.measures import names as measure_names, overlap, sanity
from ferlab.measures.localisation import area_share
from ferlab.runs import records
from ferlab.studies import explainers as study, maps, paper

# %%
chosen = dict(epochs=epochs, precision=precision, seed=seed) | changes
setting = networks.setting(
    dataset, model, fusion, width, fold, recipe, batch_size, pretrained, **chosen
)
own = {"images": images, "depth": depth, "exact": exact, "steps": steps}
own |= {"lime_samples": lime_samples, "gradient_samples": gradient_samples}
own |= {"repeats": repeats, "noises": noises, "scales": scales}
own |= {"protocol": protocol}
run = records.Run("explainers", dataset, **setting.parameters(), **own)

# %% [markdown]
# ## The network and the faces
#
# On FER2013 the network is the one that comes with the package, elsewhere that of the accuracy page. The faces are
# drawn at random among the test images that it classifies correctly, spread evenly over the emotions as far as
# there are enough. Copies of training images are left out. All methods explain the same number: the softmax
# probability of the class that the network gives to the whole image.

# %%
known = {"masks": True} if dataset == "faces" else {}
data = datasets.load(dataset, **known)
parts = splits.split(data, protocol or None, fold, seed)
trained = networks.trained(setting, data, parts, device)
test = data.subset(parts.test)
answers = networks.outcome(setting, data, parts, device)
predicted = answers.predicted("test", mirror=False)
drawn = maps.draw(data, parts, predicted, images, seed)
print(f"{len(drawn)} faces drawn, {(predicted == test.labels).sum():,} are right")

# %% [markdown]
# ## The methods and what they cost
#
# Hidden regions are black, as in the paper. DnCShap, PartitionExplainer and KernelSHAP have the same regions, and where
# their number of evaluations is free it is the same: eight for each region. The published variants, LIME and occlusion
# have cells, segments and windows of their own; LIME and GradientExplainer take the samples set above. A *context* is what
# else is shown while a region is hidden or shown. *Owen values* are Shapley values on a tree: regions are
# shown in random order, but each half of a split as one block. A method is *efficient* if its map always sums to the
# probability of the face minus that of a black image.
#
# - **DnCShap**: the default (adaptive contexts), two fixed contexts ("both"), and, if `exact` is set, all contexts. As
#   printed and as released are the algorithm of the paper and the behaviour of its code, at nine halvings.
# - **PartitionExplainer** {cite:p}`lundberg2017unified` of the package shap: Owen values on the same tree, best first.
# - **GradientExplainer** of shap: expected gradients {cite:p}`erion2021improving`. This is what the authors' code calls
#   SHAP. Its baselines are 100 training images here; the released code takes all images, the explained one
#   among them, and adds noise (`local_smoothing=1`), which is left out here.
# - **KernelSHAP** of shap {cite:p}`lundberg2017unified`, the regions as superpixels.
# - **LIME** {cite:p}`ribeiro2016should` as the authors call it: its own segments, each hidden by its mean colour. They are
#   found on the face enlarged to the authors' 224 pixels, because at 48 its default finds next to none. The map has all
#   segments, positive and negative, not the first five.
# - **Grad-CAM** {cite:p}`selvaraju2017gradcam` of captum, at the last layer that still has six cells a side.
# - **Integrated gradients** {cite:p}`sundararajan2017axiomatic` from black, and **occlusion** {cite:p}`zeiler2014visualizing`,
#   both of captum.
# - Two controls that know nothing of the network: a **random map**, another one for each image, and
#   one fixed Gaussian in the **centre**.

# %%
where = next(trained.model.parameters()).device
x, targets = models.to_input(test.images[drawn], where), predicted[drawn]
some = np.random.default_rng(seed).permutation(parts.train)[:100]
settings = Settings(
    depth=depth,
    lime_samples=lime_samples,
    gradient_samples=gradient_samples,
    background=models.to_input(data.images[some], where),
    seed=seed,
)
names = [name for name in METHODS if exact or name != "dnc_exact"]
folder = provenance.project_root() / "runs" / dataset / "explainers"
found = store.explain_all(names, trained.model, x, targets, settings, folder)
print("Measured on:", *sorted({made.hardware for made in found.values()}), sep="\n")

# %% [markdown]
# Costs as the runs counted them, medians over the faces. An evaluation is one image that passes through the network; a
# gradient passes back as well. Seconds are those of one image at a time, on the machine named above.

# %%
cost = study.costs(found)
cost.rename(index=measure_names.title).round(3)

# %% [markdown]
# The paper's Table 3 beside the same methods here. It does not say on which machine, for what size or for how many images
# its seconds are, so at most their order can be compared.
# That order depends on the numbers of samples.

# %%
study.table_3(cost).round(3)

# %% [markdown]
# How does the cost grow with the number $n$ of regions? For one face, the methods on the tree run at several depths, with $8n$
# evaluations where the budget is free. The exact values need $2(n^2-1)/3+2$ and are left out where that is more than
# 3,000.

# %% mystnb={"figure": {"name": "fig-growth", "caption": "Evaluations (left) and seconds (right) of one face against the number of regions, on logarithmic axes. Methods with the same budget share a line on the left."}, "image": {"alt": "Two panels of lines on logarithmic axes; one line per method on the partition tree. The line of the exact values is steeper than the others."}}
on_tree = ("dnc", "dnc_both", "partition", "dnc_exact")
measured = study.scaling(
    on_tree, trained.model, x[:1], targets[0], settings, scales
)
charts.growth(measured)

# %% [markdown]
# The exponent $b$ of a fit cost $= a\,n^b$, beside the cost in theory: 1 is linear, 2 quadratic. Each time was taken once, so
# the exponent of seconds is rough. Time can also grow more slowly than evaluations, because small numbers of regions do not
# fill the batches.

# %%
exponents = study.exponents(measured)
theory = [METHODS[name].cost for name in exponents.index]
exponents.assign(theory=theory).rename(index=measure_names.title).round(2)

# %% [markdown]
# So "linear" is not what sets DnCShap apart: `PartitionExplainer` with a budget that is proportional to $n$ is linear too. It is the
# *exact* values that are quadratic, for both. What a budget buys is the question of the rest of this page.
#
# ## The maps
#
# One face in each column. Every map has its own colour scale, symmetric about zero: red speaks for the class, blue
# against it. Grad-CAM is rectified and cannot say "against".

# %% mystnb={"figure": {"name": "fig-sheet", "caption": "Four of the faces and their maps under all methods."}, "image": {"alt": "A sheet of small maps over grey faces; for each method a row of four faces, in red and blue."}}
few = np.unique(np.linspace(0, len(drawn) - 1, 4).astype(int))
sheet = {name: maps_.values[few] for name, maps_ in found.items()}
panels.map_sheet(test.images[drawn[few]], sheet)

# %% [markdown]
# ## Table 4: the overlap with SHAP
#
# The paper's "Dice loss" is, in its code, the soft Dice coefficient
#
# $$D(a, b) = \frac{2\sum_p a_p b_p}{\sum_p a_p^2 + \sum_p b_p^2}.$$
#
# It depends on the scale: of a map and $c$ times the same map it is $2c/(1+c^2)$. The paper does not say how maps
# were scaled. Here every map has length 1, and $D$ is the cosine of the angle between them.
#
# What is a small overlap? Two maps that have *nothing* to do with each other do not reach zero once signs are dropped.
# For independent normal pixels the magnitudes overlap by $2/\pi$, since $\mathbb{E}|z| = \sqrt{2/\pi}$; the positive parts by
# $1/\pi$; the signed maps by 0. Real maps are no normal noise, so two levels are measured on these very maps:
# **pixels shuffled** keeps the values of a map and drops their places; **other faces** compares a map with those
# that the other method gives for other faces, so it keeps what is common to all faces, such as the middle of the image.
#
# An interval says how far a mean depends on which faces were drawn: the faces are drawn again 2,000 times from themselves,
# with repeats, and the middle 95 % of the means is the 95 % bootstrap interval.

# %%
simulated = {
    view: overlap.simulated_chance(view, seed=seed) for view in overlap.VIEWS
}
print(
    pd.DataFrame({"closed form": overlap.CHANCE, "simulated": simulated}).round(3)
)
references = ["gradient_shap", "partition", "kernel"]
references += ["dnc_exact"] if exact else []
dice = {
    view: study.overlap_table(study.overlaps(found, references, view), seed)
    for view in overlap.VIEWS
}
study.table_4(dice["magnitude"]).round(3)

# %% [markdown]
# Three of the four printed numbers stand above, with ours beside them: SHAP is GradientExplainer, DnCShap the behaviour of
# the released code, and the fourth, the overlap of SHAP with itself, is 1. The next figure has all methods, and more
# than one thing that is called SHAP.

# %% mystnb={"figure": {"name": "fig-overlap", "caption": "Overlap of magnitudes with each kind of SHAP: means over the faces with 95 % bootstrap intervals, and what chance gives for the same maps. Diamonds: the paper."}, "image": {"alt": "One panel per reference method; in each a dot with an interval per explainer, and two marks for the levels of chance."}}
printed = {
    name: paper.TABLE_4[column]
    for name, column in paper.COLUMNS.items()
    if column != "SHAP"
}
charts.overlap_dots(dice["magnitude"], printed)

# %% [markdown]
# A dot says something only by its distance from the two marks of its row. The table gives that distance from the mark of other
# faces, the harder of the two: the part of an overlap that is about the face in hand. Positive parts and signed
# maps are treated the same way.

# %%
excess = {
    view: frame.set_index(["method", "reference"]).excess.unstack()[references]
    for view, frame in dice.items()
}
names_of = {name: measure_names.title(name) for name in METHODS}
excess = pd.concat(excess, axis=1).reindex(n for n in names)
excess.rename(index=names_of, columns=names_of).round(2)

# %% [markdown]
# ## Which map says what the network does?
#
# Agreement with another method is no proof. These measures ask the network itself.
#
# - **Deletion** {cite:p}`petsiuk2018rise`: hide the pixels in the order of the map, the most relevant first. The mean probability along
#   the way should be low. **Insertion** starts from an empty image and shows them first; it should be high. What is
#   hidden is black or blurred: a network that has never seen black holes may fear the holes rather than miss the pixels.
# - **Infidelity** {cite:p}`yeh2019infidelity`: hide a random square. The map predicts the drop of the probability by its sum over
#   the square, up to one factor per face, which is fitted and may be negative. The mean squared error is given as a
#   share of the mean squared drop, so that 1 is a map that predicts nothing.
# - **Max-sensitivity** {cite:p}`yeh2019infidelity`: the largest relative change of a map under noise of at most 0.02 of the
#   range of a pixel. A map that ignores the image is perfectly steady, so it is no merit by itself.
#
# None of these is neutral. Black squares are what DnCShap, PartitionExplainer, KernelSHAP and occlusion have themselves
# asked about; GradientExplainer and LIME compare with other images and mean colours. And a map that scatters its largest
# values over single pixels tears the whole face apart at the first step of deletion, so even the random map can score
# well there. A score counts for a map only as far as it beats both controls.

# %%
scores = study.faithful(trained.model, x, targets, found, steps=steps, seed=seed)
again = maps.pick(test.labels[drawn], np.arange(len(drawn)), repeats)
small = (names, trained.model, x[again], targets[again], settings)
scores = study.merged(scores, study.steady(*small, noises))
table = study.scores(scores, seed)
shown = [m for m in measure_names.MEASURES if m in set(table.measure)]
study.readable(table)

# %% mystnb={"figure": {"name": "fig-faithful", "caption": "Faithfulness and steadiness: means over the faces with 95 % bootstrap intervals; grey: maps that know nothing of the network."}, "image": {"alt": "Six panels, one per measure, each with a dot and an interval for every explainer; the two controls are grey."}}
charts.intervals(table, shown)

# %% [markdown]
# Noise was added to few faces (`repeats`). The bootstrap of so few is too narrow: three values of the same sign always
# exclude zero. Read max-sensitivity for large differences only.
#
# Intervals of two methods may overlap although one is better on almost every face, because faces differ more than methods
# do. So the next table looks at differences on the same faces: is the default of DnCShap better or worse than
# each of the others? "Open" means that the 95 % interval of the mean difference holds zero. With this many
# comparisons, some may be decided by chance alone.

# %%
against = study.differences(scores, "dnc", seed)
duel = against.pivot(index="method", columns="measure", values="verdict")
duel = duel.reindex(index=[n for n in names if n != "dnc"], columns=shown)
duel.rename(index=measure_names.title, columns=measure_names.title).rename_axis(
    None
)

# %% [markdown]
# ## How far from the exact values?
#
# Where the exact values were computed, the efficient methods can be compared with what they estimate. (KernelSHAP estimates
# Shapley values, which differ from the Owen values of the tree; the page "How good is linear?" shows by how much.)

# %%
near = study.near_exact(found)
nothing = "Not computed here (exact=False); see the page 'How good is linear?'."
study.readable(study.scores(near, seed), 3) if exact else print(nothing)

# %% [markdown]
# ## Ground truth
#
# The embedded faces come with masks of the pixels that the expression moved. On them three scores can be had: the share
# of the positive part of a map that lies in the mask and the share of the mask among as many of the largest pixels
# {cite:p}`arras2022clevrxai`, and whether the largest pixel lies in the mask {cite:p}`zhang2018topdown`. Chance gives the share of the
# area on each. A neutral face has no mask and is left out. No photograph has such a truth.

# %% mystnb={"figure": {"name": "fig-truth", "caption": "Localisation of the pixels that the expression moved: means over the faces with 95 % bootstrap intervals; dashed: the share of the area."}, "image": {"alt": "Three panels of dots with intervals, one dot per explainer, and a dashed line for chance; or a sentence where there is no ground truth."}}
truth = test.extras["moved"][drawn] if "moved" in test.extras else None
located, chance = {}, np.nan
figure = panels.sentence(f"{data.title} has no ground truth.")
if truth is not None:
    located = study.located(found, truth)
    chance = float(np.nanmean(area_share(truth)))
    truth_table = study.scores(located, seed)
    level = dict.fromkeys(("mass", "rank", "pointing"), chance)
    figure = charts.intervals(truth_table, list(level), level)
figure

# %% [markdown]
# A low score need not be the explainer's fault: a network may use pixels that no muscle moved, and a faithful map must
# show them. What the scores can tell is whether a method finds the moved pixels more often than a map that
# always points to the centre.
#
# ## Does the map depend on the network?
#
# {cite:t}`adebayo2018sanity` replace what the network has learned by noise and look at the map again. Here the entries of
# every parameter are shuffled, the class and the statistics of batch normalisation stay. A map that stays the same does not
# explain the network. The controls stay exactly the same, by construction: their correlation is 1.

# %% mystnb={"figure": {"name": "fig-random", "caption": "Maps of the trained network and of the same network with shuffled weights: similarity, means over faces with 95 % bootstrap intervals. Near 0: the map depends on what was learned."}, "image": {"alt": "Three panels, one per measure of similarity, each with a dot and an interval for every explainer; the controls lie at 1."}}
shuffled = sanity.randomised(trained.model, seed)
about = (names, shuffled, x[again], targets[again], settings, folder)
before = study.rows(found, again)
dependent = study.dependent(before, store.explain_all(*about))
same = study.scores(dependent, seed)
charts.intervals(same, list(dependent["dnc"]))

# %% [markdown]
# Magnitudes stay more alike than signed maps where a method draws edges of the image, whatever the network. A map that is
# constant has no correlation and is left out; the record counts the faces behind every mean.
#
# ## The record

# %%
everything = study.merged(scores, near, located, dependent)
about = {"images": len(drawn), "regions": 2**depth, "packages": store.packages()}
about |= {"area": None if np.isnan(chance) else chance}
facts = about | study.facts(cost, exponents, dice, everything, seed)
record = run.finish(
    setting.name(parts), data, facts, where, parts.protocol, key=trained.key
)
print("Record:", records.place(record))
