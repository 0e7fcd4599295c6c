# %% [markdown]
# # 7. Explain a face: your own photo
#
# After this chapter you can take a photo, cut out the face as the network's training pictures were cut, ask for an
# answer, explain it, and say how far the explanation goes. The chapter stands alone. What it uses of the chapters
# before it: $v(S)$ is the probability of a class when the regions $S$ of the picture show the face and all others are
# black; a **score** $\varphi_i$ is region $i$'s mean contribution over many **contexts**, what else is visible; all
# scores sum to $f_c(x) - f_c(b)$, the probability of the face $x$ minus that of the black picture $b$.
#
# ## Before you start
#
# *Where does the photo go?* Nowhere. The file is read on the machine that runs this notebook, the network comes with
# the package, the face finder with scikit-image; nothing is sent or fetched. But the executed notebook **holds the
# face** in its figures, so treat it like the photo. And if the notebook runs on somebody else's server, the photo is
# there.
#
# *Whose face is it?* Take your own, or ask. A person who agreed to a photo has not agreed to have an emotion read into
# it. In the European Union, inferring the emotions of people at work or in education is forbidden, but for medical and
# safety reasons; see the {ref}`model card <model-card>`.
#
# Put the path of a photo into the first cell, such as `photo = "me.jpg"`, or use
# `papermill notebooks/course_7_photo.ipynb mine.ipynb -p photo me.jpg`. (Not `ferlab run`, which would put
# the face into the book.) Without a photo a drawn portrait stands in, and this page shows what came of it. The network
# has never seen a drawn face.

# %% tags=["parameters"]
dataset = "faces"  # whose test faces the answer is compared with
photo = ""  # path of a JPEG, PNG, ...; "": a drawn portrait
box = []  # [left, top, side] of the face in pixels; []: find it
seed = 0

# %%
import re
import tempfile
from pathlib import Path
import numpy as np
import pandas as pd
from PIL import Image
from fercore import DnCShap, datasets, load_pretrained, models, pretrained
from fercore.datasets import splits
from fercore.emotions import NAMES
from fercore.training import evaluation
from ferlab.figures import charts, course, panels
from ferlab.runs import records
from ferlab.studies import photo as photos

run = records.Run("course_7_photo", dataset, seed=seed, own=bool(photo))

# %% [markdown]
# ## Read it
#
# A phone often stores a picture on its side, with a note in the file's EXIF data: turn me. A program that ignores the
# note shows the network a lying face. `photos.read` follows it. It takes JPEG, PNG and most other formats, in colour or
# grey, with at least 48 pixels a side; an iPhone's HEIC has to be exported as JPEG first. The portrait is saved on its
# side too, so that the rest of the page has a real file to deal with.

# %%
data, network = datasets.load(dataset), load_pretrained()
with tempfile.TemporaryDirectory() as folder:
    source = Path(photo or Path(folder, "portrait.jpg"))
    if not photo:
        photos.save_sideways(photos.portrait(), source)
    picture = photos.read(source)
    with Image.open(source) as file:
        print("stored:", file.size, "EXIF orientation:", file.getexif().get(0x0112))
print("upright:", picture.shape[1::-1])

# %% [markdown]
# ## Find the face
#
# The finder slides windows of many sizes over the photo and puts each through a **cascade**: a sequence of simple tests
# on brightness patterns, in which nearly all windows fail at once {cite:p}`viola2004robust`. It is fast and old. It
# knows upright faces from the front, overlooks others, and sometimes sees a face in a curtain. If it finds none, or
# several, the next cell stops and says what to do. A wrong box stops nothing: the network answers all the same, and the
# map looks as good as any. So look at the figure, and if the box is wrong, write the right one into `box`; the axes are
# in pixels. (To papermill, say `-y "box: [144, 113, 154]"`.)

# %%
found = photos.face_box(picture, box)
face = photos.cut(picture, found)
print(f"box = {found}, cut out as {face.shape[0]} x {face.shape[1]} pixels, grey")

