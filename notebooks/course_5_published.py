# %% [markdown]
# # 5. What the published algorithm computes
#
# Chapters 3 and 4 halved an image *inside* each block and got Owen values. The paper {cite:p}`malik2021towards` prints
# a recursion that looks much the same. In this chapter you read its Algorithms 1 and 2 line by line, run them, and find
# out what they return. Afterwards you can
#
# - prove, in four lines, what kind of map the algorithm can draw, and what it cannot;
# - count what it asks of the network;
# - tell which patterns of a map come from the network and which from the algorithm;
# - mend the recursion.
#
# You need the two-player formula (chapter 1), halving and contexts (chapters 3 and 4). We read the paper's text
# (Section 3.3.2). The authors' released code has no licence, so nothing of it is copied: what stands here is our own
# writing after the printed pseudo-code, and our description of what the code does.

# %% tags=["parameters"]
dataset = "faces"  # or "fer2013"
seed = 0

# %%
from functools import partial

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML

from fercore import datasets, load_pretrained
from fercore.shapley import DnCShap, PaperDnCShap, ReleasedDnCShap
from ferlab import interactive
from ferlab.figures import course as plots, panels
from ferlab.runs import records
from ferlab.studies import course

# %%
run = records.Run("course_5_published", dataset, seed=seed)
data, network = datasets.load(dataset), load_pretrained()
index = course.example(data, network)
face, x = data.images[index], course.as_input(data, index)
with torch.inference_mode():
    shown = network(x).softmax(1)[0]
label = int(shown.argmax())
height, width = x.shape[2:]
print(f"Happy with probability {shown[label]:.2f}")

# %% [markdown]
# ## Line by line
#
# `pred_b` and `pred_f` are the outputs for the black and for the full image; `pred_1` and `pred_2` those for the two
# parts of a cut, each part alone on black.
#
# | What is printed | What it computes |
# |---|---|
# | Algorithm 2: `get_parts`, `score_1`, `score_2` | Cuts the image once. The scores are Equation 4: the Shapley values of two players. |
# | it hands part 1 `pred_b + pred_2` | the outputs *without* part 1, summed over two contexts: nothing, and part 2 |
# | and `pred_1 + pred_f` | the outputs *with* part 1, in the same two contexts |
# | Algorithm 1: `get_parts(data, ...)` | Cuts along the other axis. It is given the whole image, not the block. |
# | `score_1 = (((pred_1 - pred_b) + (pred_f - pred_2))/2)/2` | Equation 4 with the sums it was handed, halved once more |
# | `value[x_s : x_e, y_s : y_e] = score` | at the end, paints the score over the block |
#
# The print of Algorithm 1 has three gaps: `get_parts` is not told where to cut, the block's coordinates are handed on
# unchanged, and the recursive call for part 1 is given `score_2`. We fill them as Algorithm 2 and the released code do: cut at the
# middle of the block, update the block, pair part 1 with `score_1`; rows first. Cutting the
# whole image at the block's middle gives **strips** across the image, not halves of the block.
#
# First what both algorithms share. A box is a pair of intervals, rows and columns.

# %%
whole, nothing = ((0, height), (0, width)), ((0, 0), (0, 0))
calls = []


@torch.inference_mode()
def worth(box):
    """One call of the network: the output for the image inside the box."""
    calls.append(box)
    masked, inside = torch.zeros_like(x), (..., *(slice(*side) for side in box))
    masked[inside] = x[inside]
    return float(network(masked).double().softmax(1)[0, label])


# %%
def cut(box, axis, middle):
    """The parts of a box before and after a middle, along rows (0) or columns."""
    start, end = box[axis]
    sides = (start, middle), (middle, end)
    return [box[:axis] + (side,) + box[axis + 1 :] for side in sides]


# %% [markdown]
# Now Algorithm 1. Look at the line marked *strips*: it cuts `whole`, where chapter 3 cut the part in hand.


# %%
def rec_shap(times, axis, box, p_b, p_f, score):
    if times == 0:
        value[slice(*box[0]), slice(*box[1])] = score
        return
    middle = sum(box[axis]) // 2
    p_1, p_2 = map(worth, cut(whole, axis, middle))  # strips
    score_1 = ((p_1 - p_b) + (p_f - p_2)) / 2 / 2
    score_2 = ((p_2 - p_b) + (p_f - p_1)) / 2 / 2
    box_1, box_2 = cut(box, axis, middle)
    rec_shap(times - 1, 1 - axis, box_1, p_b + p_2, p_1 + p_f, score_1)
    rec_shap(times - 1, 1 - axis, box_2, p_b + p_1, p_2 + p_f, score_2)


