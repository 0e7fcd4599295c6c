# %% [markdown]
# # Facial regions
#
# The maps of the page "Emotion maps" invite a reading: the network sees the smile, it looks at the eyes. The paper reads its
# own maps in this way. This page puts such readings into numbers. It assigns the pixels of every face to seven regions, measures
# how much of the maps lies in each, compares that with what the Facial Action Coding System expects, and gives each of the paper's
# sentences a verdict.

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
depth = 6  # 2**depth regions of the maps
contexts = 2  # K sampled contexts for each face: errors average out
released_of = 40  # faces per emotion under the released masking, at most

# %%
import numpy as np
import pandas as pd

from fercore import datasets, models
from fercore.datasets import splits
from fercore.emotions import Emotion
from fercore.shapley import ReleasedDnCShap
from fercore.training import evaluation
from ferlab import networks, landmarks
from ferlab.faces import REGIONS
from ferlab.figures import charts, facial
from ferlab.measures import facs
from ferlab.runs import records
from ferlab.studies import maps, regions as sentences

# %%
chosen = dict(epochs=epochs, precision=precision, seed=seed) | changes
setting = networks.setting(
    dataset, model, fusion, width, fold, recipe, batch_size, pretrained, **chosen
)
own = {"depth": depth, "contexts": contexts, "released_of": released_of}
own |= {"protocol": protocol}
run = records.Run("regions", dataset, **setting.parameters(), **own)

# %% [markdown]
# ## The maps
#
# Network and faces are those of the page "Emotion maps": test images that are classified correctly and are no copies of
# training images. Each is explained by DnCShap with sampled contexts, as for the mean maps there.

# %%
data = datasets.load(dataset)
parts = splits.split(data, protocol or None, fold, seed)
trained = networks.trained(setting, data, parts, device)
test = data.subset(parts.test)
right = evaluation.predict(trained.model, test.images).argmax(dim=1).numpy()
eligible = (right == test.labels) & ~splits.duplicates(data, parts)
faces = np.flatnonzero(eligible)

# %%
scored = maps.explain_all(
    trained.model,
    test.images[faces],
    dataset,
    f"{setting.name(parts)}-{2**depth}",
    depth,
    contexts,
    seed,
)
print(f"{len(faces)} faces, {scored.tree.n_leaves} regions each")

# %% [markdown]
# ## Landmarks, and where they are missing
#
# A facial region is known once the landmarks are. The embedded faces are drawn from a mesh of 468 vertices, so theirs are
# exact. In photographs MediaPipe's face mesh {cite:p}`kartynnik2019realtime` finds the same 468 points; the package runs its
# network in OpenCV. Pixels are then assigned to seven regions by filling the triangles of the mesh.
#
# Finding can fail, and not equally often for all emotions: a distorted or hidden face is harder to find. So the table counts.
# Faces that were not found are left out of everything below.

# %%
found = landmarks.landmarks_of(data, parts.test[faces])
labels = test.labels[faces]
counts = landmarks.coverage(found.found, labels)
names = [emotion.title for emotion in counts]
columns = ["with landmarks", "explained"]
covered = pd.DataFrame(list(counts.values()), index=names, columns=columns)
covered.assign(coverage=(covered.iloc[:, 0] / covered.iloc[:, 1]).round(3))

# %%
size = test.images.shape[1:3]
regions = landmarks.region_maps(found.points, *size)
drawn = maps.choose(labels, np.ones(len(faces), bool), 2, seed)
titles = [Emotion(label).title for label in labels[drawn]]

# %% mystnb={"figure": {"name": "fig-regions", "caption": "Two faces of each emotion with their landmarks and the seven regions. A face that was not found is shown without."}, "image": {"alt": "Small faces with seven tinted regions: forehead, brows, eyes, nose, cheeks, mouth and chin, and white dots for the landmarks."}}
facial.region_faces(test.images[faces][drawn], found.subset(drawn), titles)