# %% mystnb={"figure": {"name": "fig-photo", "caption": "The photo with the box around the face, and the 48 × 48 grey pixels that the network gets."}, "image": {"alt": "A picture with an orange square around a face, on axes in pixels; beside it the face in grey, coarse."}}
course.found(picture, found, face)

# %% [markdown]
# ## Cut it like the training pictures
#
# FER2013's faces were boxed by a detector of this kind, made grey and shrunk to 48 × 48 pixels
# {cite:p}`goodfellow2013challenges`. We do the same and take the box as it is. How much does that matter? Here is the
# same face, cut with other margins around the same centre.


# %%
def ask(image):
    logits = evaluation.predict(network, image[None])
    return logits.double().softmax(dim=1)[0].numpy()


margins = (0.6, 0.8, 1, 1.25, 1.5, 2, 3)
cuts = [photos.cut(picture, found, margin) for margin in margins]
said = [ask(cut) for cut in cuts]
words = [
    f"× {m:g}\n{NAMES[p.argmax()]} {p.max():.2f}" for m, p in zip(margins, said)
]

# %% mystnb={"figure": {"name": "fig-margins", "caption": "One face, seven margins: factor on the side of the box, answer, and its probability."}, "image": {"alt": "Two rows of grey crops of one face, seven in all, from very close to far away, each with the network's answer and its probability."}}
course.picture_grid(np.stack(cuts), words, columns=4)

# %% [markdown]
# Where the answers of {numref}`fig-margins` differ, the network judges the crop as well as the face. No map will show
# that: a map explains *one* crop. So cut first, explain afterwards, and say how you cut.
#
# ## The answer

# %% mystnb={"figure": {"name": "fig-answer", "caption": "The network's answer to the face, and to a black image."}, "image": {"alt": "Seven horizontal bars, one per emotion, with the probability that the face gets; a tick on each row for a black image."}}
answers, blank = ask(face), ask(np.zeros_like(face))
top = int(answers.argmax())
name, p = NAMES[top], answers[top]
print(f"{name}, with probability {p:.3f}; to a black image: {blank[top]:.3f}")
charts.answer(answers, blank)

# %% [markdown]
# Even to a black image the network must give seven probabilities that sum to 1. It has no "I cannot tell". A map
# explains the way from the ticks to the bars, nothing else.
#
# How far can the answer be trusted? The {ref}`model card <model-card>` says what happened on pictures that the network
# had not seen in training.

# %%
card = pretrained.CARD.read_text(encoding="utf-8")
row = re.search(rf"^\| {name} \|.*$", card, flags=re.MULTILINE)[0]
count, recall, precision = (cell.strip() for cell in row.split("|")[2:5])
overall = re.search(r"without copies \| [\d,]+ \| ([\d.]+)", card)[1]
print(f"all emotions, without copies of training pictures: {overall} right")
print(f"of {count} pictures labelled {name}, recognised: {recall}")
print(f"of pictures called {name}, labelled so: {precision}")
test = data.subset(splits.split(data, None, 0, 0).test)
theirs = evaluation.predict(network, test.images).softmax(dim=1).numpy()
alike = (theirs.argmax(axis=1) == top) & (theirs.max(axis=1) >= p - 0.1)
right = int((test.labels[alike] == top).sum())
print(
    f"{data.title}: {alike.sum()} test faces got this answer, as surely or more so"
)
print(f"(down to 0.1 less); {right} of them are labelled so")

# %% [markdown]
# Labels are what people wrote on pictures, and they disagree on many ({ref}`data-fer2013`). The classes are unequal, so
# rare emotions are learned worst. Nobody recorded age, sex or skin colour of the people in FER2013, so whether the
# network is worse for people like you **cannot be measured** on it. Assume that it is not fair.
#
# ## The map
#
# By default DnCShap halves the face until it has 64 regions, and spends 512 masked images, in the contexts that teach
# most (chapter 6).