# %% [markdown]
# Algorithm 2 makes the first cut and starts the recursion. The released scripts use `times = 9`: nine cuts, 512 cells.
# `PaperDnCShap` of this package computes the same in fewer steps, so we can check our reading.

# %%
value = np.zeros((height, width))
p_b, p_f = worth(nothing), worth(whole)
p_1, p_2 = map(worth, cut(whole, 0, height // 2))
part_1, part_2 = cut(whole, 0, height // 2)
first = ((p_1 - p_b) + (p_f - p_2)) / 2
second = ((p_2 - p_b) + (p_f - p_1)) / 2
rec_shap(8, 1, part_1, p_b + p_2, p_1 + p_f, first)
rec_shap(8, 1, part_2, p_b + p_1, p_2 + p_f, second)

printed = PaperDnCShap(network, times=9).attribute(x, label)
assert np.allclose(value, printed.region_map()[0, ..., 0], atol=1e-5)
model_calls, inputs = len(calls), len(set(calls))
print(f"{model_calls:,} calls of the network, {inputs} different inputs")

# %% [markdown]
# The procedure calls the network $2^{t+1}$ times for $t$ cuts. But strips of different branches coincide: with
# $\rho = \lceil t/2 \rceil$ row cuts and $\kappa = \lfloor t/2 \rfloor$ column cuts on the way to a cell there are only
#
# $$2 + 2\,(2^\rho - 1) + 2\,(2^\kappa - 1)$$
#
# inputs: black, full, and two strips for each place to cut. Their number grows with the square root of the number of
# cells.
#
# ## A game of four quarters
#
# Take the smallest case, $t = 2$. The players are the quarters of an image, and only the top left one counts:
# $v(S) = 1$ if it is in $S$, else 0. Its Shapley value is 1, and all others are dummies with value 0. The algorithm:
#
# 1. $p_b = v(\varnothing) = 0$, $p_f = v(\text{all}) = 1$; top half $p_1 = 1$, bottom half $p_2 = 0$.
# 2. The top half is handed $p_b' = 0 + 0 = 0$ and $p_f' = 1 + 1 = 2$. Left strip $p_1 = 1$, right strip $p_2 = 0$. Scores:
#    $\frac14[(1 - 0) + (2 - 0)] = \frac34$ and $\frac14[(0 - 0) + (2 - 1)] = \frac14$.
# 3. The bottom half is handed $p_b' = 0 + 1 = 1$, $p_f' = 0 + 1 = 1$, and asks for the same strips. Scores:
#    $\frac14[(1 - 1) + (1 - 0)] = \frac14$ and $\frac14[(0 - 1) + (1 - 1)] = -\frac14$.
#
# The scores sum to 1, as they should. Still, three dummies get $\frac14, \frac14$ and $-\frac14$: those that share a row or a
# column with the player that counts are paid for it, or fined.
#
# ## A row profile plus a column profile
#
# **Claim.** With the gaps filled as above, the map of $t \ge 2$ cuts is $S(r, s) = \alpha(r) + \beta(s)$ for row $r$ and
# column $s$, a matrix of rank at most two. **Proof.** Let $D$ be `pred_f - pred_b` of a block, $D_0$ that of the image, and $\Delta$ be
# `pred_1 - pred_2` of a cut.
#
# 1. Part 1 is handed $(p_1 + p_f) - (p_b + p_2) = D + \Delta$, part 2 likewise $D - \Delta$.
# 2. Below the first cut, the score of a part is a quarter of what it is handed: $\frac14(D + \Delta)$ and
#    $\frac14(D - \Delta)$. (Algorithm 2 halves once only; with $t \ge 2$ its scores are overwritten.)
# 3. A strip that cuts rows spans all columns. So $\Delta$ and its sign depend on $r$ alone; for column cuts on $s$ alone.
# 4. Hence $S(r, s) = \frac14\bigl[D_0 + \sum_{\text{row cuts}} \pm\Delta + \sum_{\text{column cuts}} \pm\Delta\bigr]
#    = \alpha(r) + \beta(s)$. $\square$
#
# The singular values say the same of the map just computed, and something else of exact Owen values on 64 regions.
# (`tree="alternate"` cuts rows and columns in turn, rows first, as above; the default cuts the longer side of a block.)

# %%
exact = DnCShap(network, depth=6, contexts="exact", tree="alternate")
owen = exact.attribute(x, label)
ranks = {}
for name, result in {"as printed": printed, "exact": owen}.items():
    singular = np.linalg.svd(result.region_map()[0, ..., 0], compute_uv=False)
    ranks[name] = int((singular > 1e-9 * singular[0]).sum())
    ratios = ", ".join(f"{ratio:.0e}" for ratio in singular[:4] / singular[0])
    print(f"{name}: rank {ranks[name]}, singular values {ratios}, ...")

# %% mystnb={"figure": {"name": "fig-profiles", "caption": "The map of Algorithms 1 and 2, and the two curves that it is the sum of: each pixel is the value of its row plus the value of its column. Red is positive, blue negative, on a scale of this map's own."}, "image": {"alt": "A face under a map of horizontal and vertical bands in red and blue; a step curve of column values above it, and one of row values beside it."}}
plots.profiles(face, printed.region_map()[0, ..., 0])

# %% [markdown]
# ## The sum doubles
#
# At every cut $+\Delta$ goes to as many final cells as $-\Delta$, so in the sum all of them cancel. What is left is $D_0/4$
# for each of $2^t$ cells, together $2^{t-2} D_0$; for $t = 1$, where only Algorithm 2 acts, $D_0$. A map of Shapley
# values must sum to $D_0$.
#
# The **released code** differs in one term: below the first cut, `score_2` subtracts `pred_2` where `pred_1` belongs, so that `pred_2` cancels:
#
# $$\tfrac14\bigl[(p_2 - p_b) + (p_f - p_2)\bigr] = \tfrac14(p_f - p_b) = \tfrac14 D.$$
#
# Scores on the way down are overwritten, so this is seen at the last cut only. There, the second part of every cut
# gets this number whatever its strip shows. As printed, the two parts get $\frac14(D \pm \Delta)$, with mean $D/4$: the
# second part gets what should have been the mean of both.

# %%
sums = []
for times in range(1, 10):
    kinds = [PaperDnCShap, ReleasedDnCShap]
    found = [kind(network, times=times).attribute(x, label) for kind in kinds]
    ratio = [r.region_scores.sum() / (shown[label].item() - p_b) for r in found]
    asked = [2**times, found[0].calls, int(found[0].evaluations[0])]
    sums.append([*asked, *ratio])
names = ["cells", "calls", "inputs", "sum / D, printed", "sum / D, released"]
sums = pd.DataFrame(sums, columns=names, index=range(1, 10))
sums.drop(columns="calls").rename_axis("times").round(2)

# %%
pairs = printed.region_scores[0, :, 0].reshape(-1, 2)
released = ReleasedDnCShap(network, times=9).attribute(x, label)
slipped = released.region_scores[0, :, 0].reshape(-1, 2)
assert np.allclose(slipped[:, 0], pairs[:, 0])
assert np.allclose(slipped[:, 1], pairs.mean(axis=1))
changed = np.abs(slipped - pairs)[:, 1] > 1e-9
print(f"{changed.sum()} of {pairs.size} cells differ from the print")
lost = (pairs[:, 0] - pairs[:, 1]).sum() / 2  # pairs are (D + Δ) / 4, (D - Δ) / 4
assert np.isclose(slipped.sum(), pairs.sum() + lost)
bands = released.region_map()[0, ..., 0]
ranks["released"] = int(np.linalg.matrix_rank(bands, rtol=1e-9))
print(f"rank of the released map: {ranks['released']}")

# %% [markdown]
# The sum as printed doubles with every cut after the second. That of the released code is off by what the lost
# $\Delta$ add up to, a quarter of their sum. Its map is still of the form $\alpha(r) + \beta(s)$: the last $\Delta$ is merely left
# out in half of the cells, those of the rows (or the columns) that come second.
#
# ## Planted networks
#
# Whether a map is right is hard to say on a trained network, for nobody knows what it looks at. So we plant one that we know:
# it looks at one box only, around an eye. Its probability is 0.05, plus 0.9 times the share of the box's light that is
# shown. A second network takes the mean of two boxes: the eye, and a corner of the mouth. Both are **additive**
# games, the easiest there are: contexts do not matter, and a method should get these right.


# %%
def looks_at(boxes, images):
    """Logits of a network that sees the light in some boxes only."""
    seen = [images[(..., *box)].sum((1, 2, 3)) for box in boxes]
    light = [x[(..., *box)].sum() for box in boxes]
    p = 0.05 + 0.9 * sum(a / b for a, b in zip(seen, light)) / len(boxes)
    return torch.stack([p, 1 - p], dim=1).log()


eye = slice(height // 4, height // 2), slice(width // 8, 3 * width // 8)
mouth = slice(height // 2, 3 * height // 4), slice(width // 2, 3 * width // 4)
planted = {"one eye": [eye], "eye and mouth corner": [eye, mouth]}
ghosts = [(eye[0], mouth[1]), (mouth[0], eye[1])]

# %% mystnb={"figure": {"name": "fig-planted", "caption": "Two planted networks that look at the solid frames only; dashed frames are ghosts. The map of Algorithms 1 and 2 with 512 and with 64 cells, and those of DnCShap on 64 regions, with its default contexts and with exact ones. Each map has its own colour scale."}, "image": {"alt": "Two rows of a face and four maps. The two printed maps are plaids of bands in red and blue over the whole image, strong inside and beside all frames, solid and dashed; DnCShap colours the solid frames."}}
drawn, shares = {}, []
for name, boxes in planted.items():
    known, pictures = partial(looks_at, boxes), {}
    for times in (9, 6):
        bands = PaperDnCShap(known, times=times).attribute(x, 0).region_map()
        pictures[f"printed, {2**times} cells"] = bands[0, ..., 0]
    for contexts in ("adaptive", "exact"):
        ours = DnCShap(known, depth=6, contexts=contexts, tree="alternate")
        density = ours.attribute(x, 0).pixel_map()[0, ..., 0]
        pictures[contexts] = density.sum(axis=-1)
    drawn[name] = boxes, pictures
plots.planted(face, drawn, {"eye and mouth corner": ghosts})

# %% [markdown]
# With one eye ({numref}`fig-planted`, above), the published map is a plaid: strong around the eye, with bands as strong beside
# it (look at 512 cells). Nearly every region outside the box gets a score, though all of them are dummies. With two boxes, their rows and columns
# cross in four places. Two of these are **ghosts** (dashed), to the right of the eye and below it, where the network does not look.
# No network can prevent it. For *any* map $\alpha(r) + \beta(s)$,
#
# $$S(r, s) + S(r', s') = S(r, s') + S(r', s),$$
#
# so the two ghosts together always get as much as the two places that count.

# %%
for name, (boxes, pictures) in drawn.items():
    inside = np.zeros((height, width), dtype=bool)
    inside[boxes[0]] = inside[boxes[-1]] = True
    alpha, beta = plots.additive_parts(pictures["exact"])
    best = {"best α + β": alpha[:, None] + beta}
    for title, drawing in (pictures | best).items():
        row = {"network": name, "map": title}
        row["mass inside"] = np.abs(drawing)[inside].sum() / np.abs(drawing).sum()
        row["peak inside"] = bool(inside.flat[drawing.argmax()])
        if len(boxes) == 2:
            means = [[drawing[b].mean() for b in bs] for bs in (ghosts, boxes)]
            row["ghosts / boxes"] = sum(means[0]) / sum(means[1])
        shares.append(row)
shown_shares = pd.DataFrame(shares).set_index(["network", "map"]).round(2)
shown_shares.astype(object).fillna("–")

# %% [markdown]
# *Mass inside* is the share of a map's absolute mass within the boxes (one covers a sixteenth of the image, both an
# eighth). *Ghosts / boxes* is what the ghosts get for each unit that the boxes get. What "adaptive", the default, leaves outside
# is guessed: it fits a guess to what it has asked (chapter 6). With exact contexts nothing is left.
#
# *Peak inside* says whether the largest value lies in a box. *Best α + β* is the sum of profiles that fits the exact map best
# (Exercise 5.4). With one eye its peak is inside, so the form alone does not explain why that of the 512 cells lies just outside.
# The weights do: every cut enters with the same $\frac14$ and compares whole strips. A row just
# outside the box loses the cut that parts it from the box, and is then on the better side of *every* later cut, each time by all that
# the box is worth. The rows within are cut further, too, but there each side has a part of the box only. (64 cells have too few later
# cuts for that.) With two boxes, a ghost can be the peak even of the best fit.
#
# ## What was probably meant
#
# The paper's *text* describes something better. "Now $x_1$ and $x_2$ are further divided" speaks of blocks, not of
# strips. Its Equation 5 is introduced as a property to hold "for each and every part": children sum to their parent. And
# handing on outputs with and without a part, in both contexts, is the right idea: it is chapter 3's recursion with all
# contexts, if the halves of the part are then asked in *both* contexts too, and sums are divided by the number of contexts. The
# second halving in `/2)/2` does so where there are two of them, at the second cut. But the pseudo-code asks once, still adds,
# and never divides by more. So $\Delta$ of every cut enters with the same weight $\frac14$, while the sums grow.
#
# Two changes mend it, with as many calls as before. Cut `box` instead of `whole`, and hand on *means* instead of sums,
# $\frac12(p_b + p_2)$ and $\frac12(p_1 + p_f)$; then Equation 4 needs no second halving. The difference $p_f - p_b$ that a
# part is handed is now its score, children sum to their parent, and with $\Delta = v(A) - v(B)$ for the halves of a block $P$
#
# $$\varphi_A = \tfrac12 \varphi_P + \tfrac12 \Delta, \qquad \varphi_B = \tfrac12 \varphi_P - \tfrac12 \Delta.$$
#
# This is chapter 3's recursion in one context, nothing else visible: `contexts="absent"` with `share="half"` (what is left over
# is shared equally, Equation (3.1)). It is linear in the number of regions, as the paper claims. Let us see all of them on the face.

# %%
mended = DnCShap(
    network, depth=6, contexts="absent", share="half", tree="alternate"
).attribute(x, label)
coarse = PaperDnCShap(network, times=6).attribute(x, label)
kinds = {"printed": printed, "released": released, "printed, 64 cells": coarse}
kinds |= {"boxes and means": mended, "exact": owen}
maps = {n: r.pixel_map()[0, ..., 0].sum(axis=-1) for n, r in kinds.items()}
table = {}
for name, result in kinds.items():
    alike = np.corrcoef(maps[name].ravel(), maps["exact"].ravel())[0, 1]
    total = result.region_scores.sum() / (result.predictions - result.base_values)
    spent = int(result.evaluations[0])
    table[name] = {"inputs": spent, "sum / D": total.item(), "correlation": alike}
pd.DataFrame.from_dict(table, orient="index").round(2)

# %% mystnb={"figure": {"name": "fig-repair", "caption": "The same face under the printed algorithm and the behaviour of the released code (512 cells each), under the printed one with 64 cells, under the mended recursion and under exact Owen values (64 regions each). Each map has its own colour scale."}, "image": {"alt": "A face and five maps in two rows: the three published ones show horizontal and vertical bands, the other two show single regions."}}
panels.in_rows(face, maps, columns=3)

# %% [markdown]
# *Correlation* is that of the pixels with the exact map. A fair comparison is one at the same fineness: *printed, 64 cells* against
# *boxes and means* ({numref}`fig-repair`). Below, go cut by cut: beside each level stands the sum.

# %% tags=["hide-input"]
levels = range(7)
strips = [2] + [int(v) for v in sums["inputs"][:6]]
halves = [2] + [2 ** (level + 1) for level in levels[1:]]
full = [2 * (4**level - 1) // 3 + 2 for level in levels]
spent = {"as printed": (coarse, strips), "boxes and means": (mended, halves)}
spent |= {"exact": (owen, full)}
rules = {
    name: ([scores[0, :, 0] for scores in result.levels], counts)
    for name, (result, counts) in spent.items()
}
HTML(interactive.stepper([interactive.stepper_face("Happy", face, rules)]))

# %% [markdown]
# What we do not know: which code drew the paper's figures. If it was the released one, bands in them are
# the algorithm's, for its map is a sum of two profiles like the printed one. And mending makes a map local and its sum right; how *close* it is to Shapley values is the question
# of the next chapter.
#
# ## Exercises

# %% [markdown]
# **Exercise 5.1** *(by hand)*. Four quarters again, but now two are needed together: $v(S) = 1$ if top left *and* bottom
# right are in $S$, else 0. What does the printed algorithm return at $t = 2$? What are the Shapley values?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 5.1
# Every strip (top, bottom, left, right) shows one of the two at most, so each $p_1$ and $p_2$ is 0 and each $\Delta$ is 0.
# Both halves are handed $p_b' = 0 + 0$ and $p_f' = 0 + 1$, and every quarter scores
# $\frac14[(0 - 0) + (1 - 0)] = \frac14$. The map is flat. The two that are needed are symmetric and the others are dummies:
# the Shapley values are $\frac12, 0, 0, \frac12$. Both sum to 1, so the sum does not reveal the error.
# :::

# %% [markdown]
# **Exercise 5.2** *(by hand)*. At $t = 4$: how many calls, how many different inputs, how many cells? How many numbers
# determine the map?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 5.2
# Calls: $2^5 = 32$ (four at the first cut, then two for each of $2 + 4 + 8$ blocks). Two cuts of rows and two of columns lead to
# a cell, so $2 + 2 \cdot 3 + 2 \cdot 3 = 14$ inputs, for 16 cells. The map is determined by $D_0$, three $\Delta$ of rows and
# three of columns: seven numbers.
# :::

# %% [markdown]
# **Exercise 5.3** *(by code)*. Mend `rec_shap` by the two changes of the last section. Let it collect the final scores in a
# list. Check that they sum to $D_0$ at six cuts, and that they are the `region_scores` of `mended`.


# %% tags=["solution", "hide-cell"]
def mended_shap(times, axis, box, p_b, p_f):
    if times == 0:
        leaves.append(p_f - p_b)  # what is handed on is the score
        return
    parts = cut(box, axis, sum(box[axis]) // 2)
    p_1, p_2 = map(worth, parts)
    handed = (p_b + p_2, p_1 + p_f), (p_b + p_1, p_2 + p_f)
    for part, (low, high) in zip(parts, handed):
        mended_shap(times - 1, 1 - axis, part, low / 2, high / 2)


leaves = []
mended_shap(6, 0, whole, p_b, p_f)
assert np.isclose(sum(leaves), p_f - p_b)
assert np.allclose(leaves, mended.region_scores[0, :, 0], rtol=0, atol=1e-6)

# %% [markdown]
# **Exercise 5.4** *(by code)*. Suppose an algorithm could draw the *best* map of the form $\alpha(r) + \beta(s)$. The
# least-squares fit to a map is row mean plus column mean minus mean. How much of the variation of `maps["exact"]` about its
# mean would it show, and what would it sum to?

# %% tags=["solution", "hide-cell"]
target = maps["exact"]
rows, columns = target.mean(axis=1, keepdims=True), target.mean(axis=0)
best = rows + columns - target.mean()
missed = ((target - best) ** 2).sum() / ((target - target.mean()) ** 2).sum()
assert np.linalg.matrix_rank(best, rtol=1e-9) <= 2
assert np.isclose(best.sum(), target.sum())  # the sum can be right all the same
print(f"shown: {1 - missed:.0%}; sum / D: {best.sum() / (p_f - p_b):.2f}")

# %% [markdown]
# **Exercise 5.5** *(to think about)*. The paper reads from its maps that the features of "Sad" are "distributed throughout
# the face vertically". What would you measure before you believe that this is a property of sad faces?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 5.5
# Vertical bands are what this algorithm draws for every image and every network, a planted one included. So compare:
# the same emotion under a method that can localise; other emotions under the same method; and a network with random
# weights. The sentence is supported if the vertical spread of sad faces exceeds that of the others in maps that *could* show
# something else. The page {doc}`Facial regions <../fer2013/regions>` measures it.
# :::

# %% [markdown]
# ## What to remember
#
# - Strips across the whole image make every map a row profile plus a column profile, whatever the network has learnt. It
#   cannot single out one eye.
# - Sums handed down where means belong double the total with every cut after the second.
# - The released code adds a slip: the second part of every last cut gets what should be the mean of both.
# - Many calls need not be many questions: count distinct inputs.
# - Test an explainer on a planted network first. There, the right answer is known.
#
# Next: with the recursion mended, *how close* are its values to Owen values, and Owen values to Shapley's? Chapter 6 puts
# error bars on it.

# %%
facts = {
    "probability": float(shown[label]),
    "model_calls": model_calls,
    "distinct_inputs": inputs,
    "ranks": ranks,
    "sum_over_gap": sums.to_dict(orient="list"),
    "cells_changed_by_the_slip": int(changed.sum()),
    "planted": shares,
    "maps": table,
}
record = run.finish("pretrained", data, facts)
print("Record:", records.place(record))
