# %% [markdown]
# # 3. Divide and conquer
#
# A face has been turned into a game: the players are regions, a region that is absent is painted black, and the
# worth $v(S)$ of a coalition $S$ is the probability that the network gives when only the regions of $S$ are
# shown. Shapley values of 64 such players need $2^{64}$ evaluations. This chapter builds the way out that the
# paper takes {cite:p}`malik2021towards`: cut the face in two, share the payoff between the halves, and treat
# each half in the same way.
#
# At the end you can
#
# - share the score of a face between two halves by hand, from four evaluations,
# - say what a *context* is, and why cutting a half needs one,
# - write the recursion in ten lines and check its sums at every level,
# - tell the score of a region from the density of a map.
#
# It builds on the Shapley value of two players (chapter 1) and on masking (chapter 2).

# %% tags=["parameters"]
dataset = "faces"  # or "fer2013"
seed = 0  # for the record: nothing on this page is random

# %%
import numpy as np
import pandas as pd
import torch
from IPython.display import HTML

import fercore
from fercore import datasets
from fercore.emotions import Emotion
from fercore.shapley import DnCShap, build_tree
from ferlab import interactive, provenance
from ferlab.figures import course as plots_tree
from ferlab.runs import records
from ferlab.studies import course

# %% [markdown]
# ## The face
#
# The network is the one that comes with the package. It learnt from photographs, those of FER2013. If the face
# of this page is a drawing, the network has never seen its like; it was chosen because the network is sure of
# it all the same.

# %%
run = records.Run("course_3_divide", dataset, seed=seed)
data = datasets.load(dataset)
network = fercore.load_pretrained()
index = course.example(data, network)
face = course.as_input(data, index)
happy = Emotion.HAPPY

# %% [markdown]
# A coalition is a **mask**, true on the pixels that are shown. The function `worth` is the game; it remembers
# what it has evaluated, so that the length of `known` is the number of evaluations spent.

# %%
known = {}


def worth(shown):
    """v: the probability of "happy" when only the pixels of a mask are shown."""
    key = shown.tobytes()
    if key not in known:
        with torch.inference_mode():
            logits = network(face * torch.from_numpy(shown))
        known[key] = logits.double().softmax(1)[0, happy].item()
    return known[key]


# %% [markdown]
# ## Two halves are two players
#
# Let $A$ be the top half and $B$ the bottom half. This game has four coalitions, and
# {numref}`fig-two-players` shows what the network sees of each.


