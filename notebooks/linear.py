# %% [markdown]
# # How good is linear?
#
# The paper's point is speed: Shapley values in linear time. Speed alone is easy; a constant map is faster still. So this
# page asks how *far* the linear methods are from the values they stand for, and at which number of evaluations, on a
# trained network and on real test images. It is also the place where the default of `DnCShap` was decided.
#
# Three facts frame the question.
#
# 1. The exact recursion needs $2(n^2-1)/3+2$ evaluations for $n$ regions. It gives Owen values {cite:p}`owen1977values`,
#    on a tree of several levels strictly Winter values {cite:p}`winter1989value`. They are the truth on this page.
# 2. `shap.PartitionExplainer` computes the same values on the same tree. It is not quadratic in practice, because
#    `max_evals` cuts it: it splits where the scores are large and leaves the rest flat. It has linear modes too
#    (`fixed_context=0` and `1`), the same as our `"absent"` and `"present"`.
# 3. So "linear against quadratic" is not the question. The question is: *at equal evaluations, which rule is closest?*

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
faces = 12  # test faces on 2**depth regions
depth = 6
fine_faces = 1  # test faces on 2**fine_depth regions
fine_depth = 8
shapley_faces = 1  # test faces on 16 regions, for all 65,536 coalitions

# %%
import numpy as np
import pandas as pd
from tqdm import tqdm

from fercore import datasets, models
from fercore.datasets import splits
from fercore.shapley import build_tree
from fercore.training import evaluation
from ferlab import networks, provenance
from ferlab.figures import charts
from ferlab.runs import records
from ferlab.studies import closeness

# %%
chosen = dict(epochs=epochs, precision=precision, seed=seed) | changes
setting = networks.setting(
    dataset, model, fusion, width, fold, recipe, batch_size, pretrained, **chosen
)
own = {"faces": faces, "depth": depth, "protocol": protocol}
own |= {"fine_faces": fine_faces, "fine_depth": fine_depth}
own |= {"shapley_faces": shapley_faces}
run = records.Run("linear", dataset, **setting.parameters(), **own)

# %% [markdown]
# ## The network, the faces, the games
#
# On FER2013 the network is the one that comes with the package, elsewhere that of the accuracy page. The faces are drawn at random among the test images that it classifies
# correctly and that are not copies of training images. For each face there are two games of its predicted class,
# one on the probability and one on the logit. Hidden regions are black, as in the paper.

# %%
data = datasets.load(dataset)
parts = splits.split(data, protocol or None, fold, seed)
trained = networks.trained(setting, data, parts, device)
test = data.subset(parts.test)
predicted = evaluation.predict(trained.model, test.images).numpy().argmax(axis=1)
eligible = (predicted == test.labels) & ~splits.duplicates(data, parts)
order = np.random.default_rng(seed).permutation(np.flatnonzero(eligible))
where = next(trained.model.parameters()).device
images = models.to_input(test.images[order[: max(faces, fine_faces)]], where)
print(f"{eligible.sum()} faces to draw from")

# %% [markdown]
# All methods that split along the same tree ask for the same coalitions, those of the exact recursion. So each face is
# evaluated once on all of them, and every method then plays on that table, `PartitionExplainer` included. That
# makes the comparison exact: all methods see identical numbers, and only the number of questions differs.

# %%
folder = provenance.project_root() / "runs" / "tables" / trained.key[:16]
black = images.new_zeros(1, 1, 1, 1)


def tables(tree, coalitions, count):
    """Logits of all coalitions for the first faces, float arrays (rows, classes)."""
    shown = tqdm(images[:count, None], desc=f"{tree.n_leaves} regions")
    about = (black, tree, coalitions, folder)
    return [closeness.tabulate(trained.model, image, *about) for image in shown]


# %%
counts = {depth: faces, fine_depth: fine_faces}
games = {}
for levels, count in counts.items():
    tree = build_tree(*test.images.shape[1:3], levels)
    coalitions = closeness.exact_coalitions(tree)
    logits = tables(tree, coalitions, count)
    games[levels] = tree, closeness.numbered(coalitions), logits
    print(f"{tree.n_leaves} regions: {len(coalitions):,} coalitions, {count} faces")

# %% [markdown]
# ## The rules
#
# At a split of a node $P$ into $A$ and $B$, seen in a context $C$ of visible pixels outside $P$, the children's scores
# differ by $D_P(C) = v(C \cup A) - v(C \cup B)$. Equation 4 of the paper says nothing else: the two scores are half
# the sum plus and minus half the difference. So the children get
#
# $$T(A) = \tfrac12\,T(P) + \tfrac12\,\overline{D_P}, \qquad T(B) = \tfrac12\,T(P) - \tfrac12\,\overline{D_P},$$
#
# where the bar is a mean over contexts. The exact value takes all $2^d$ contexts at depth $d$. Every cheaper rule is an
# answer to one question, *which contexts, and what about the others?*
#
# - **absent, present, both**: one context (nothing else visible; everything else visible) or the mean of the two.
# - **K sampled**: $K$ contexts in a balanced random design, a fractional factorial. Unbiased, with standard errors.
# - **PartitionExplainer**: best first. It splits the pair $(P, C)$ with the largest $2^{-d}\,|v(C \cup P) - v(C)|$ next, $d$ the
#   depth of $P$, and takes $D = 0$ for all pairs it never reaches.
# - **adaptive**, the default of `DnCShap`: a model of $D_P(C)$ says what to expect of a pair that was not observed, and
#   observes next the pair which teaches most. The section on what was tried takes it apart.

