# %% [markdown]
# # 8. Pitfalls of saliency
#
# A saliency map is easy to look at, and that is its danger. This chapter goes through seven ways in which a map
# misleads. Each has a **claim**, a small **experiment** (the last one has none) and a **reading** of one or two
# sentences. After it you can test a map before you believe it, yours or that of a paper. The chapter stands alone; it
# needs no more than the idea that a **score** is what a region of the picture contributes to a network's answer,
# averaged over what else is visible.

# %% tags=["parameters"]
dataset = "faces"  # or "fer2013"
seed = 0
count = 12  # faces for the first and the third pitfall

# %%
import numpy as np
import pandas as pd
import torch
from fercore import DnCShap, datasets, load_pretrained, models
from fercore.datasets import splits
from fercore.emotions import NAMES, Emotion
from fercore.shapley import exact_shapley
from fercore.training import evaluation
from ferlab import explainers
from ferlab.figures import course as plots_masking, panels
from ferlab.measures import faithfulness, sanity
from ferlab.runs import records
from ferlab.studies import course

run = records.Run("course_8_pitfalls", dataset, seed=seed, count=count)

# %% [markdown]
# The network is the one that comes with the package. It learned from photographs, so of drawn faces it recognises few
# but happy ones. For most of what follows that does not matter: a map explains an *answer*, be it right or wrong.

# %%
rng = np.random.default_rng(seed)
data, network = datasets.load(dataset), load_pretrained()
parts = splits.split(data, None, 0, 0)
test = data.subset(parts.test[~splits.duplicates(data, parts)])
said = evaluation.predict(network, test.images).softmax(dim=1).numpy()
answers, right = said.argmax(axis=1), said.argmax(axis=1) == test.labels
sure = np.flatnonzero(right & (said.max(axis=1) >= 0.7))
drawn = rng.permutation(sure)[:count]
images, targets = test.images[drawn], answers[drawn]
x = models.to_input(images)
print(f"{right.mean():.0%} of {len(test):,} test faces right")
print(f"{len(drawn)} of the {len(sure)} that are right with at least 0.7 drawn")

# %% [markdown]
# ## 1. Plausible is not faithful
#
# **Claim.** A map can look convincing and say nothing of the network. *Plausible* means that it convinces a person,
# *faithful* that it tells what the network does {cite:p}`jacovi2020towards`. Faces make it easy to confuse the two:
# eyes and mouth lie in the middle of every picture, so a blob in the middle is plausible.
#
# **Experiment.** Show the network the pixels of the face in the order of the map, most relevant first, and average the
# probability on the way. With $R_s$ the share $s$ of the pixels that are highest in the map,
#
# $$\text{insertion} = \int_0^1 f_c(x \text{ on } R_s,\ b \text{ elsewhere})\, ds,$$
#
# taken in 16 steps. High is good. *Deletion* hides them in that order; low is good {cite:p}`petsiuk2018rise`. Beside
# three explainers stand four **controls** that have not asked about this face: one fixed blob in the centre, the DnCShap
# map of *another* face, random pixels, and nothing at all, a map of zeros. (Pixels of equal value come in random
# order.)

# %% mystnb={"figure": {"name": "fig-plausible", "caption": "Three faces and five maps of each, in two blocks. The last two columns know nothing of the face in hand."}, "image": {"alt": "Two blocks of three rows. Above, in each row, a face, its DnCShap map of red and blue patches, and the red and blue speckles of integrated gradients. Below, for the same faces, a soft cloud or nothing for Grad-CAM, one round blob in the middle, and the patches of another face."}}
methods = {"DnCShap": "dnc", "integrated gradients": "integrated_gradients"}
methods |= {"Grad-CAM": "grad_cam", "centre blob": "centre"}
maps = {
    title: explainers.explain(key, network, x, targets).values
    for title, key in methods.items()
}
maps["another face's"] = np.roll(maps["DnCShap"], 1, axis=0)
five = list(maps)
maps["random"] = explainers.explain("random", network, x, targets).values
maps["nothing (all zero)"] = np.zeros_like(maps["random"])
empty = int((~maps["Grad-CAM"].any(axis=(1, 2))).sum())
print(f"Empty (all zero) maps of Grad-CAM: {empty} of {len(x)}")
few = np.stack([maps[title][:3] for title in five], axis=1)
panels.map_table(images[:3], few, five)

