
# %% [markdown]
# # What is in the data
#
# An accuracy is a statement about a dataset. This page looks at the dataset itself, before any network does: how many images
# there are of which emotion, whether some occur twice, whether their labels can be believed. Every number is counted
# from the images when the page is made. None is typed in.
#
# The same page can be made for each dataset of the paper. Where a section does not apply, it says so in one line.
#
# Why count at all? Three kinds of fault change what an accuracy means, and none of them shows in a training log.
#
# - **Imbalance** sets the floor. If one emotion makes up a share $p$ of the images, naming it every time is right with
#   probability $p$.
# - **Copies** blur the line between learning and remembering. If a share $q$ of the test images was in training, and a
#   network gets a share $a$ of the new images right and all of the copies, its accuracy is $(1 - q)\,a + q$.
# - **Wrong labels** set the ceiling. If a share $e$ of the test labels is wrong, a perfect judge reaches about $1 - e$.

# %% tags=["parameters"]
dataset = "faces"  # or another that is there: "fer2013", "ferg", "jaffe", …
examples = 8  # faces shown per emotion
seed = 0

# %%
from dataclasses import asdict

import numpy as np
import pandas as pd
from IPython.display import display

from fercore import datasets
from ferlab.figures import charts, panels
from ferlab.runs import records
from ferlab.studies import data_card, maps

about = {"model": "none", "examples": examples, "seed": seed}
run = records.Run("data_card", dataset, **about)
pd.options.display.max_colwidth = None

# %% [markdown]
# ## What it is
#
# The loader has read the files and compared the number of images per emotion with the official ones. The checksum is over
# pixels and labels alone, so that two copies of the same images agree, however they were packed.

# %%
data = datasets.load(dataset)
data_card.facts(data)

# %% [markdown]
# The last line is the accuracy that the paper reports {cite:p}`malik2021towards`, the mean over five random folds of all
# images. What random folds do to such a number is measured on the page about leaks.
#
# ## How many of what
#
# A *part* is a piece of the dataset's own split. A dataset without one is a single part, `all`.

# %%
counts = data_card.counts(data)
counts

# %% mystnb={"figure": {"name": "fig-balance", "caption": "Images per emotion in each part."}, "image": {"alt": "Bar chart of the number of images of each emotion, one colour for each part of the dataset."}}
charts.part_counts(counts[data_card.parts_of(data)])

# %% [markdown]
# How to read {numref}`fig-balance`. Bars of one height mean that accuracy and balanced accuracy will agree. Bars of
# different height mean that accuracy is mostly about the tall ones: a network can ignore the shortest one and lose almost
# nothing {cite:p}`jeni2013facing`. The next table says so in numbers: what a classifier reaches that always names the
# most frequent emotion, and how many times more frequent that emotion is than the rarest.

# %%
majority = data_card.majority(counts)
majority.round(4)

# %% [markdown]
# An accuracy should be read as a distance from this floor. A network at the floor has learnt only which bar is the
# tallest.
#
# ## A look at it
#
# A few images of each emotion, drawn at random. Look for what a label does not say: faces cut off, turned away or behind
# hands, text across them, drawings, several faces in one image. Photographs of people are shown only where the terms of the
# dataset allow it.

# %% mystnb={"figure": {"name": "fig-examples", "caption": "Random images of each emotion, where they may be shown."}, "image": {"alt": "Rows of small face images, one row for each emotion."}}
if dataset in data_card.SHOWN:
    everyone = np.ones(len(data), bool)
    chosen = maps.choose(data.labels, everyone, examples, seed)
    shown = data.subset(chosen)
    display(panels.face_rows(shown.images, shown.labels, examples))
else:
    print(f"No images of {data.title} are shown: its terms restrict it.")

# %% [markdown]
# ## Copies
#
# Two images are copies here if all their pixels agree. That is a strict test. A copy that was scaled, cropped or stored as a
# JPEG once more passes as another image, so the counts are lower bounds.
#
# *Surplus* images could go without a picture being lost. *Groups* are the pictures that occur more than once, and *largest*
# says how often the most frequent one does. *Conflicting* pictures occur under different labels: at least one of these
# labels must be wrong.

# %%
copies = data_card.copies(data)
listed = pd.Series(asdict(copies), name="exact copies").to_frame()
listed.rename(index=lambda name: name.replace("_", " "))

# %% [markdown]
# Which labels do conflicting pictures carry? Pairs that people confuse would point to honest doubt, random pairs to
# carelessness.