# %%
x = models.to_input(face[None])
explainer = DnCShap(network)
result = explainer.attribute(x)
scores, errors = result.region_scores[0, :, 0], result.standard_errors[0, :, 0]
beyond = np.abs(scores) > 2 * errors
print(f"{result.evaluations[0]} masked images, {scores.size} regions")
print(f"sum of scores {scores.sum():.4f}, f(x) - f(b) {p - blank[top]:.4f}")
print(f"{beyond.sum()} regions are further than two standard errors from zero")

# %% mystnb={"figure": {"name": "fig-map", "caption": "The face, its map (red raises the probability of the answer, blue lowers it), the standard errors on a scale of their own, and the map again: hatched regions are within two standard errors of zero."}, "image": {"alt": "Two rows of two pictures: a grey face; the face under red and blue squares; a map of the standard errors in purple; the map with some of its squares hatched."}}
per_pixel = result.tree.pixels(-1)[result.tree.labels()]
spread = [v[result.tree.labels()] / per_pixel for v in (scores, errors)]
panels.certainty(face, *spread)

# %% [markdown]
# The panel of standard errors looks half as coarse as the map: the two regions of a last cut share one error. Each
# gets half of their common score, plus or minus half of a difference, so what is unsure in either is unsure in both.
#
# A standard error here is how unsure the method is of contexts that it has *not* looked at, and that is the opinion of
# a model, no measurement (chapter 6). For one face we can afford the truth: `contexts="exact"`, 2,732 evaluations. And `refine` goes on where the first result stopped, so that you can
# spend a little, look, and spend more.

# %%
exact = DnCShap(network, contexts="exact").attribute(x, targets="all")
true, steps, rows = exact.region_scores[0, :, top], result, []
for _ in range(5):
    phi, se = steps.region_scores[0, :, 0], steps.standard_errors[0, :, 0]
    error = np.linalg.norm(phi - true) / np.linalg.norm(true)
    big, near = np.abs(phi) > 2 * se, np.abs(phi - true) <= 2 * se
    rows.append([steps.evaluations[0], error, se.max(), big.sum(), near.mean()])
    steps = explainer.refine(steps, evaluations=512)
columns = ["evaluations", "relative error", "largest standard error"]
columns += ["regions beyond two errors", "exact value within two errors"]
refined = pd.DataFrame(rows, columns=columns).set_index("evaluations")
refined.round(4)

# %% [markdown]
# Read the last two columns together. If the errors were normal and right, about 95 % of the exact values would lie
# within two of them. And with more evaluations more regions clear the hurdle, because the errors shrink. In the end
# regions are "significant" that hardly matter. Two standard errors say that a score is *not zero*. Only its size says
# that it is *not small*.
#
# ## All seven emotions for the same price
#
# A masked image passes through the network once and returns all seven probabilities. So `targets="all"` costs no more
# evaluations.

# %%
every = explainer.attribute(x, targets="all")
maps = np.moveaxis(every.pixel_map()[0].sum(axis=2), -1, 0)
total = np.abs(every.region_scores[0].sum(axis=-1)).max()
print(f"{every.evaluations[0]} masked images for seven maps")
print(f"largest |sum over the seven scores of a region|: {total:.0e}")

# %% mystnb={"figure": {"name": "fig-seven", "caption": "The maps of all seven emotions on one scale; above each, its probability for the black image and for the face."}, "image": {"alt": "A grey face and seven maps of it in red and blue with a common colour bar."}}
captions = [f"{n}: {a:.2f} to {b:.2f}" for n, a, b in zip(NAMES, blank, answers)]
panels.class_maps(face, maps, captions)

# %% [markdown]
# The seven scores of a region sum to zero (Exercise 7.1). What speaks for one emotion speaks, to the same amount,
# against others, often against the one that the black image got.
#
# ## Probability or logit?
#
# The network computes a logit $z_c$ for each class, and the softmax makes $p_c$ of them. Since
# $\partial p_c / \partial z_c = p_c (1 - p_c)$, the same evidence moves a probability much near ½ and hardly near 0 or
# 1. `output="logit"` explains $z_c$ itself.