# %%
rows = []
for tree, numbers, logits in games.values():
    for output in ("probability", "logit"):
        for face, values in enumerate(
            tqdm(logits, desc=f"{tree.n_leaves} {output}")
        ):
            listed = closeness.worth(values, output)
            truth = closeness.exact(closeness.Table(tree, numbers, listed))
            about = {"regions": tree.n_leaves, "output": output, "face": face}
            rows += closeness.against(truth, tree, numbers, listed, about, seed)
frame = pd.DataFrame(rows)
print(f"{len(frame):,} estimates")

# %% [markdown]
# ## Error against evaluations
#
# The error is $\lVert \hat\varphi - \varphi \rVert / \lVert \varphi \rVert$ over the regions of a face, averaged over faces. A
# map of zeros has error 1, so everything above 1 is worse than saying nothing.

# %% mystnb={"figure": {"name": "fig-linear", "caption": "Relative error to the exact values against evaluations per face, both on logarithmic scales, mean over faces. Lower left is better."}, "image": {"alt": "Line charts of relative error against evaluations per region on logarithmic axes, one for each number of regions and output, with one line or point for each of six methods."}}
charts.error_curves(frame)

# %% [markdown]
# How to read {numref}`fig-linear`. The fixed contexts are points, not lines: their number of evaluations is given, and no
# budget makes them better. A straight line that falls by a factor of two for four times the evaluations is what
# independent sampling would do. Lines that fall faster have used structure. Every method that is not fixed ends at
# error zero, once it has asked for everything.
#
# The same in numbers, as means over faces, for the finer regions. Correlation says whether the map looks right, rank
# correlation whether regions are in the right order, error whether the sizes are right.

# %%
finest = frame[frame.regions == 2**fine_depth]
by = ["output", "per region", "method"]
measures = ["correlation", "rank correlation", "error"]
table = finest.groupby(by, sort=False)[measures].mean()
table.unstack("output").sort_index().round(2)

# %% [markdown]
# Is the default ahead of `PartitionExplainer` at equal evaluations, or only on average by luck? The next table compares the
# two *on the same faces*: mean correlation and error of each, and on how many of the faces the adaptive rule has the
# smaller error.

# %%
budgets = [4, 8, 16, 32]
pair = frame[frame["per region"].isin(budgets)]
keys = ["regions", "output", "per region"]
duel = closeness.duel(pair, "adaptive", "PartitionExplainer", keys)
duel.round(3)

# %% [markdown]
# What does a correlation of 0.95 cost? The smallest of the budgets tried that reaches it in the mean, in evaluations per
# region; a dash where none does.

# %%
for tree, _, logits in games.values():
    exactly = len(logits[0]) / tree.n_leaves
    print(f"{tree.n_leaves} regions, exact: {exactly:.0f} evaluations per region")
by = ["method", "regions", "output", "per region"]
means = frame.groupby(by, sort=False)["correlation"].mean().reset_index()
enough = means[means["correlation"] >= 0.95].groupby(by[:3])["per region"].min()
enough = enough.reindex(means.groupby(by[:3]).size().index).unstack(by[1:3])
enough.astype("Int64").astype(object).fillna("–")

# %% [markdown]
# ## What was tried, and what each part gives
#
# The adaptive rule has three ingredients. {cite:t}`ohagan1991bayes` would call the whole Bayesian quadrature: guess an
# integral from few values with a Gaussian process, and choose the next value where it helps most.
#
# 1. **A guess for what was not observed.** Write $D_P(C) = h_P(C)^\gamma\, z_P(C)$ with $z$ of mean zero and covariance
#    $\prod_j (1 + r\, s_j s'_j)$ over contexts, $s_j = \pm 1$ saying whether the sibling at depth $j$ is visible. An effect in
#    which $k$ siblings take part then has variance $r^k$: small $r$ says that contexts hardly matter, $r$ near 1 that every
#    context is its own world. The likeliest $r$ is found for each face.
# 2. **A reach $h$.** Where $v(C \cup P)$ and $v(C)$ hardly differ, there is hardly anything to split. The reach is that
#    difference, plus half of the difference found one level up. How far to believe it, the exponent $\gamma$ out of 0,
#    ½ and 1, is again what makes the observed values likeliest.
# 3. **A choice.** Observe next what lowers the variance of the mean most, never more than one pair per split at a time.
#
# The few constants in it (where $r$ starts, the floor of the reach, how many pairs are chosen at a time) were settled once,
# on fifty faces of FER2013 under a network that the paper's recipe had trained for 20 epochs, and are the same for every
# other network, that of this page among them. Leaving out one
# ingredient at a time, at eight evaluations per region ("no guess" takes zero for what was not observed, in the end
# only; "no reach" sets $\gamma = 0$ and takes the mean reach of each level):

