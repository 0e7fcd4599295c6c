# %% [markdown]
# # 6. How close to Shapley is it, with error bars
#
# "Approximates Shapley values" can mean three different things, and a number for one of them says nothing of the others.
#
# - **Sampling.** A few contexts stand in for all of them. How far are the scores from exact *Owen* values on the same tree?
# - **The tree.** Owen values are not *Shapley* values. How far apart are the two on the same regions?
# - **The regions.** Eight regions and 64 regions are two games with other players. How different are the answers?
#
# After this chapter you can measure each gap, put an interval on it, and check whether standard errors keep their promise.
# You need Owen values, strictly Winter values, and contexts (chapters 3 and 4), Shapley values by enumeration (chapter 1), and from statistics the binomial
# distribution and the bootstrap.

# %% tags=["parameters"]
dataset = "faces"  # or "fer2013"
seed = 0
faces = 5  # on 64 regions, 2,732 evaluations each
small_faces = 20  # on 8 regions, 256 evaluations each

# %%
from itertools import product
import numpy as np
import pandas as pd
from IPython.display import HTML, display
from scipy.stats import binomtest
from fercore import Emotion, datasets, load_pretrained, models
from fercore.datasets import splits
from fercore.shapley import build_tree
from fercore.shapley.game import ImageGame
from fercore.training import evaluation
from ferlab import interactive
from ferlab.figures import charts, panels
from ferlab.measures.faithfulness import interval
from ferlab.runs import records as results
from ferlab.studies import closeness

# %% [markdown]
# ## Faces and games
#
# The faces are happy test faces that the network classifies correctly, drawn at random. The network was trained on
# photographs, so if these faces are drawings, it has never seen their like. For the questions here that does not matter: estimate
# and truth belong to the same network. $v(S)$ is the probability of "happy", hidden regions are black.

# %%
own = {"faces": faces, "small_faces": small_faces}
run = results.Run("course_6_how_close", dataset, seed=seed, **own)
data, network = datasets.load(dataset), load_pretrained()
parts = splits.split(data, None, 0, 0)
test = parts.test[~splits.duplicates(data, parts)]
happy = test[data.labels[test] == Emotion.HAPPY]
logits = evaluation.predict(network, data.images[happy])
right = happy[logits.numpy().argmax(axis=1) == Emotion.HAPPY]
chosen = np.random.default_rng(seed).permutation(right)[:small_faces]
images = models.to_input(data.images[chosen])
print(f"{len(right)} of {len(happy)} happy faces to draw from")

# %% [markdown]
# Every rule that splits along a tree asks for some of the coalitions of the exact recursion. So we evaluate all of these once per
# face, and let the rules play on the table. A `Table` gives the same scores as `DnCShap` on the network, and counts what a
# rule asked for.


# %%
def worths(images, tree, coalitions):
    """v(S) of listed coalitions, (faces, rows)."""
    black = images.new_zeros(1, 1, 1, 1)
    game = ImageGame(network, images, black, tree.labels())
    return game.values(coalitions)[..., Emotion.HAPPY]


size = data.images.shape[1:3]
fine = build_tree(*size, 6)
listed = closeness.exact_coalitions(fine)
numbers = closeness.numbered(listed)
values = worths(images[:faces], fine, listed)
games = [closeness.Table(fine, numbers, v) for v in values]
owen = np.stack([closeness.exact(game) for game in games])
print(f"{len(owen)} faces, {len(listed):,} coalitions each")