# %% mystnb={"figure": {"name": "fig-logit", "caption": "The exact map of the answer's probability and that of its logit; each has its own scale and unit."}, "image": {"alt": "A grey face and two maps of it in red and blue."}}
settings = {"contexts": "exact", "output": "logit"}
logit = DnCShap(network, **settings).attribute(x).region_scores[0, :, 0]
agree = float(np.corrcoef(true, logit)[0, 1])
print(f"p (1 - p) = {p * (1 - p):.3f}, at most 0.25; correlation {agree:.2f}")
both = {"probability": true, "logit": logit}
panels.labelled_maps(face, {n: v[exact.tree.labels()] for n, v in both.items()})

# %% [markdown]
# ## Test your reading
#
# The map says which regions carried the answer. Then hiding them should cost more than hiding as many others. Hide the
# $k$ highest regions and compare with 20 random choices of $k$.


# %%
def hidden(regions):
    visible = ~np.isin(result.tree.labels(), regions)
    return ask(face * visible[..., None])[top]


# %%
order, rng, rows = np.argsort(-scores), np.random.default_rng(seed), []
for k in (1, 2, 4, 8, 16):
    others = [hidden(rng.choice(scores.size, k, replace=False)) for _ in range(20)]
    rows.append(
        [k, scores[order[:k]].sum(), p - hidden(order[:k]), p - np.mean(others)]
    )
columns = ["hidden", "sum of scores", "loss, highest", "loss, random"]
hiding = pd.DataFrame(rows, columns=columns).set_index("hidden")
wins = int((hiding["loss, highest"] > hiding["loss, random"]).sum())
print(
    f"The highest regions cost more than random ones in {wins} of {len(hiding)} rows."
)
hiding.round(3)

# %% [markdown]
# A score is not the loss from hiding one region: it is a mean over contexts, and hiding is one of them. Where one
# hidden region costs far less than its score and several cost much, the regions repeat one another: each is spare as
# long as the others are there. Nor need the loss grow with $k$: 16 hidden regions may cost less than 8. A loss may even
# exceed $f_c(x) - f_c(b)$: to the network, a half-hidden face can be less of an answer than black is. Chapter 8 returns
# to this.
#
# ## Read it without over-reading
#
# - Say the question: *why this class rather than the black image's answer, for this crop, in these 64 regions?*
# - Name places by the regions, not by organs. A square of 6 × 6 pixels that holds a mouth corner holds some cheek too.
# - Ignore hatched regions, and small ones even if they are not hatched.
# - Never invert it: the map does not say what would have to change for another answer.
# - The map is about the network. A person's feeling cannot be read off a face with confidence
#   {cite:p}`barrett2019emotional`, so there is nothing about it to explain.
#
# ## Exercises

# %% [markdown]
# **Exercise 7.1** *(by hand)*. Show that the exact scores of a region, summed over the seven emotions, are zero when
# $f$ is a probability. Is the same true of logits?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 7.1
# For every masked image $\sum_c v_c(S) = 1$. A marginal contribution $v_c(S \cup i) - v_c(S)$, summed over $c$, is
# therefore $1 - 1 = 0$ in every context, and a mean of zeros is zero. Logits do not sum to a constant, so their scores
# need not cancel: a region may raise all seven.
# :::

# %% [markdown]
# **Exercise 7.2** *(by hand)*. Suppose that no region mattered, that errors were normal, and that the standard errors
# were right. A normal variable is more than two standard deviations from its mean with probability 0.046. How many of
# 64 scores would be further than two standard errors from zero? How many of the 448 of {numref}`fig-seven`? What do you
# make of a figure that shows only regions that passed?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 7.2
# In the mean $64 \cdot 0.046 \approx 3$, and $448 \cdot 0.046 \approx 21$. Compare the count printed under "The map".
# The regions are not independent: their scores sum to a constant, pairs share an error, and the seven scores of a region
# sum to zero. So the count scatters more or less than coin tosses would, but its mean holds: means add up whether or
# not the parts depend on each other. Whoever shows only the regions that passed, out of hundreds tried, also shows some that passed by chance.
# :::