# %%
variants = {"adaptive": closeness.Search, "no guess": closeness.NoGuess}
variants |= {"no reach": closeness.NoReach, "random choice": closeness.AnyPair}
tried = []
for tree, numbers, logits in games.values():
    for output in ("probability", "logit"):
        for values in logits:
            listed = closeness.worth(values, output)
            about = {"regions": tree.n_leaves, "output": output}
            tried += closeness.ablation(tree, numbers, listed, variants, about)
tried = pd.DataFrame(tried).groupby(["regions", "output", "rule"], sort=False)
parts_table = tried[["correlation", "error"]].mean().unstack("rule")
parts_table.round(2)

# %% [markdown]
# How to read it: the larger the step from "adaptive" to a column, the more that ingredient gives. Probabilities and
# logits need different things. A probability collapses to zero in many contexts of hidden pixels, so few contexts carry
# most of the value, and what counts is to find them: that is what best first is good at, and the reach. A logit moves in
# every context, so what counts is to spread over contexts evenly, and to treat those not seen like those seen: that is
# what balanced sampling is good at, and the guess.
#
# {numref}`fig-linear` holds the simpler rules that came before: one context, two, balanced samples of $K$, best first. Read
# along a panel, none of them does well on probabilities and on logits at once.
#
# ## Can the errors be trusted?
#
# Sampled and adaptive contexts come with standard errors. If they are right, about 95 % of the exact values lie within two of
# them. (Regions whose splits were all observed in full have no error and are counted as inside.)

# %%
by = ["regions", "output", "method", "per region"]
inside = frame.dropna().groupby(by, sort=False)["inside"].mean()
inside.unstack(["method", "per region"]).sort_index(axis=1).round(2)

# %% [markdown]
# The sampled errors come from the scatter of the contexts within a split, as if they were independent; a balanced design
# does better than that where effects of few siblings prevail. The adaptive errors come from the model of the previous
# section, which knows too little of how heavy the tails are. Where the coverage is below 0.95, read errors as a ranking of
# what is uncertain, not as intervals.
#
# ## And the Shapley value itself?
#
# Owen values are not Shapley values: they let a region join only in the company of its branch of the tree. On 16 regions all
# 65,536 coalitions can be evaluated and both are known exactly. The table compares with the Shapley values: the exact Owen
# values, the cheaper rules, and two general samplers of captum, KernelSHAP {cite:p}`lundberg2017unified` and sampling of
# orders {cite:p}`castro2009polynomial`. The column of evaluations counts distinct coalitions.

# %%
small = build_tree(*test.images.shape[1:3], 4)
every = closeness.all_coalitions(16)
numbers = closeness.numbered(every)
to_truth = []
for logits in tables(small, every, shapley_faces):
    for output in ("probability", "logit"):
        values = closeness.worth(logits, output, whole=-1)
        truth = closeness.shapley(values, 16)
        about = {"output": output}
        to_truth += closeness.against_shapley(truth, small, numbers, values, about)

# %%
shapley = pd.DataFrame(to_truth)
measured = ["evaluations", "correlation", "error"]
to_shapley = shapley.groupby(["method", "output"], sort=False)[measured].mean()
to_shapley.unstack("output").round(2)

# %% [markdown]
# The row of the exact Owen values is the price of the tree itself: a method that splits along the tree heads for the Owen
# values, however much it spends. Whoever wants Shapley values proper of few regions should sample orders, or enumerate.
#
# ## What follows
#
# - For a map of a few faces, `contexts="exact"` with 64 regions is affordable and leaves nothing to discuss.
# - For more regions or many faces, compare the lines above at the price you can pay; the default is `"adaptive"` with eight
#   evaluations per region, and `explainer.refine` goes on from there.
# - Where an unbiased estimate is needed (means over many faces, where errors average out), take `contexts=K` with
#   another seed for each face: all images of one call share their contexts.
# - One or two fixed contexts are for teaching, and for networks that are nearly additive. Check on your own: the
#   agreement differs from network to network.
#
# ## The record

# %%
facts = {
    "agreement": frame.groupby(by, sort=False)[measures].mean(),
    "inside": inside.to_frame(),
    "duel": duel,
    "parts": tried[["correlation", "error"]].mean(),
    "shapley": to_shapley,
}
facts = {name: closeness.as_rows(table) for name, table in facts.items()}
record = run.finish(
    setting.name(parts), data, facts, where, parts.protocol, key=trained.key
)
print("Record:", records.place(record))