# %% [markdown]
# ## Three measures
#
# For estimates $\hat\varphi$ of scores $\varphi$ over the regions of a face we take the **correlation**, the **rank
# correlation** (that of the ranks), and the **relative error**
#
# $$\frac{\lVert \hat\varphi - \varphi \rVert}{\lVert \varphi \rVert}.$$
#
# They answer different questions. A map with all scores halved has both correlations 1 and error ½: right picture, wrong sizes. A map
# of zeros has error 1, so an error above 1 is worse than saying nothing. Ranks weigh the many regions near zero like the few that
# matter.
#
# Every number below is a mean over faces. Its **95 % interval** is a bootstrap: draw as many faces with replacement,
# take the mean, repeat 2,000 times, keep the middle 95 %. It says how much the mean would move with other faces of this kind,
# not with another network.
#
# ## Gap one: sampling
#
# `contexts=K` takes $K$ contexts per block in a **balanced random design**: each sibling on the way up is visible in half of them, and
# which half that is, is partly left to chance. `"adaptive"`, the default, fits a model to the differences that it has observed, observes
# next where the model expects to learn most about the scores, and takes the model's guess for the rest. ({ref}`The paper's chapter
# <dncshap-mathematics>` has both in full; {doc}`How good is linear? <../fer2013/linear>` measures them.)
#
# We run both at nearly the same budgets, in evaluations per region ($n = 64$; "4n" means $K = 2$). Sampled contexts ask less,
# because upper cuts run out of contexts: at depth $d$ there are only $2^d$. Each face has a seed of its own, for faces that share
# their contexts would share their luck.