# %% [markdown]
# Grad-CAM keeps only what speaks for the class; where nothing does, its map is empty. Nor is a cloud in a corner, off
# the face, a fault of the figure. The map is a grid of 6 × 6 cells of a late layer, enlarged, and through the layers
# below each of these cells has seen the whole picture. Where a cell lies does not say where its evidence lay.

# %%
classes = torch.from_numpy(targets)
measured = {
    title: faithfulness.insertion_deletion(network, x, classes, values)
    for title, values in maps.items()
}


def better(one, other):
    won = set()
    for m, values in measured[one].items():
        gain = (values - measured[other][m]) * (1 if "insertion" in m else -1)
        if gain.mean() > 2 * gain.std(ddof=1) / len(gain) ** 0.5:
            won.add(m)
    return won


# %%
blob, rows = "centre blob", {}
controls = (blob, "another face's", "random")
for title, values in measured.items():
    won = [better(title, control) for control in controls]
    rows[title] = {m: round(float(v.mean()), 3) for m, v in values.items()}
    rows[title] |= {
        "beats the blob": f"on {len(won[0])} of 4",
        "loses to the blob": f"on {len(better(blob, title))} of 4",
        "beats all three": f"on {len(set.intersection(*won))} of 4",
    }
faithful = pd.DataFrame(rows).T
faithful.rename(columns=lambda name: name.replace("_", ", "))

# %% [markdown]
# "Beats" means that the mean difference, face by face, is more than two standard errors; "loses" the same the other
# way round. "All three" are the blob, another face's map and the random map, all on the same measure. *Black* and
# *blurred* say what stands in for pixels that are not shown.
#
# **Reading.** Read wins and losses together. A random map and an empty map can win at deletion too, because they hide
# scattered pixels: that tears the face apart at the first step, which is good for deletion and bad for insertion,
# whatever the map says. A map has shown something about this face only on a measure where it beats the blob, another
# face's map and the random map. Where it loses to the blob, the blob was the better guess.
#
# ## 2. The baseline decides
#
# **Claim.** A score compares the region with what is shown in its place, the **baseline** $b$. Another baseline asks
# another question {cite:p}`sturmfels2020visualizing`, and a caption that does not name it is incomplete.
#
# **Experiment.** One face, one network, one method, five baselines.

# %% mystnb={"figure": {"name": "fig-five", "caption": "Maps of one face under five baselines, each on its own scale."}, "image": {"alt": "Two rows of three pictures: a face and five maps of it in red and blue that agree in some patches and differ in others."}}
index = course.example(data, network)
face, one = data.images[index], course.as_input(data, index)
baselines = {"black": "zero", "mean": "mean", "white": 1.0}
baselines |= {"blur": "blur", "inpaint": "inpaint"}
under = {}
for title, b in baselines.items():
    under[title] = DnCShap(network, baseline=b).attribute(one, Emotion.HAPPY)
drawn_maps = {t: r.region_map()[0, ..., 0] for t, r in under.items()}
columns = np.array([list(drawn_maps.values())])
panels.map_table(face[None], columns, list(drawn_maps), side=1.7)

# %%
table = pd.DataFrame({t: r.region_scores[0, :, 0] for t, r in under.items()})
same = float((np.abs(np.sign(table).sum(axis="columns")) == 5).mean())
best = [set(table[title].nlargest(5).index) for title in table]
common, ever = len(set.intersection(*best)), len(set.union(*best))
lowest = float(table.corr().min(axis=None))
print(f"{same:.0%} of the 64 regions have the same sign under all five")
print(f"among the top five: {common} regions always, {ever} at least once")
print(f"lowest correlation between two of the maps: {lowest:.2f}")