# %% [markdown]
# **Exercise 7.3** *(by code)*. Mirror the face, explain the same emotion (`targets=top`) with `contexts="exact"`, and
# mirror the map back. What is its correlation with the map of `true`? Regions are mirrored onto regions, so a network
# that did not tell left from right would give 1.

# %% tags=["solution", "hide-cell"]
mirrored = models.to_input(np.ascontiguousarray(face[:, ::-1])[None])
other = DnCShap(network, contexts="exact").attribute(mirrored, targets=top)
back = other.region_map()[0, :, ::-1, 0]
here = true[exact.tree.labels()]
print(f"probability {p:.3f}, mirrored {other.predictions[0, 0]:.3f}")
print(f"correlation {np.corrcoef(back.ravel(), here.ravel())[0, 1]:.2f}")
summed = other.region_scores.sum()
assert np.isclose(summed, other.predictions[0, 0] - other.base_values[0, 0])

# %% [markdown]
# **Exercise 7.4** *(by code)*. `photos.portrait(k)` draws character k, for k from 0 to 19, and `photos.find_faces`
# lists the boxes of the faces that it finds in a picture. For which characters is there exactly one? Look at the
# others. What follows for a study that reports results "on all faces that were detected"?

# %% tags=["solution", "hide-cell"] mystnb={"figure": {"name": "fig-missed", "caption": "Portraits in which not exactly one face was found."}, "image": {"alt": "A row of small drawn portraits before the same wall."}}
drawn = [photos.portrait(k) for k in range(20)]
number = np.array([len(photos.find_faces(portrait)) for portrait in drawn])
lost = np.flatnonzero(number != 1)
assert number[1] == 1  # the portrait of this page
print(f"one face in {(number == 1).sum()} of 20; not in {lost.tolist()}")
print("faces found in those:", number[lost].tolist())
print("Who is not found, or not found once, drops out of every later number. If")
print("that depends on glasses, hair or skin, so do the results, unseen.")
shown = [drawn[k][::2, ::2] for k in lost] or [drawn[0][::2, ::2]]
course.picture_grid(np.stack(shown), [f"character {k}" for k in lost], 4)

# %% [markdown]
# **Exercise 7.5** *(to think about)*. A friend sends a holiday photo: "What did she feel?" An employer sends one of a
# job interview with the same question. What do you answer?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 7.5
# Neither question can be answered. The network says which word people who labelled pictures would probably have chosen
# for this one, with the error rates above. The map says which patches made it say so. For the friend, ask also whether
# *she* agreed. The employer's use is, in the European Union, forbidden; an explanation does not make it lawful, and a
# plausible map makes it worse, because it lends weight to a guess.
# :::

# %% [markdown]
# ## What to remember
#
# - Turn, find, cut, grey: every step before the network is part of the answer, and no map shows it.
# - Look at the probability, the black image and the model card before you look at a map.
# - Two standard errors tell non-zero from zero, not large from small.
# - All classes come at one price, and their probability scores sum to zero in every region.
# - A reading is a prediction: hide what the map points at, and compare with chance.
#
# Next: chapter 8 shows how maps that pass the eye fail the test.

# %%
measures = refined.reset_index().to_dict(orient="records")
facts = {
    "box": list(found),
    "answer": name,
    "probability": float(p),
    "black": float(blank[top]),
    "margins": {f"{m:g}": NAMES[q.argmax()] for m, q in zip(margins, said)},
    "alike": {"faces": int(alike.sum()), "right": right},
    "refined": [{key: float(v) for key, v in row.items()} for row in measures],
    "logit_correlation": agree,
    "hiding": {str(k): v for k, v in hiding.to_dict(orient="index").items()},
}
record = run.finish("photo" if photo else "portrait", data, facts)
print("Record:", records.place(record))