# %%
rules = {
    "sampled": lambda game, b, s: closeness.sampled(game, b // 2, s),
    "adaptive": lambda game, b, s: closeness.adaptive(game, b * 64),
}
estimates = []
for number, truth in enumerate(owen):
    for budget, method in product((4, 8, 16, 32), rules):
        game = closeness.Table(fine, numbers, values[number])
        scores, errors = rules[method](game, budget, seed + number)
        row = {"method": method, "per region": budget, "face": number}
        row["evaluations"] = game.evaluations
        row["inside"] = np.abs(scores - truth) <= 2 * errors + 1e-12
        row |= zip(closeness.MEASURES, closeness.agreement(scores, truth))
        estimates.append(row)
estimates = pd.DataFrame(estimates)


# %%
def said(values):
    """A mean with its interval, as text."""
    i = interval(np.asarray(values), seed)
    return f"{i.mean:.2f} ({i.low:.2f} to {i.high:.2f})"


measures, by = list(closeness.MEASURES), ["per region", "method"]
display(estimates.groupby(["method", "evaluations"])[measures].agg(said))
errors = estimates.set_index([*by, "face"])["error"].unstack("method")
lead = errors["adaptive"] - errors["sampled"]
less = (lead < 0).groupby("per region").sum()
paired = lead.groupby("per region").agg(said).to_frame("adaptive - sampled")
paired.assign(**{f"adaptive errs less, of {faces}": less})

# %% [markdown]
# Read the first table downwards: what does a larger budget buy? To compare the methods, use the second one. Both played on the
# same faces, so take the **difference of errors on each face**, and its interval. Whether the intervals of two means
# overlap is the wrong test: a face that is hard for one method may be hard for the other, and the difference is free of that. An
# interval below zero says that "adaptive" errs less on faces of this kind, with somewhat more evaluations; one that holds zero, that
# these faces do not decide.
#
# ### Does a standard error keep its promise?
#
# Both rules come with a standard error per region. With sampled contexts it is the scatter: by
# $\varphi_A = \frac12 \varphi_P + \frac12 \overline{D_P}$, with $D_P$ the $D(C)$ of Exercise 3.2 for the halves of $P$, variances
# travel down as
#
# $$\operatorname{var} \varphi_A = \tfrac14 \operatorname{var} \varphi_P + \tfrac14 \, \frac{s_P^2}{K}\Bigl(1 - \frac{K}{2^d}\Bigr),$$
#
# with $s_P^2$ the variance of $D_P$ over the $K$ contexts seen, of $2^d$ at depth $d$: as if the $K$ contexts were a simple random
# sample without replacement and the cuts independent. In fact the design is balanced, and a block takes over the contexts of its
# parent. The adaptive error is no scatter but a model's opinion of its own guess. If errors are right and normally distributed, about 95 % of exact values lie within
# two of them. This share is the **coverage**.
#
# Coverage is a proportion, $k$ of $m$, so it has a binomial interval (Wilson's). That treats all regions as independent. But
# regions of one face share blocks and contexts, and their scores sum to the same total. The honest unit is the face: the
# bootstrap over faces again.

# %%
covered = []
for (budget, method), part in estimates.groupby(by, sort=False):
    inside = np.stack(part["inside"].to_list())
    trials = binomtest(int(inside.sum()), inside.size)
    low, high = trials.proportion_ci(method="wilson")
    over = interval(inside.mean(axis=1), seed)
    row = {"method": method, "per region": budget, "k": inside.sum()}
    row["over faces"] = said(inside.mean(axis=1))
    row |= {"m": inside.size, "share": over.mean, "low": over.low}
    row |= {"high": over.high, "wilson low": low, "wilson high": high}
    short, long = over.high < 0.95, over.low > 0.95
    row["verdict"] = "too short" if short else "too long" if long else "undecided"
    covered.append(row)
covered = pd.DataFrame(covered)
covered.set_index(["method", "per region"]).sort_index()[["over faces", "verdict"]]

# %% mystnb={"figure": {"name": "fig-coverage", "caption": "Share of exact Owen values that lie within two standard errors, with a binomial interval over all regions and a bootstrap interval over faces."}, "image": {"alt": "Dots with two error bars each, one row for each method and budget, against a dotted line at 95 per cent."}}
charts.coverage(covered.sort_values(["method", "per region"]))

# %% [markdown]
# *Too short* means that the interval over faces lies below 95 %: the errors promise too much. *Too long*: they promise too little.
# *Undecided*: these faces do not tell. Two reasons to expect errors that are off: with $K = 2$ a scatter is estimated from two
# numbers; and a model's opinion is as good as the model.
#
# ### Twice the evaluations
#
# Independent draws would lower the error by $\sqrt 2$ for twice the evaluations, a factor of 0.71. On logarithmic axes this is a
# line of slope $-\frac12$. Steeper lines have used structure: a balanced design, a guess, or simply that there is not much left to
# ask.

# %% mystnb={"figure": {"name": "fig-doubling", "caption": "Relative error to exact Owen values on 64 regions against evaluations, both axes logarithmic: each face (thin), their mean (thick), and the slope of independent draws (dotted)."}, "image": {"alt": "Two panels, for sampled and adaptive contexts, with falling lines of error against evaluations on logarithmic axes and a dotted reference line."}}
charts.doubling(estimates)

# %%
wide = estimates.set_index(["method", "face", "per region"]).unstack()
e, m = wide["error"], wide["evaluations"]
factors = pd.DataFrame(
    {
        f"{b}n to {2 * b}n": (e[2 * b] / e[b]) ** (1 / np.log2(m[2 * b] / m[b]))
        for b in (4, 8, 16)
    }
)
factors.groupby("method").agg(said)

# %% [markdown]
# Each number is the factor per doubling. If a step takes the evaluations from $m$ to $m'$ and the error from $e$ to $e'$, it is
# $(e'/e)^{1/\log_2(m'/m)}$. With sampled contexts no step is a full doubling, so $e'/e$ itself would make them look worse than they are.
#
# ## Gap two: the tree
#
# On eight regions all $2^8 = 256$ coalitions can be evaluated. They give both values exactly, so nothing in this section is sampled except
# the faces. Both are weighted means of contributions $v(S \cup i) - v(S)$. Shapley's runs over all 128 coalitions $S$ of the other
# seven regions, with weights $|S|!\,(7 - |S|)!\,/\,8!$. Owen's runs over those eight that are unions of siblings on the way to the
# region, with weight $\frac18$ each: $i$ arrives in the company of its block.

# %%
small, every = build_tree(*size, 3), closeness.all_coalitions(8)
codes = closeness.numbered(every)
few = worths(images, small, every)
tables = [closeness.Table(small, codes, v) for v in few]
owen_8 = np.stack([closeness.exact(table) for table in tables])
shapley_8 = np.stack([closeness.shapley(v, 8) for v in few])
pairs = [closeness.agreement(*pair) for pair in zip(owen_8, shapley_8)]
tree_gap = pd.DataFrame(pairs, columns=measures)
tree_gap.agg(said).rename("Owen to Shapley, 8 regions").to_frame()

# %% mystnb={"figure": {"name": "fig-owen-shapley", "caption": "Owen values against Shapley values of eight regions, all faces, each face divided by the norm of its Shapley values. On the dotted line both agree."}, "image": {"alt": "Scatter plot of Owen values against Shapley values around a dotted diagonal."}}
charts.against(owen_8, shapley_8, ("Owen value", "Shapley value"))

# %% [markdown]
# No budget closes this gap: a method that splits along the tree heads for Owen values, however much it spends. On 16 regions there are
# 65,536 coalitions, too many for this page. The page {doc}`How good is linear? <../fer2013/linear>` evaluated them; here are its records, each with that page's own
# network and number of faces. A row that rests on one face has no interval: it is an anecdote.

# %%
records = {}
for path in results.paths():
    if path.parent.parent.name == "linear":
        record = results.read(path)
        records[record["dataset"]] = record
sixteen = [
    {"dataset": name, "faces": r["parameters"]["shapley_faces"]} | row
    for name, r in records.items()
    for row in r["metrics"]["shapley"]
    if row["method"] == "exact Owen values"
]
seen = ["dataset", "faces", "output", "correlation", "error"]
pd.DataFrame(sixteen)[seen].set_index("dataset").round(2)

# %% [markdown]
# ## Gap three: the regions
#
# A map of eight regions and one of 64 are both right, each about its own game. Owen values on one tree have a rare virtue: they
# are **consistent**. A block's value is the same whether it is a player or is split further, so the coarse map is the
# fine one summed up. Shapley values are not. Merge the eight regions into four pairs and play again: the value of a pair is
# not the sum of its members' values.

# %%
blocks = owen.reshape(faces, 8, 8).sum(axis=2)
gap = np.abs(blocks - owen_8[:faces]).max()
merged = [sum(3 << 2 * p for p in range(4) if c >> p & 1) for c in range(16)]
of_pairs = np.stack([closeness.shapley(v[merged], 4) for v in few])
summed = shapley_8.reshape(-1, 4, 2).sum(axis=2)
norms = np.linalg.norm(of_pairs, axis=1)
merging = np.linalg.norm(summed - of_pairs, axis=1) / norms
energy = (blocks**2).sum(axis=1) / 8 / (owen**2).sum(axis=1)
flat = np.repeat(blocks / 8, 8, axis=1)
region_gap = np.sqrt(1 - energy)
alike = [np.corrcoef(pair)[0, 1] for pair in zip(flat, owen)]
print(f"Owen, 64 regions summed to 8, largest difference: {gap:.0e}")
print(f"Shapley, 8 summed to 4, relative difference: {said(merging)}")

# %% [markdown]
# Consistent does not mean the same. The coarse map is flat within each of its regions. If $B_j$ is the sum of the fine scores in block
# $j$, it keeps the share $\sum_j B_j^2 / 8 \,\big/ \sum_i \varphi_i^2$ of the fine map's sum of squares. What is left is its relative error, if
# you take the fine map for the truth: the square root of one minus that share. It lies between 0, for a fine map that is flat within blocks,
# and 1, for one whose scores cancel within each block.

# %% mystnb={"figure": {"name": "fig-two-games", "caption": "One face and two exact Owen maps of it on the same tree, with 8 and with 64 regions. Neither is an approximation. Each pixel shows the score of its region divided by its number of pixels, and each map has its own colour scale."}, "image": {"alt": "A face, a map of eight large rectangles and a map of sixty-four small squares."}}
exact_maps = {"8 regions": flat[0] / 36, "64 regions": owen[0] / 36}
density = {name: v[fine.labels()] for name, v in exact_maps.items()}
panels.labelled_maps(data.images[chosen[0]], density)

# %% [markdown]
# ## All three side by side
#
# The relative error is the same measure in all rows, so they can be compared, with care. The rows of sampling are errors. That of the
# tree is a difference between two definitions, the last one a difference between two games, each answered rightly.

# %%
eight = estimates[estimates["per region"] == 8].set_index("method")
gaps = {
    "sampling: K = 4 to Owen, 64 regions": eight.loc["sampled", "error"],
    "sampling: adaptive 8n to Owen, 64 regions": eight.loc["adaptive", "error"],
    "tree: Owen to Shapley, 8 regions": tree_gap["error"],
    "regions: 8 to 64, Owen": region_gap,
}
table = {name: [said(v), len(v)] for name, v in gaps.items()}
largest = max(gaps, key=lambda name: np.mean(gaps[name]))
print(f"Largest: {largest}")
pd.DataFrame(table, index=["relative error", "faces"]).T

# %% [markdown]
# The records of "How good is linear?" hold means over other faces, with other numbers of regions, outputs and methods. "This page" is
# what was computed above. The horizontal axis is the budget; sampled contexts ask less, as you have seen.
#
# Your task: choose a dataset other than "this page", 64 regions and "probability". Read off the error of "adaptive" at 8 evaluations per region.
# Which budget does "K sampled" need for that? Then answer the same for "logit", and for 256 regions if they are there. What does
# the answer depend on?

# %% tags=["hide-input"]
here = estimates.groupby(["method", "per region"])[measures].mean().reset_index()
live = [
    {"dataset": "this page", "regions": 64, "output": "probability"}
    | {"method": {"sampled": "K sampled"}.get(row["method"], row["method"])}
    | {"evaluations_per_region": row["per region"], "error": row["error"]}
    | {"correlation": row["correlation"]}
    for row in here.to_dict(orient="records")
]
recorded = interactive.error_rows(records.values())
HTML(interactive.error_plot(recorded + live))

# %% [markdown]
# ## What is not known
#
# - **Shapley values of 64 regions.** $2^{64}$ coalitions cannot be listed. The gap of the tree is known at 8 and 16 regions only; nothing here
#   says that it stays as it is.
# - **Other networks, emotions, baselines.** All intervals are over faces of one emotion under one network. Faces of one person or one
#   drawn character are alike, and the bootstrap does not know it.
# - **Few faces.** A percentile bootstrap over so few faces is itself rough, rather too short than too long.
# - **Which game is the right one.** No measurement says how many regions to take, or what a hidden region should show. These are
#   decisions; the last row of the table says how much the first of them moves a map.
#
# ## Exercises

# %% [markdown]
# **Exercise 6.1** *(by hand)*. Four regions; 1 and 2 share a block, 3 and 4 the other one. $v(S) = 1$ if 1, 2 and 3 are all in $S$, else 0.
# Compute Shapley values and Owen values (four contexts for each region: unions of its two siblings), and the relative error of the
# second to the first.

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 6.1
# Regions 1, 2, 3 are symmetric, 4 is a dummy: Shapley values $\frac13, \frac13, \frac13, 0$. Owen: region 1 has siblings
# $\{2\}$ and $\{3, 4\}$; of the contexts $\varnothing, \{2\}, \{3,4\}, \{2,3,4\}$ it makes a difference in the last one only:
# $\frac14$; likewise region 2. Region 3 has siblings $\{4\}$ and $\{1, 2\}$, and makes a difference in
# $\{1,2\}$ and $\{1,2,4\}$: $\frac12$. Region 4: 0. The difference is
# $(-\frac1{12}, -\frac1{12}, \frac16, 0)$ with norm $\frac{\sqrt 6}{12} \approx 0.204$; the Shapley values have norm
# $\frac1{\sqrt 3} \approx 0.577$. The relative error is $0.35$, with no sampling at all.
# :::

# %% [markdown]
# **Exercise 6.2** *(by hand)*. On five faces of 64 regions, 62, 60, 58, 56 and 54 exact values lie within two standard errors. Give the
# coverage and its standard error twice: binomial over the 320 regions, $\sqrt{p(1-p)/m}$, and from the scatter of the five shares
# (for their standard deviation, divide by $n - 1$).
# Which do you report?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 6.2
# Coverage $290 / 320 = 0.906$. Binomial: $\sqrt{0.906 \cdot 0.094 / 320} = 0.016$. The shares are
# 0.969, 0.938, 0.906, 0.875, 0.844 with standard deviation $0.049$, so the standard error of their mean is
# $0.049 / \sqrt 5 = 0.022$. Report the second: faces differ more than chance within faces explains, so the 320 regions are not 320
# independent trials. With five faces even the second is rough.
# :::

# %% [markdown]
# **Exercise 6.3** *(by code)*. Sampled contexts are unbiased. Check it on the first face with $K = 2$: average the scores of 64 seeds,
# `comparison.sampled(games[0], 2, s)[0]`. What should become of the mean error of a single seed, if the seeds are independent? Do the
# same with the next 64 seeds, and again.

# %% tags=["solution", "hide-cell"]
seeds = np.arange(256).reshape(4, 64)
draws = [[closeness.sampled(games[0], 2, s)[0] for s in block] for block in seeds]
single = np.mean([closeness.agreement(d, owen[0])[2] for b in draws for d in b])
means = [closeness.agreement(np.mean(b, axis=0), owen[0])[2] for b in draws]
print(f"one seed {single:.3f}, so about {single / 8:.3f} for a mean of 64")
print("four means of 64:", ", ".join(f"{error:.3f}" for error in means))
assert max(means) < single / 4

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 6.3
# A bias would stay, however many seeds are averaged; independent errors shrink by $\sqrt{64} = 8$. But one mean of 64 seeds is a draw
# as well, and it scatters: compare the four printed errors with what is to be expected. A single one of them, however small, shows
# little.
# :::

# %% [markdown]
# **Exercise 6.4** *(by code)*. Is the cheap rule "both" (`comparison.fixed(table, "both")`) farther from the Shapley values of eight regions
# than exact Owen values are? Use `tables` and `shapley_8`, and count on how many faces.

# %% tags=["solution", "hide-cell"]
both = [closeness.fixed(table, "both") for table in tables]
to_shapley = [closeness.agreement(*p)[2] for p in zip(both, shapley_8)]
to_owen = [closeness.agreement(*p)[2] for p in zip(both, owen_8)]
farther = int((np.array(to_shapley) > tree_gap["error"]).sum())
print(f"both to Shapley {said(to_shapley)}, both to Owen {said(to_owen)}")
print(f"farther than Owen values on {farther} of {len(tables)} faces")
worth_of_all = few[:, -1] - few[:, 0]
assert np.allclose([scores.sum() for scores in both], worth_of_all)

# %% [markdown]
# **Exercise 6.5** *(to think about)*. A paper reports that its maps "correlate at 0.97 with SHAP values". Which of the three gaps
# has been measured? What four things do you ask the authors for?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 6.5
# It cannot be told. If "SHAP" was run on the same regions with the same baseline and without limit, it is the first gap for a
# partition explainer, the first two for kernel or permutation methods. If it was run with a budget, its own sampling error is in the number. If
# it explains pixels and the maps explain regions, the third gap is in it too. Ask for: the players and the baseline of both; the
# number of evaluations of both; an error of size beside the correlation; and an interval over images, with their number.
# :::

# %% [markdown]
# ## What to remember
#
# - Name the gap: sampling, tree, or regions. Only the first one shrinks with the budget.
# - Report correlation *and* error of size, with an interval over images and their number.
# - A standard error is a claim. Check its coverage where the truth is known, with faces as the unit.
# - Owen values are consistent over levels of one tree; Shapley values depend on how finely you cut.
#
# Next: with all this in mind, chapter 7 explains a face of your own.

# %%
regions = {"error": float(region_gap.mean()), "correlation": float(np.mean(alike))}
facts = {
    "agreement": closeness.as_rows(estimates.groupby(by)[measures].mean()),
    "adaptive_minus_sampled": lead.groupby("per region").mean().to_dict(),
    "coverage": closeness.as_rows(covered.drop(columns="over faces")),
    "doubling": closeness.as_rows(factors.groupby("method").mean()),
    "owen_to_shapley": tree_gap.mean().to_dict(),
    "shapley_merging": float(merging.mean()),
    "owen_levels": float(gap),
    "regions_8_to_64": regions,
    "records": sorted(records),
}
record = run.finish("pretrained", data, facts)
print("Record:", results.place(record))