# %% [markdown]
# **Reading.** Name the baseline, and claim only what survives a change of it. A region that looks like the baseline
# gets nothing, whatever the network thinks of it.
#
# ## 3. A map of a network that knows nothing
#
# **Claim.** If a map looks the same after the network has forgotten all it learned, it showed the picture, not the
# network. {cite:t}`adebayo2018sanity` found this for methods in wide use.
#
# **Experiment.** Shuffle the entries of every parameter of the network and explain the same class of the same faces
# again. Compare the maps pixel by pixel, by the rank correlation of signed values and of magnitudes: 1 means unchanged.
# A filter that marks edges of the picture and the blob never ask the network, so they show what failing looks like.

# %%
shuffled = sanity.randomised(network, seed)
again = {
    title: explainers.explain(key, shuffled, x[:6], targets[:6]).values
    for title, key in methods.items()
}
edges = np.array([np.hypot(*np.gradient(i.mean(axis=2))) for i in images[:6]])
before = {title: maps[title][:6] for title in methods} | {"edges": edges}
again["edges"] = edges
rows = {}
for title, values in before.items():
    kept = sanity.rank_correlation(values, again[title])
    size = sanity.rank_correlation(np.abs(values), np.abs(again[title]))
    rows[title] = [np.nanmean(kept), np.nanmean(size)]
unchanged = pd.DataFrame(rows, index=["signed", "magnitudes"]).T
unchanged.round(2)

# %% mystnb={"figure": {"name": "fig-shuffled", "caption": "One face explained with the trained network and with its weights shuffled."}, "image": {"alt": "Two blocks of two rows of maps of the same face, the upper row of each for the trained network and the lower one for the shuffled one; the blob and the edges are the same in both."}}
pair = [[values[0] for values in known.values()] for known in (before, again)]
both = np.array(pair)
sides = ("trained", "shuffled")
panels.map_table(images[[0, 0]], both, list(before), sides)

# %% [markdown]
# Where a method has no negative values, as Grad-CAM, the blob and the edges have none, the two columns coincide: a value
# is its own magnitude. An empty map has no ranks, and its face is left out.
#
# **Reading.** Near 1: do not use it. Near 0: it passed *this* test, no more. Maps in {numref}`fig-shuffled` that look
# busy for the shuffled network show how little busyness proves; each is drawn on its own scale. Magnitudes stay more
# alike than signed values where a method multiplies by the picture or follows its edges.
#
# ## 4. What is said twice seems worthless
#
# **Claim.** Where regions repeat one another, hiding any one of them changes nothing, and each seems worthless.
#
# **Experiment.** First a game. $k$ copies of one message; any of them is enough, which is the logical *or*: $v(S) = 1$
# if $S$ holds at least one copy, else 0. Hiding one of several copies costs nothing; showing one alone is worth 1; the
# Shapley value shares the credit, $1/k$ each. So the score of a message falls with every copy that is added.


# %%
def either(coalitions):
    return coalitions.any(axis=1).astype(float)


rows = {}
for k in (1, 2, 3, 8):
    shares = exact_shapley(either, k)
    without_one = either(np.arange(k)[None] != 0)[0]
    rows[k] = [1.0 - without_one, 1.0, shares[0], shares.sum()]
columns = ["hide one", "show one alone", "Shapley value", "sum of values"]
pd.DataFrame(rows, index=columns).T.rename_axis("copies").round(3)

# %% [markdown]
# Now the face, on 64 regions with exact scores. Its probability is high, where the softmax is flat: there is more
# evidence than needed, and the surplus acts like copies.

# %%
exact = DnCShap(network, contexts="exact").attribute(one, Emotion.HAPPY)
phi, labels = exact.region_scores[0, :, 0], exact.tree.labels()


def probability(hidden):
    shown = face * ~np.isin(labels, hidden)[..., None]
    return float(
        evaluation.predict(network, shown[None]).softmax(1)[0, Emotion.HAPPY]
    )