# %% [markdown]
# ## What to expect
#
# The Facial Action Coding System {cite:p}`ekman2002facs` describes an expression by the muscles that move, its action units. From
# the units of an emotion's prototype follows where its face changes most: for happiness in the mouth and the cheeks, for surprise
# in forehead, brows, eyes, mouth and chin, for fear in the same but the chin, for anger in brows, eyes and mouth, for
# sadness in forehead, brows and mouth, for disgust in nose, cheeks and mouth. The table of `ferlab.measures.facs.EXPECTED` holds these
# *primary* regions. Which unit changes which of the seven regions is our reading; a region that changes is not yet one that a
# network must use.
#
# ## How much lies where
#
# A large region collects more of any map than a small one. So what counts is the share of the map's **positive** mass in a region
# over the region's share of the image:
#
# $$
# \text{lift}(R) = \frac{\sum_{p \in R} \max(\varphi_p, 0) \big/ \sum_p \max(\varphi_p, 0)}{|R| \big/ |\text{image}|}.
# $$
#
# A map without any preference has lift 1 everywhere. The figure's numbers are ratios of means over the faces of an emotion. A
# frame marks the primary regions. Neutral has no action units, so it has no frames and is not scored.

# %% mystnb={"figure": {"name": "fig-lift", "caption": "Lift of each region in the maps of each emotion; 1 is no preference. Frames mark what FACS expects. In brackets the number of maps."}, "image": {"alt": "Heat map with emotions as rows and facial regions as columns; orange cells hold more positive attribution than their area explains, purple cells less; black frames mark the regions that FACS expects."}}
maps_all = scored.maps()
profile = facs.profile(maps_all, regions, labels)
facial.lift_heatmap(profile)

# %% [markdown]
# Two things can make a framed cell of {numref}`fig-lift` orange. The network may look there because the emotion shows
# there. Or the network may look there *whatever* the emotion: if all rows have the same orange column, the column says nothing of
# emotions. The next section separates the two.
#
# ## Does the map of an emotion fit its own mask?
#
# Take the pixels of the primary regions of emotion $e'$ as a mask, and ask how well the values of a map of emotion $e$ tell the
# mask's pixels from the rest *of the face*: the area under the ROC curve, 0.5 by chance. That gives a square of emotions against
# masks. Its diagonal is the fit to the own mask. The null hypothesis is that masks could be dealt out to the emotions in
# any order. All orders are enumerated, and $p$ is the share of those that fit at least as well as the true one.

# %%
fit = facs.mask_fit(maps_all, regions, labels, within_face=True)
rotation = facs.rotation_test(fit.fit) if fit.emotions else None
square = pd.DataFrame(fit.fit, [e.title for e in fit.emotions])
square.columns = [f"mask of {e.title}" for e in fit.emotions]
square.round(3)

# %%
own_mask, others = np.diag(fit.fit), len(fit.fit) - 1
mine = pd.DataFrame({"own mask": own_mask}, index=square.index)
mine["other masks"] = (fit.fit.sum(axis=1) - own_mask) / (others or np.nan)
mine["faces"] = fit.counts
if rotation is None:
    print("There is no map of an emotion that FACS has action units for.")
else:
    low = "at most" if rotation.p_value <= 0.05 else "more than"
    print(f"mean over own masks {rotation.statistic:.3f}")
    print(f"over all {rotation.permutations} orders {rotation.expected:.3f}")
    print(f"p = {rotation.p_value:.4f}: {low} 0.05")
mine.round(3)