# %%
conflicts = data_card.conflicts(data)
if conflicts.empty:
    print("No picture occurs with different labels.")
else:
    display(conflicts.head(10))

# %% [markdown]
# ### Copies across parts
#
# Copies within a part waste a little time in training. Copies across parts are worse, because they turn a test into a
# memory test. Each row below reads: so many images of this part are also in that part, and so many of those under a label
# that a copy carries there. A network that knows the second part by heart gets the last column for nothing.

# %%
across = data_card.copies_across(data)
if across.empty:
    print("There is one part only, so no image can be in two.")
else:
    display(across.round(4))

# %% [markdown]
# The remedy for such copies is the protocol `official-dedup`. It keeps the training part whole and takes the copies out
# of the others. The accuracy page reports both numbers. How much the copies are worth is the subject of the page about leaks.
#
# ## Blank images
#
# An image with the same value in every pixel shows nobody. Its label is a guess, and so is what a network says about it.

# %%
blanks = data_card.blanks(data)
print(f"{blanks.sum()} blank images")
if blanks.sum():
    display(blanks.to_frame())

# %% [markdown]
# ## Who is shown
#
# Where a dataset names its subjects, a split can keep each of them on one side. That matters more, the fewer they are: with
# ten people, a random split is sure to put all of them on both sides. The table counts images by subject and emotion. Zeros
# mean that a subject never shows an emotion, so that who it is says something about the label.

# %%
people = None if data.subjects is None else data_card.people(data)
if people is None:
    print(f"{data.title} names no subjects.")
else:
    print(f"{len(people)} subjects; images per subject:")
    display(people["all"].describe()[["min", "50%", "max"]].to_frame().T)
    display(people.head(12))

# %% [markdown]
# At most twelve subjects are listed. Groups that are smaller than a subject, such as the frames of one film sequence, are
# kept by the loaders too, and protocols use them where no subject is known.
#
# ## What other people say
#
# FER2013 was labelled by search words, with some cleaning by hand. Three years later ten crowd workers voted on each image
# again: FER+ {cite:p}`barsoum2016training`. The votes say how far the labels can be believed. First, what they come to:
# one of the seven emotions may lead, or contempt, which FER2013 does not have, or "unknown", or "no face". Or two answers
# may be tied.

# %%
voted = "votes" in data.extras
if voted:
    verdicts = data_card.verdicts(data)
    display(verdicts.to_frame())
else:
    print(f"There are no votes for {data.title}: FER+ is about FER2013.")

# %% [markdown]
# Next, where one of the seven emotions leads alone: the share of images on which it is also the label, and the
# emotion that leads most often under that label.

# %%
part = "PrivateTest"
if voted:
    agreement = data_card.agreement(data)
    private = data_card.agreement(data, part).loc["all", "agree"]
    tied = data_card.agreement(data, ties=True).loc["all", "agree"]
    display(agreement.round(3))
    print(f"{part} alone: {private:.3f}")
    print(f"all parts, tied images with the first of their answers: {tied:.3f}")
else:
    print("Without votes there is nothing to compare.")

# %% [markdown]
# How to read it. A share near 1 means that the label says what most people see. A low share means that a network which
# learns the labels well will be called wrong by people, and the other way round. The last line gives a tied image the first
# of its leading answers, as a plain `argmax` over the votes does; the difference to the table is what ties are worth.
#
# Agreement between two sets of labels is no accuracy of either. The crowd saw small images without context, as a network
# does, and faces do not tell what a person feels {cite:p}`barrett2019emotional`.
#
# ## What follows
#
# - Compare any accuracy with the floor above, and report the macro F1 score beside it where the bars differ.
# - Where parts share images, report the accuracy with and without them.
# - Where subjects or sequences are known, split by them.
# - Differences between networks that are smaller than the share of doubtful labels may be differences in guessing.
#
# ## The record

# %%
metrics = {
    "counts": counts.to_dict(),
    "majority": majority.to_dict(orient="index"),
    "copies": asdict(copies),
    "conflicts": conflicts["pictures"].to_dict(),
    "across": data_card.by_pair(across),
    "blank": {"all": int(blanks.sum())} | blanks.to_dict(),
}
if people is not None:
    metrics["images_per_subject"] = people["all"].to_dict()
if voted:
    metrics["ferplus"] = verdicts.to_dict()
    metrics["agreement"] = agreement.to_dict(orient="index")
    metrics["agreement_overall"] = {"private": private, "with_ties": tied}

# %%
record = run.finish("card", data, metrics, protocol="whole set")
print("Record:", records.place(record))