# %%
whole = probability([])
alone = np.array([whole - probability(region) for region in range(64)])
eight = {"by score": np.argsort(-phi)[:8], "by single loss": np.argsort(-alone)[:8]}
losses = {way: whole - probability(hidden) for way, hidden in eight.items()}
print(f"hide one region: loses at most {alone.max():.3f} of {whole:.3f}")
print(
    f"sum of the 64 single losses {alone.sum():.3f}, of the scores {phi.sum():.3f}"
)
for way, hidden in eight.items():
    print(f"the first eight {way}: together {losses[way]:.3f},", end=" ")
    print(f"singly, added up, {alone[hidden].sum():.3f}")

# %% [markdown]
# Where the first eight by single loss cost more, do not be surprised: a score averages over all contexts, and hiding from
# the whole face tests only one of them.
#
# **Reading.** "Hiding it changes nothing" does not mean "the network does not use it". And a small score need not mean
# a weak message: it may be one that is said often.
#
# ## 5. Colours
#
# **Claim.** The colour scale is part of the statement, and the eye does not see it.
#
# **Experiment.** One map three ways: symmetric about zero; from blue for the least to red for the most, a *rainbow*
# {cite:p}`borland2007rainbow`; the highest tenth of the pixels in red, the rest left out. Below, the map of the emotion
# with the smallest scores on its own scale, and on that of the first.

# %% mystnb={"figure": {"name": "fig-scales", "caption": "Above: one map on three colour scales. Below: a much weaker map on its own scale and on that of the first."}, "image": {"alt": "Three renderings of one map: red and blue patches on a face; a picture in all colours of the rainbow; a few red patches on a grey face. Below, the face, a map with strong colours, and the same map nearly invisible."}}
every = DnCShap(network).attribute(one, targets="all").region_map()[0]
sizes = np.abs(every).max(axis=(0, 1))
weak = int(sizes.argmin())
first, second = every[..., Emotion.HAPPY], every[..., weak]
zero = -first.min() / (first.max() - first.min())
print(f"on the rainbow, zero lies at {zero:.0%} of the way from blue to red")
print(
    f"largest |score|: Happy {sizes[Emotion.HAPPY]:.3f}, {NAMES[weak]} {sizes[weak]:.4f}"
)
panels.scales(face, first, second, ("Happy", NAMES[weak]))

# %% [markdown]
# **Reading.** A scale from least to most paints *nothing* in a colour that looks like *something*. A cut-off hides what
# speaks against. Two maps can be compared only on one scale, with a colour bar.
#
# ## 6. Wrong answers have convincing maps
#
# **Claim.** Once we know the label, we find reasons for it in the map. That is confirmation bias, and no map protects
# from it.
#
# **Experiment.** The six maps below explain the same answer to six faces. Three of the answers agree with the label,
# three do not. Which? Write your guess down before you read on.

# %% mystnb={"figure": {"name": "fig-riddle", "caption": "Maps of one answer to six faces. Three of the answers are wrong."}, "image": {"alt": "Two rows of three maps of red and blue squares, named A to F."}}
cases = [[(answers == c) & (right == ok) for ok in (True, False)] for c in range(7)]
counts = np.array(cases).sum(axis=2)  # (7, 2): right and wrong
word = int(counts.min(axis=1).argmax())
size = min(15, counts[word].min())
chosen = [rng.permutation(np.flatnonzero(case))[:size] for case in cases[word]]
chosen = np.concatenate(chosen)
where = models.to_input(test.images[chosen])
explained = DnCShap(network, contexts=2, seed=seed).attribute(where, word)
six = rng.permutation([0, 1, 2, size, size + 1, size + 2])
looks = explained.region_map()[..., 0]
panels.riddle(looks[six])

# %% [markdown]
# Does *anything* about the map tell right from wrong? Take as its look the share of the positive scores that is in the
# top eight regions: a concentrated map looks decided. The area under the ROC curve is the chance that a right answer
# has the higher value of the two when one right and one wrong answer are drawn,
# $P(s_{\text{right}} > s_{\text{wrong}})$; one half is chance. The network's own probability is the rival.