# %% mystnb={"figure": {"name": "fig-two-players", "caption": "The game of two halves: the four coalitions as the network sees them, and the worth of each, the probability of happy."}, "image": {"alt": "Four versions of one face side by side: all black, only the top half, only the bottom half, and the whole face; under each its worth."}}
def halves(part, axis):
    """Cut a rectangle, given as a mask, in the middle: axis 0 cuts rows, 1 columns."""
    lines = np.flatnonzero(part.any(axis=1 - axis))
    first = part & (np.indices(part.shape)[axis] < lines[len(lines) // 2])
    return first, part & ~first


everything = np.ones(face.shape[2:], dtype=bool)
nothing = ~everything
top, bottom = halves(everything, 0)
shown = {"nothing": nothing, "top": top, "bottom": bottom, "everything": everything}
v = {name: worth(mask) for name, mask in shown.items()}
plots_tree.coalitions(data.images[index], shown, v)

# %% [markdown]
# The Shapley value of a player is its mean marginal contribution over the orders of arrival. With two players
# there are two orders: $A$ comes first, to nothing, or second, to $B$. This is the paper's Equation 4:
#
# $$
# \varphi_A = \tfrac12\,[v(A) - v(\varnothing)] + \tfrac12\,[v(A \cup B) - v(B)],
# $$
#
# and $\varphi_B$ with $A$ and $B$ exchanged. Add the two, and $v(A)$ and $v(B)$ cancel:
# $\varphi_A + \varphi_B = v(A \cup B) - v(\varnothing)$. That is **efficiency**. With the four numbers of the
# figure:

# %%
score = {}
for half, other in (("top", "bottom"), ("bottom", "top")):
    first, second = v[half] - v["nothing"], v["everything"] - v[other]
    score[half] = (first + second) / 2
    steps = f"({v[half]:.3f} - {v['nothing']:.3f}) / 2"
    steps += f" + ({v['everything']:.3f} - {v[other]:.3f}) / 2"
    print(f"{half:>6}: {steps} = {score[half]:.3f}")
total = v["everything"] - v["nothing"]
print(f"   sum: {sum(score.values()):.3f}, to be shared: {total:.3f}")

# %% [markdown]
# ## Four quarters: halve each half, in a context
#
# The paper goes on: the halves "are further divided, and their Shapley values are computed". Take the top half,
# $P$, and cut it into left $A$ and right $B$. Equation 4 asks for $v(A)$. But what does the bottom half show
# meanwhile? It is no player in the game of $A$ and $B$, yet it must be either shown or hidden. The pixels
# outside $P$ that are shown are the **context** $C$:
#
# $$
# \varphi_A(C) = \tfrac12\,[v(C \cup A) - v(C)] + \tfrac12\,[v(C \cup P) - v(C \cup B)].
# $$
#
# Each context is a game of its own, with values of its own:


# %%
def two_players(a, b, context):
    """Equation 4 in a context: the scores of two halves of one part."""
    c, ca, cb, cp = (worth(context | part) for part in (nothing, a, b, a | b))
    return ((ca - c) + (cp - cb)) / 2, ((cb - c) + (cp - ca)) / 2


rows = {}
for name, half, other in (("top", top, bottom), ("bottom", bottom, top)):
    for context, mask in (("hidden", nothing), ("shown", other)):
        left, right = two_players(*halves(half, 1), mask)
        left_over = score[name] - left - right
        rows[name, context] = left, right, left + right, score[name], left_over
columns = ["left", "right", "their sum", "score of the half", "left over"]
quarters = pd.DataFrame(rows, index=columns).T.rename_axis(["half", "other half"])
quarters.round(3)

# %% [markdown]
# In no single context need the quarters sum to the score of their half. Efficiency of the small game says that
# they sum to $v(C \cup P) - v(C)$, while the score of the half is the *mean* of this over two contexts, hidden
# and shown. So what is left over has the same size in the two contexts and opposite signs. Let $I$ be the
# **interaction** of the halves, what they achieve together beyond what each achieves alone (which may be
# negative). Then $+I/2$ is left over where the other half is hidden, and $-I/2$ where it is shown:

# %%
interaction = v["everything"] - v["top"] - v["bottom"] + v["nothing"]
print(f"interaction {interaction:.3f}, half of it {interaction / 2:.3f}")

# %% [markdown]
# ## Which contexts?
#
# Level 0 is the whole face, level 1 the halves, level 2 the quarters, and so on. To cut a quarter, look at its two
# **siblings** on the way up: the other quarter of its half, and the other half. Each is hidden or shown, which
# makes four contexts. In general, cutting a part on level $d$, which has $d$ siblings on its way up, needs $2^d$
# contexts and gives scores on level $d + 1$. Four rules, of which the second is left to an exercise:
#
# - **absent**: one context, nothing else is shown;
# - **present**: one context, everything else is shown;
# - **both**: the mean of these two;
# - **all**: every union of siblings. `DnCShap` calls it `"exact"`; chapter 4 says exactly what.
#
# Whatever the contexts, the rest is the same. Take the mean of $\varphi_A(C)$ over the contexts of the rule,
# call it $m_A$, likewise $m_B$, and **share equally what is left over** of the parent's score $\varphi_P$:
#
# $$
# \varphi_A = m_A + r, \qquad \varphi_B = m_B + r, \qquad r = \tfrac12\,(\varphi_P - m_A - m_B). \tag{3.1}
# $$
#
# Add the two: $\varphi_A + \varphi_B = \varphi_P$. So the children's scores sum to their parent's at every cut,
# whatever the contexts are. Equal shares are a convention, for nothing in the contexts says who earned the rest;
# Exercise 3.4 shows its price.
#
# **Under "all" nothing is left over**, $r = 0$ at every cut. The contexts of a part $P$ are those of its parent
# $G$, each with the sibling of $P$ hidden and shown. Averaging $v(C \cup P) - v(C)$ over them is averaging
# Equation 4 over the contexts of $G$, which is $m_P$, and $m_P$ is $\varphi_P$ if nothing was left over above.
# At the root nothing is. And $m_A + m_B$ is that very average.
#
# ## The recursion in ten lines
#
# A rule says which contexts a half gets: a function of the half, its sibling and the contexts of the part that
# was cut. The recursion itself does not know which rule it follows. The axis changes with every level, rows
# first.

# %%
rules = {
    "absent": lambda half, sibling, contexts: [nothing],
    "both": lambda half, sibling, contexts: [nothing, ~half],
    "all": lambda half, sibling, contexts: (
        contexts + [c | sibling for c in contexts]
    ),
}


# %%
def divide(part, score, contexts, rule, cuts, axis=0):
    """Share the score of a part among its 2**cuts regions."""
    if cuts == 0:
        return [score]
    a, b = halves(part, axis)
    m_a, m_b = np.mean([two_players(a, b, context) for context in contexts], axis=0)
    rest = (score - m_a - m_b) / 2
    for_a = divide(a, m_a + rest, rule(a, b, contexts), rule, cuts - 1, 1 - axis)
    for_b = divide(b, m_b + rest, rule(b, a, contexts), rule, cuts - 1, 1 - axis)
    return for_a + for_b


# %% [markdown]
# Is it right? The same tree, sixteen regions, by our function and by the library, which knows nothing of it:

# %%
agreement, theirs = {}, {}
for name, rule in rules.items():
    known.clear()
    gain = worth(everything) - worth(nothing)
    ours = divide(everything, gain, [nothing], rule, cuts=4)
    about = {"depth": 4, "tree": "alternate", "share": "half"}
    explainer = DnCShap(network, contexts=name.replace("all", "exact"), **about)
    theirs[name] = explainer.attribute(face, happy)
    gap = np.abs(ours - theirs[name].region_scores[0, :, 0]).max()
    agreement[name] = {"largest_difference": gap, "evaluations": len(known)}
    spent = f"{len(known)} evaluations, DnCShap {theirs[name].evaluations[0]}"
    print(f"{name:>6}: largest difference {gap:.0e}, sum {sum(ours):.4f}, {spent}")
    assert gap < 1e-6

# %% [markdown]
# The two differ by less than a millionth; what is left is the rounding of single precision. (`share="half"` asks
# the library to share equally, as we do; its default goes by pixels, the same where halves are equal.) Every row has the
# right sum, the cheap ones too: **the sum proves nothing about the contexts**. The evaluations are counted in
# chapter 4. The cost that the paper states, $T(n) = 2\,T(n/2) + O(1)$ and so $T(n) = O(n)$, is that of a rule
# with a fixed number of contexts.
#
# ## Efficiency at every level
#
# `attribute` keeps the scores of all levels. From level 0, the whole face, to level 4, the sixteen regions, the
# sums are

# %%
for name, result in theirs.items():
    levels = [level[0, :, 0] for level in result.levels]
    pairs = [level.reshape(-1, 2).sum(axis=1) for level in levels[1:]]
    gap = max(np.abs(pair - above).max() for pair, above in zip(pairs, levels))
    sums = ", ".join(f"{level.sum():.4f}" for level in levels)
    print(f"{name:>6}: {sums}; children against their parent: {gap:.0e}")

# %% [markdown]
# ## Score and density
#
# A score belongs to a *region*. It is shared among the parts, so scores tend to shrink as regions do. To paint
# a map, there are two ways. The paper writes the score over every pixel of the region
# (`value[x_s : x_e, y_s : y_e] = score` in Algorithm 1). The sum over such a map depends on the number of
# pixels in a region. The **density**, the score divided by the number of pixels of the region, sums over the
# pixels to what there is to share, at every level. In the notation of the paper's chapter that is
# $f(x) - f(b)$, the score of the image minus the score of the all-black baseline. `explainer.levels` gives the
# first kind, level by level:

# %%
maps = {}
for name in ("absent", "both", "exact"):
    explainer = DnCShap(network, contexts=name, depth=6, tree="alternate")
    maps[name] = [level[0, :, :, 0] for level in explainer.levels(face, happy)]
pixels = [everything.size / 2**level for level in range(7)]  # of one region
density = [values / size for values, size in zip(maps["exact"], pixels)]
for level in (1, 3, 6):
    score_sum, density_sum = maps["exact"][level].sum(), density[level].sum()
    print(
        f"level {level}: scores sum to {score_sum:.1f}, density to {density_sum:.4f}"
    )

# %% mystnb={"figure": {"name": "fig-levels", "caption": "The exact scores level by level. Above, every pixel holds the score of its region; below, the same divided by the pixels of the region. One colour scale per row."}, "image": {"alt": "Two rows of maps over one face, a column for each of five levels from two large regions to sixty-four small ones, red for happy and blue against it; colours tend to fade to the right in the upper row and to the left in the lower row."}}
drawn = {f"{2**level} regions": level for level in (1, 2, 3, 4, 6)}
upper = {title: maps["exact"][level] for title, level in drawn.items()}
lower = {title: density[level] for title, level in drawn.items()}
plots_tree.by_level(data.images[index], upper, lower)

# %% [markdown]
# Read {numref}`fig-levels` row by row. The upper row answers "how much does this region earn?", the lower row
# "where is it earned?". The upper row tends to fade to the right as regions shrink, the lower row to the
# left, because a large region dilutes what one spot in it earns.
#
# ## What the choice of contexts does
#
# All rules have the right sums. Their maps may differ all the same. The table gives, level by level, how far a
# rule is from "exact", relative to the size of the exact scores:
# $\lVert \varphi - \varphi^{\text{exact}} \rVert / \lVert \varphi^{\text{exact}} \rVert$.

# %%
errors = {}
for name in ("absent", "both"):
    pairs = list(zip(maps[name], maps["exact"]))
    errors[name] = [np.linalg.norm(m - t) / np.linalg.norm(t) for m, t in pairs]
errors = pd.DataFrame(errors).rename_axis("level").T
errors.round(2)

# %% [markdown]
# Level 1 is free of error by construction, for the root has one context, the empty one. With "both" so is level
# 2: its scores come from cutting the halves, and a half has no other contexts than hidden and shown. Below that
# something is left out, and a second context does not always help: compare the rows level by level. An error of 1 is that
# of a map of zeros. How cheap a rule may be is therefore a question to be measured, which chapter 6 does.
#
# ## Step through the levels
#
# Now all the way to level 9, 512 regions, under three rules. The third is what the paper's Algorithms 1 and 2
# compute, run as literally as they can be.

# %%
stepped = course.stepper_rules(network, face, happy, depth=9)
own = course.keep(data.title, data.images[index], stepped)
kept, place = [own], "results/course_3_divide/fer2013/happy.json"
photo = provenance.project_root() / place
if dataset != "fer2013" and photo.is_file():
    kept.append(records.read(photo)["metrics"]["stepper"])
ratios = {
    rule: [s.sum() / total for s in scores] for rule, (scores, _) in stepped.items()
}
sums = pd.DataFrame(ratios).rename_axis("level").T
sums.round(2)

# %% tags=["hide-input"]
HTML(
    interactive.stepper(
        [interactive.stepper_face(*course.restore(one)) for one in kept]
    )
)

# %% [markdown]
# Three things to try. Tick the box for one colour scale, compare "absent" with "both" on levels 1, 2 and 3, and
# say where they part. Go down to level 9 and see whether a rule still draws something like a face. (There a side of three pixels is cut into one
# row and two. A score of the same size looks twice as strong on one row as on two, which is where the fine
# horizontal lines come from.) Then watch the sum of "as published": the table above gives the sums as multiples
# of $f(x) - f(b)$. The first two rules stay at 1. The third does so up to level 2 and doubles from then on, and
# its map consists of bands; chapter 5 proves both.
#
# ## Exercises

# %% [markdown]
# **Exercise 3.1** *(by hand)*. Two halves $P$ and $Q$ have $v(\varnothing) = 0.1$, $v(P) = 0.5$, $v(Q) = 0.3$
# and $v(P \cup Q) = 0.9$. Cut $P$ into $A$ and $B$, with $v(A) = 0.2$, $v(B) = 0.3$, $v(Q \cup A) = 0.4$ and
# $v(Q \cup B) = 0.8$. Find the scores of $P$ and $Q$, then those of $A$ and $B$ under "absent", "present"
# and "both". Why is "all" not asked for?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 3.1
# $\varphi_P = \tfrac12(0.5 - 0.1) + \tfrac12(0.9 - 0.3) = 0.5$ and
# $\varphi_Q = \tfrac12(0.3 - 0.1) + \tfrac12(0.9 - 0.5) = 0.3$; their sum is $0.8 = 0.9 - 0.1$.
#
# With $Q$ hidden, $m_A = \tfrac12(0.2 - 0.1) + \tfrac12(0.5 - 0.3) = 0.15$ and
# $m_B = \tfrac12(0.3 - 0.1) + \tfrac12(0.5 - 0.2) = 0.25$. Left over is $0.5 - 0.4 = 0.1$, so "absent" gives
# $0.20$ and $0.30$.
#
# With $Q$ shown, $m_A = \tfrac12(0.4 - 0.3) + \tfrac12(0.9 - 0.8) = 0.10$ and
# $m_B = \tfrac12(0.8 - 0.3) + \tfrac12(0.9 - 0.4) = 0.50$. Left over is $0.5 - 0.6 = -0.1$, so "present" gives
# $0.05$ and $0.45$.
#
# "both": the means are $0.125$ and $0.375$, and nothing is left over. "all" has the same two contexts here, so
# the same scores.
# :::

# %% [markdown]
# **Exercise 3.2** *(by hand)*. Write $D(C) = v(C \cup A) - v(C \cup B)$ and $\overline{D}$ for its mean over
# the contexts. Show that Equation (3.1) is the same as $\varphi_A = \tfrac12 \varphi_P + \tfrac12 \overline{D}$
# and $\varphi_B = \tfrac12 \varphi_P - \tfrac12 \overline{D}$. Which two evaluations does a cut no longer need?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 3.2
# In $\varphi_A(C) - \varphi_B(C)$ the terms $v(C)$ and $v(C \cup P)$ cancel, and what remains is
# $v(C \cup A) - v(C \cup B)$. So $m_A - m_B = \overline{D}$. Now
# $\varphi_A = m_A + \tfrac12(\varphi_P - m_A - m_B) = \tfrac12 \varphi_P + \tfrac12(m_A - m_B)$, and likewise
# for $B$ with a minus sign. The ends $v(C)$ and $v(C \cup P)$ are not needed: two evaluations per cut and
# context are enough. The root needs $f(x)$ and $f(b)$ once, for $\varphi_{\text{root}}$.
# :::

# %% [markdown]
# **Exercise 3.3** *(by code)*. Use Exercise 3.2 to write a shorter `divide` for the rule "present", with one
# context per part: everything outside it. Compare it with `DnCShap(contexts="present")` on 16 regions.


# %% tags=["solution", "hide-cell"]
def present(part, score, cuts, axis=0):
    """Share a score among 2**cuts regions; everything else is shown."""
    if cuts == 0:
        return [score]
    a, b = halves(part, axis)
    difference = worth(~part | a) - worth(~part | b)
    parts = (a, (score + difference) / 2), (b, (score - difference) / 2)
    return [s for half, of in parts for s in present(half, of, cuts - 1, 1 - axis)]


explainer = DnCShap(network, contexts="present", depth=4, tree="alternate")
theirs = explainer.attribute(face, happy).region_scores[0, :, 0]
assert np.abs(present(everything, total, 4) - theirs).max() < 1e-6

# %% [markdown]
# **Exercise 3.4** *(by code, then think)*. A region whose pixels are black already changes nothing when it is
# shown: it is a **dummy**, and its Shapley value is zero. Paint the top left sixteenth of the face black
# (`build_tree(48, 48, 4, "alternate").labels() == 0` is its mask). Which of "absent", "both" and "exact" give
# it the score zero? Why do the others not?

# %% tags=["solution", "hide-cell"]
corner = build_tree(*face.shape[2:], 4, "alternate").labels() == 0
black = face * torch.from_numpy(~corner)
given = {}
for name in ("absent", "both", "exact"):
    explainer = DnCShap(network, contexts=name, depth=4, tree="alternate")
    given[name] = explainer.attribute(black, happy).region_scores[0, 0, 0]
    print(f"{name:>6}: the dummy gets {round(given[name], 6) + 0:+.6f}")
assert abs(given["exact"]) < 1e-6

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 3.4
# Let $A$ be the dummy and $B$ its sibling. In every context $\varphi_A(C) = 0$, so $m_A = 0$ under each rule.
# But $\varphi_A = m_A + \tfrac12(\varphi_P - m_A - m_B)$, and here the bracket is $\varphi_P - m_B$. Under "exact" nothing
# is left over and the bracket is zero. With one or two contexts it is zero by luck only. The dummy receives
# half of what is left over, for no merit of its own. A cheap map may therefore colour a region that the network
# ignores.
# :::

# %% [markdown]
# **Exercise 3.5** *(to think about)*. A cut on level 8, whose halves are two of 512 regions, sees 256 contexts
# under "all". How many sets of other regions could be shown in principle? Which of them are never tried? Name a
# question about a face that the recursion cannot answer for this reason.

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 3.5
# The other 510 regions have $2^{510}$ subsets. The recursion tries only unions of the eight siblings on the way
# up, so whole blocks: the other half of the face is shown or hidden as one piece. It never shows, say, only the
# two corners of the mouth, which lie in different quarters. "What do the mouth corners achieve without the
# rest of the face?" is such a question. That is why the result is not the Shapley value of 512 players but
# another value, the subject of chapter 4.
# :::

# %% [markdown]
# ## What to remember
#
# - Two halves are a game of two players, and four evaluations give their Shapley values.
# - To cut further, say what the rest of the face shows meanwhile: that is the context, and a rule is a choice
#   of contexts.
# - What the chosen contexts leave over is shared equally. Then every level sums to $f(x) - f(b)$, whatever the
#   rule, so a right sum is no sign of a right map.
# - Scores belong to regions; a map that is to sum over pixels needs the density.
#
# Next, chapter 4: which value do all contexts together give, and what does each rule cost?

# %%
facts = {
    "worth": v,
    "score": score,
    "interaction": interaction,
    "agreement": agreement,
    "error_by_level": {
        rule: errors.loc[rule].round(4).tolist() for rule in errors.index
    },
    "sum_by_level": {rule: sums.loc[rule].round(4).tolist() for rule in sums.index},
    "stepper": own,
}
record = run.finish("happy", data, facts)
print("Record:", records.place(record))