# %% [markdown]
# A small $p$ says that the maps of the emotions differ from one another in the way that anatomy predicts. A large one does not say
# that the network ignores the face: the maps of all emotions may lie in the same, sensible places. And a fit to FACS is
# *plausibility*: a person finds the map convincing. Whether the network really depends on these pixels is another question, which
# deletion and insertion answer on the page "Explainers".
#
# ## The paper's sentences
#
# Section 4.3.2 of the paper reads its maps in a few sentences {cite:p}`malik2021towards`. Each names an emotion and a part of
# the face, so each can be measured on every face:
#
# - for a region (mouth, eyes, upper lip): the share of the face's positive mass in the part over its share of the face's area;
# - for "distributed vertically": the spread of the positive mass along the height over its spread along the width, each in units of
#   the spread of the face's own pixels.
#
# Both are 1 for a map without preference. The verdict is on one part of a sentence at a time, from 95 % bootstrap intervals of
# our mean, of its difference from the mean over the faces of all other emotions, and of the mean under the released code's
# masking, whose bands run through the whole image ({ref}`paper`). It is **supported** if our interval lies above 1 *and* that
# of the difference above 0. It is an **artefact** if our interval does not lie above 1, that of the released masking does, and
# so does, above 0, that of the difference between the two maskings, face by face. Otherwise it is **not supported**; with too few
# faces it is **not tested**.

# %%
seen = found.found
released = np.full_like(maps_all, np.nan)
explainer = ReleasedDnCShap(trained.model, times=9, progress=True)
where = next(trained.model.parameters()).device
if seen.any():
    several = maps.choose(labels, seen, released_of, seed)
    pictures = models.to_input(test.images[faces][several], where)
    bands = explainer.attribute(pictures).pixel_map()
    released[several] = bands[..., 0].sum(axis=-1)
print(f"{np.isfinite(released[:, 0, 0]).sum()} faces under the released masking")

# %%
masks = sentences.masks(regions[seen], found.points[seen])
checked = sentences.check(maps_all[seen], released[seen], labels[seen], masks, seed)
pd.DataFrame([finding.row() for finding in checked])

# %% mystnb={"figure": {"name": "fig-sentences", "caption": "The paper's sentences, measured: mean over the faces of the emotion with its 95 % interval, over those of all other emotions, and under the released code's masking."}, "image": {"alt": "Dot plot with one row for each part of each sentence; dots with intervals for our maps, ticks for the other emotions, crosses for the released masking, and a dotted line at chance."}}
charts.sentence_dots(checked)

# %% [markdown]
# How to read {numref}`fig-sentences`. A dot right of the dotted line says that the network finds support for the emotion in this
# part. If the tick of the other emotions lies as far right, the part matters for *all* emotions, and the sentence does not single
# out its own. A cross far from its dot shows what the released masking makes of the same network; it is computed
# for a limited number of the faces of each emotion, drawn at random.
#
# Three limits of the method, before its verdicts are used. The maps have a grain: a patch of the tree is often larger than a
# brow or an eyelid, so mass spills over into the region beside it, and a thin region can hardly stand out. Regions come from
# landmarks, which are least certain where an expression is strong or the head is turned. And the bootstrap treats faces as
# independent, while several may show one person; its intervals are then too narrow.
#
# The verdicts are on this network and these data. They say what the sentences are worth as findings, not what the authors saw in
# their figures: a few maps, chosen by eye, of another network.
#
# ## The record

# %%
verdicts = {
    f"{f.sentence.emotion.title} {f.part}".replace(" ", "_"): {
        "faces": f.faces,
        "mean": None if np.isnan(f.mean) else f.mean,
        "verdict": f.verdict,
    }
    for f in checked
}

# %%
lifts = pd.DataFrame(profile.lift, index=[e.title for e in profile.emotions])
lifts.columns = ["outside", *REGIONS]
facts = {
    "coverage": covered.to_dict(orient="index"),
    "faces": len(faces),
    "with_landmarks": int(seen.sum()),
    "auroc": mine.astype(object).where(mine.notna(), None).to_dict("index"),
    "rotation": rotation and vars(rotation),
    "lift": lifts.astype(object).where(lifts.notna(), None).to_dict("index"),
    "sentences": verdicts,
}
record = run.finish(
    setting.name(parts), data, facts, where, parts.protocol, key=trained.key
)
print("Record:", records.place(record))