# %%
positive = np.clip(explained.region_scores[..., 0], 0, None)
ranked = np.sort(positive, axis=1)[:, ::-1]
signs = {"concentration": ranked[:, :8].sum(axis=1) / ranked.sum(axis=1)}
signs["probability"] = explained.predictions[:, 0]
curve = {}
for sign, values in signs.items():
    a, b = values[:size, None], values[None, size:]
    curve[sign] = float((a > b).mean() + (a == b).mean() / 2)
print("area under the curve:", {sign: round(v, 2) for sign, v in curve.items()})
print(f"from {size} right and {size} wrong answers, all of one emotion")

# %% [markdown]
# Have you written down your guess? Then open the next output (in Jupyter: run the next cell).

# %% tags=["hide-output"] mystnb={"figure": {"name": "fig-key", "caption": "The faces of the six maps, with their labels."}, "image": {"alt": "Two rows of three faces named A to F, each with its label."}}
print(f"The answer to all six: {NAMES[word]}. Right where the label is the same.")
named = zip(panels.letters(6), test.labels[chosen[six]])
keys = [f"{letter}: {NAMES[label]}" for letter, label in named]
plots_masking.picture_grid(test.images[chosen[six]], keys, 3)

# %% [markdown]
# **Reading.** How did you do? Now that you see faces and labels in {numref}`fig-key`, do reasons come to mind? A map of
# a wrong answer is a true map of a wrong answer. Check the answer first, look at maps of errors as often as at maps of
# successes, and where the probability tells more than the look of the map, trust the number.
#
# ## 7. The map is not about the person
#
# **Claim.** Three steps lead from a feeling to a map, and each loses something. A person feels something and a face
# moves, or not. Somebody gives the picture a word. A network guesses the word; a map explains the guess.
#
# No experiment on pictures can show the first step, so here is the state of research {cite:p}`barrett2019emotional`:
# how people express anger, disgust, fear, happiness, sadness and surprise varies much across cultures, situations and
# people, and similar movements of the face express more than one of them.
#
# **Reading.** Write "the network answers *happy* because of the mouth region". Never write "she is happy, as her mouth
# shows".
#
# ## Exercises

# %% [markdown]
# **Exercise 8.1** *(by hand)*. A and B are copies, and C says something of its own: $v(S)$ is 1 if $S$ holds A or B, plus
# 0.3 if $S$ holds C. Find the three Shapley values and the three single losses. Hide the first player by score, then the
# first two; then the same by single loss. What is lost each time, and which order is the better one?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 8.1
# The game is a sum of two, so the values add up: A and B share 1, C has its 0.3. Scores: 0.5, 0.5, 0.3. Single losses:
# 0, 0, 0.3. By score, hiding A (or B) loses 0, hiding both loses 1. By single loss, hiding C loses 0.3, and C with A
# (or B) still 0.3. So single losses find the better first player and scores the better pair: neither order is best for
# every number. That is why pitfall 4 may go either way.
# :::

# %% [markdown]
# **Exercise 8.2** *(by hand)*. The scores of a map lie between −0.2 and 0.6. Where does zero lie on a scale from the
# least to the most? Where, if one region rises to 1.8? Which colours change although the scores do not?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 8.2
# At $0.2 / 0.8 = 25\,\%$ of the way, then at $0.2 / 2.0 = 10\,\%$. Of the regions whose scores did not change, all but the
# lowest change colour: they move towards blue because one region rose. That region itself is now red, and if it was the
# highest before, its colour is the same although its score tripled. On a scale symmetric about zero the others would
# turn paler, and zero would stay white.
# :::

# %% [markdown]
# **Exercise 8.3** *(by code)*. Mean maps are often taken over faces that do not lie in the same place. Shift `face` by
# −6, 0 or 6 pixels in both directions (`np.roll`), explain the nine copies as "happy" with `contexts=2`, and take the
# mean of the nine maps twice: as they lie, and each moved back first. The share that a mean keeps is its sum of squares
# over the mean of the nine sums of squares: 1 if all maps are equal. Compute both shares.

# %% tags=["solution", "hide-cell"]
moves = [(down, across) for down in (-6, 0, 6) for across in (-6, 0, 6)]
copies = np.stack([np.roll(face, move, axis=(0, 1)) for move in moves])
nine = DnCShap(network, contexts=2).attribute(
    models.to_input(copies), Emotion.HAPPY
)
lying = nine.region_map()[..., 0]
straight = [np.roll(m, (-d, -a), axis=(0, 1)) for m, (d, a) in zip(lying, moves)]
energy = (lying**2).sum(axis=(1, 2)).mean()
kept = [(np.mean(m, axis=0) ** 2).sum() / energy for m in (lying, straight)]
print(f"as they lie {kept[0]:.2f}, moved back {kept[1]:.2f}")
print("A pale mean map may come from faces that do not lie in one place.")
assert max(kept) <= 1

# %% [markdown]
# **Exercise 8.4** *(by code)*. Make a control that knows the dataset but not the face: for each face, the mean of the
# DnCShap maps of the *others*. How far is the face's own map ahead of it on each of the four measures? Give the mean
# difference with an interval (`faithfulness.interval`).

# %% tags=["solution", "hide-cell"]
own = maps["DnCShap"]
others = (own.sum(axis=0) - own) / (len(own) - 1)
assert np.allclose(others[0], own[1:].mean(axis=0))
typical = faithfulness.insertion_deletion(network, x, classes, others)
for m, values in measured["DnCShap"].items():
    gain = values - typical[m] if "insertion" in m else typical[m] - values
    i = faithfulness.interval(gain, seed)
    print(
        f"{m:18} own {values.mean():.3f}, others {typical[m].mean():.3f},", end=" "
    )
    print(f"ahead by {i.mean:+.3f}, 95 % from {i.low:+.3f} to {i.high:+.3f}")
print("Only where the interval lies above zero has the own map shown, on that")
print("measure and for faces like these, more than what faces have in common.")

# %% [markdown]
# **Exercise 8.5** *(to think about)*. A paper shows three faces with red mouths and concludes: "the network recognises
# happiness by the mouth." Which checks do you ask for?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 8.5
# How were the three chosen, and what do all faces give, with an interval? Does the map beat a blob, or the mean map of
# other faces, on insertion and deletion under two baselines? Are mouths red for *other* answers and for wrong answers
# too? What does the network say when the mouth is hidden, and when nothing else is shown? Does the map change when the
# weights are shuffled? Which baseline, output and colour scale? And "happiness" should read "the answer *happy*".
# :::

# %% [markdown]
# ## What to remember
#
# - Compare every map with maps that know nothing, by numbers; count losses as well as wins.
# - Name baseline, output and scale; claim what survives changing them.
# - Shuffle the weights. A map that does not notice is not about the network.
# - Small scores may be shared credit; no loss from hiding may be redundancy.
# - Look at wrong answers too, and never from a map at a person.
#
# This was the last chapter. {ref}`verdict` applies its tests to the paper's tables, and {ref}`own-model` turns to
# networks of your own.

# %%
facts = {
    "faithful": faithful.to_dict(orient="index"),
    "empty_grad_cam": empty,
    "baselines": {"same_sign": same, "always_top_five": common, "ever": ever}
    | {"lowest_correlation": lowest},
    "unchanged": unchanged.to_dict(orient="index"),
    "redundancy": {"largest_single_loss": float(alone.max()), "eight": losses}
    | {"sum_of_single_losses": float(alone.sum()), "sum": float(phi.sum())},
    "riddle": {"answer": NAMES[word], "faces": int(2 * size), "auroc": curve},
}
record = run.finish(f"seed-{seed}", data, facts)
print("Record:", records.place(record))
