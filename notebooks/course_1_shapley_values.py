# %% [markdown]
# # 1. Shapley values from scratch
#
# The parts of a picture make a network say "happy" together. How much of the answer is owed to each part? Lloyd Shapley
# asked this of any group that earns something together {cite:p}`shapley1953value`.
#
# After this chapter you can compute the Shapley values of a small game by hand and by code, name the four properties
# that single them out, and read them for three parts of a face. You need sums, means and the factorial
# $n! = 1 \cdot 2 \cdots n$. Game theory is not needed: the small game comes first, the formula last.

# %% tags=["parameters"]
dataset = "faces"  # or "fer2013", "ferg", "jaffe", "ckplus"
seed = 0

# %%
from itertools import permutations
from math import factorial
import numpy as np
import pandas as pd
import shap
from IPython.display import HTML
from fercore import datasets, load_pretrained
from fercore.emotions import Emotion
from fercore.shapley import exact_shapley
from fercore.training import evaluation
from ferlab import interactive, landmarks
from ferlab.figures import course as plots_masking
from ferlab.landmarks.regions import LABELS, region_labels
from ferlab.runs import records
from ferlab.studies import course

# %%
run = records.Run("course_1_shapley_values", dataset, seed=seed)

# %% [markdown]
# ## Two players
#
# The paper {cite:p}`malik2021towards` introduces Shapley values with four nodes (its Figure 3): a model that sees no
# feature, one that sees feature 1, one that sees feature 2, and one that sees both. The features are the **players**. A
# set $S$ of players that are present is a **coalition**, and its **worth** $v(S)$ is what it earns, here the score of a class.
# Let a network answer "happy" with 10 % when it sees neither feature, with 30 % when it sees feature 1, 20 % with feature
# 2, and 90 % with both.
#
# An edge of the figure adds one player. What that changes is the player's **marginal contribution** (Equation 1). Player
# 1 can be added to nobody or to player 2:
#
# $$v(\{1\}) - v(\varnothing) = 30 - 10 = 20, \qquad v(\{1, 2\}) - v(\{2\}) = 90 - 20 = 70.$$
#
# Which of the two is fair? The **Shapley value** $\varphi_1$ takes both, with equal weight (Equations 2 and 4):
#
# $$\varphi_1 = \tfrac12 \bigl[v(\{1\}) - v(\varnothing)\bigr] + \tfrac12 \bigl[v(\{1, 2\}) - v(\{2\})\bigr] = 45,$$
#
# and by the same rule $\varphi_2 = \tfrac12 \cdot 10 + \tfrac12 \cdot 60 = 35$.

# %%
v = {"": 10, "1": 30, "2": 20, "12": 90}
phi_1 = (v["1"] - v[""]) / 2 + (v["12"] - v["2"]) / 2
phi_2 = (v["2"] - v[""]) / 2 + (v["12"] - v["1"]) / 2
print(f"{phi_1:g} + {phi_2:g} = {phi_1 + phi_2:g}")
print(f"v(12) - v() = {v['12'] - v['']}")

# %% mystnb={"figure": {"name": "fig-nodes", "caption": "The four coalitions of two players with their worths, after the paper's Figure 3 with numbers of our own. Each edge is a marginal contribution: solid those of player 1, dashed those of player 2."}, "image": {"alt": "Four circles: nobody at the left, player 1 and player 2 alone in the middle, both at the right, each with its worth; four lines join them, each with the difference of the worths at its ends."}}
plots_masking.four_nodes(list(v.values()))

# %% [markdown]
# The two values add up to what the two features changed. That is no accident, as the section "Four properties" shows.
#
# ## Three players, eight coalitions
#
# Ana sings, Ben plays the guitar, Cleo the drums. A coalition is written by initials, and its worth is what it earns on an
# evening, in euros. Each player is in or out, so three players form $2^3 = 8$ coalitions, and a game is nothing but this
# list.

# %%
band = {"": 0, "A": 60, "B": 30, "AB": 120, "C": 0, "AC": 90, "BC": 30, "ABC": 180}
pd.DataFrame(band, index=["worth in euros"]).rename(columns={"": "∅"})

# %% [markdown]
# Nobody pays for drums alone: Cleo earns 0. But she adds 30 euros to Ana, and 60 to Ana and Ben. What should she get of
# the 180? In the figure, put players in and out, follow an order of arrival, and change a worth.

# %% tags=["hide-input"]
HTML(interactive.three_players(["Ana", "Ben", "Cleo"], list(band.values())))

# %% [markdown]
# ## Orders of arrival
#
# The mean of two contributions was fair because there are two orders: player 1 comes first, or second. With three players
# there are $3! = 6$ **orders of arrival**. In each, a player is paid what it adds to those who are already there. The
# Shapley value is the mean over all orders:
#
# $$\varphi_i = \frac{1}{n!} \sum_{\text{orders}} \bigl[v(\text{before } i \text{ and } i) - v(\text{before } i)\bigr].$$


# %%
def name(members):
    return "".join(sorted(members))


def gains(v, order):
    """What each player adds on arrival."""
    earned = [v[name(order[:k])] for k in range(len(order) + 1)]
    return dict(zip(order, np.diff(earned)))


orders = list(permutations("ABC"))
arrivals = pd.DataFrame([gains(band, order) for order in orders])
arrivals.index = ["".join(order) for order in orders]
arrivals.loc["mean"] = arrivals.mean()
arrivals

# %% [markdown]
# Check a row by hand: in the order BCA, Ben adds $30 - 0$, Cleo $30 - 30$, and Ana $180 - 30$. The last row is the answer.
# Cleo, who earns nothing alone, gets a share because of what she adds to others.
#
# ## Four properties
#
# Why the mean over orders? Because of what it guarantees. Take any game.
#
# - **Efficiency**: $\sum_i \varphi_i = v(N) - v(\varnothing)$, where $N$ is everybody. In each row of the table the
#   contributions are steps from $v(\varnothing)$ up to $v(N)$, so every row has this sum, and so has the mean. (This is the
#   paper's Equation 5, which is printed without the sum.)
# - **Symmetry**: two players that add the same to every coalition without them get the same. Exchange the two in every
#   order: each row comes back with their two columns exchanged, so the two columns have the same mean.
# - **Dummy**: a player that adds nothing to any coalition gets nothing. Its column is zero.
# - **Additivity**: if the same players play two games $v$ and $w$, so that a coalition earns $v(S) + w(S)$ in both, what they
#   get in both is the sum of what they get in each. The mean
#   of sums is the sum of means.
#
# Each item holds its own proof. The code below tries them on the band, on a band whose Ben and Cleo are alike, on one whose
# Cleo adds nothing, and on the band's evening followed by a game of random worths.


# %%
def shapley(v):
    players = max(v, key=len)
    return pd.DataFrame([gains(v, o) for o in permutations(players)]).mean()


other = dict(zip(band, np.random.default_rng(seed).integers(0, 200, 8)))
alike = band | {"C": band["B"], "AC": band["AB"]}
idle = {S: band[S.replace("C", "")] for S in band}
both = {S: band[S] + other[S] for S in band}
holds = {
    "efficiency": np.isclose(shapley(other).sum(), other["ABC"] - other[""]),
    "symmetry": np.isclose(shapley(alike)["B"], shapley(alike)["C"]),
    "dummy": shapley(idle)["C"] == 0,
    "additivity": np.allclose(shapley(both), shapley(band) + shapley(other)),
}

# %%
assert all(holds.values())
print("It holds:", ", ".join(holds))

# %% [markdown]
# ## The formula
#
# Many orders give the same contribution: it depends on who came before, not in which order. Let $S$ be a coalition without
# $i$. In how many orders do exactly the members of $S$ come before $i$? They can be arranged in $|S|!$ ways, and those who
# follow in $(n - |S| - 1)!$ ways. Divided by all $n!$ orders, this is the weight of $S$:
#
# $$\varphi_i = \sum_{S \not\ni i} \frac{|S|!\,(n - |S| - 1)!}{n!} \bigl[v(S \cup \{i\}) - v(S)\bigr].$$
#
# The weight is the paper's Equation 3. There, read $|S|$ as the number of players before
# $i$ and $|F|$, which the paper calls the number of weights, as $n$. For two players both weights are ½.
#
# The sum runs over coalitions instead of orders: $2^{n-1}$ terms for each player instead of $n!$.


# %%
def by_formula(v, player):
    n, total = len(max(v, key=len)), 0
    for S in v:
        if player not in S:
            weight = factorial(len(S)) * factorial(n - len(S) - 1) / factorial(n)
            total += weight * (v[name(S + player)] - v[S])
    return total


formula = np.array([by_formula(band, player) for player in "ABC"])
print(formula.round(6), "by the formula")
print(shapley(band).to_numpy().round(6), "by orders of arrival")

# %% [markdown]
# This is **exact enumeration**: every coalition is looked at. The package has the same in `exact_shapley`, for games of up to 16
# players; there a coalition is a row of booleans. So has the library `shap`, written by others.

# %%
worths = np.array(list(band.values()))  # position = A + 2 B + 4 C


def game(coalitions):
    return worths[coalitions.astype(int) @ [1, 2, 4]]


ours = exact_shapley(game, 3)
theirs = shap.ExactExplainer(game, np.zeros((1, 3)))(np.ones((1, 3))).values[0]
gap = max(np.abs(formula - ours).max(), np.abs(formula - theirs).max())
assert gap < 1e-9
print("fercore", ours.round(6), "  shap", theirs.round(6))

# %% [markdown]
# ## Why no other rule
#
# Shapley proved that *only one* rule has all four properties. The proof is short enough to run.
#
# Start with the simplest games. In the **unanimity game** of a coalition $T$, a coalition earns 1 if all of $T$ are in it,
# else 0. Players outside $T$ are dummies. Those in $T$ are symmetric. By efficiency they share 1. So every rule with
# the properties must give each member of $T$ the share $1 / |T|$, and in a unanimity game with the worth $c$ instead
# of 1, the share $c / |T|$.
#
# Now take any game. It is a sum of unanimity games with worths $c_T$: what $T$ earns beyond all that its smaller coalitions
# account for,
#
# $$c_T = v(T) - \sum_{R \subsetneq T} c_R, \qquad \text{so that} \qquad v(S) = \sum_{T \subseteq S} c_T.$$
#
# (Solve the first equation for $v(T)$: it is the second one with $S = T$. And $S$ earns $c_T$ in exactly the unanimity games
# whose $T$ lies inside $S$, so the sum of these games is $v$.) By additivity, the rule must give each player the sum of its
# shares. Nothing is left to choose. (In the game of
# $c_\varnothing = v(\varnothing)$ alone nobody adds anything: all are dummies.)

# %%
dividends = {}
for T in sorted(band, key=len):
    inside = [R for R in dividends if set(R) < set(T)]
    dividends[T] = band[T] - sum(dividends[R] for R in inside)
shares = {p: sum(c / len(T) for T, c in dividends.items() if p in T) for p in "ABC"}
assert np.allclose(list(shares.values()), formula)
print("dividends", {T: int(c) for T, c in dividends.items()})
print("shares", {p: round(float(share), 3) for p, share in shares.items()})

# %% [markdown]
# The $c_T$ are called dividends. A positive one says that $T$ earns more together than its smaller coalitions explain, and the
# Shapley value shares it equally among the members of $T$. This is the third way to the same numbers.
#
# ## Three parts of a face
#
# Now the players are parts of a picture: the eyes with their brows (E), the mouth (M), and the rest (R). The **worth** of
# a coalition is the probability of "happy" that the network gives to the picture in which only these parts are visible and
# everything else is black. The network was trained on the photographs of FER2013; the face is a happy one from the dataset
# of this run, the first that it is sure of. (The embedded faces are drawn; such a face it has never seen.)

# %%
data, network = datasets.load(dataset), load_pretrained()
index = course.example(data, network)
image = data.images[index]
points = landmarks.landmarks_of(data, np.array([index])).points[0]
region = np.array(LABELS)[region_labels(points, *image.shape[:2])]
owner = np.where(region == "mouth", "M", "R")
owner[np.isin(region, ["eyes", "brows"])] = "E"
names = ["", "E", "M", "EM", "R", "ER", "MR", "EMR"]
visible = np.array([np.isin(owner, list(S)) for S in names])
pictures = np.where(visible[..., None], image, 0).astype(np.uint8)
happy = evaluation.predict(network, pictures).double().softmax(1)[:, Emotion.HAPPY]
face = dict(zip(names, happy.tolist()))

# %% mystnb={"figure": {"name": "fig-coalitions", "caption": "The eight coalitions of eyes (E), mouth (M) and rest (R), and the probability of happy that the network gives to each picture."}, "image": {"alt": "Eight small pictures of one face, from all black to the whole face, with eyes, mouth and rest shown in every combination; each has a probability above it."}}
captions = [f"{S or 'nobody'}: {p:.3f}" for S, p in face.items()]
plots_masking.picture_grid(pictures, captions, columns=4)

# %% [markdown]
# The functions of the band do the rest. They do not know that the players are pixels.

# %%
added = pd.DataFrame([gains(face, order) for order in permutations("EMR")])
parts = added.mean()
table = {
    "first": {p: face[p] - face[""] for p in "EMR"},
    "last": {p: face["EMR"] - face["EMR".replace(p, "")] for p in "EMR"},
    "least": added.min(),
    "most": added.max(),
    "Shapley value": parts,
}
print(f"sum of values {parts.sum():.3f} = {face['EMR']:.3f} - {face['']:.3f}")
pd.DataFrame(table).rename({"E": "eyes", "M": "mouth", "R": "rest"}).round(3)

# %% tags=["hide-input"]
rounded = [round(p, 3) for p in face.values()]
HTML(interactive.three_players(["eyes", "mouth", "rest"], rounded))

# %% [markdown]
# A part adds one thing as the *first* to arrive, on a black picture, and another as the *last*, when all else is visible. With
# some of the others it may add more or less than either, and a part that adds little to a face that is already recognised can
# matter much where other parts are missing. The Shapley value lies between the *least* and the *most* that it adds. It
# is an answer about *these three* players, *this* network, and black as the colour of absence. In the figure, look for the order
# in which the mouth adds most, and for what it found there. The next chapter looks at
# these choices.
#
# ## Exercises

# %% [markdown]
# **Exercise 1.1** *(by hand)*. Two features say the same: $v(\varnothing) = 20$, $v(\{1\}) = 60$, $v(\{2\}) = 50$,
# $v(\{1, 2\}) = 60$. Compute both Shapley values and check efficiency. Player 2 adds nothing to player 1. Is it a dummy?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 1.1
# $\varphi_1 = \tfrac12 (60 - 20) + \tfrac12 (60 - 50) = 25$ and $\varphi_2 = \tfrac12 (50 - 20) + \tfrac12 (60 - 60) = 15$.
# The sum is $40 = 60 - 20$. Player 2 is no dummy: it adds 30 to nobody. What two players can each do alone, they share.
# :::

# %% [markdown]
# **Exercise 1.2** *(by hand)*. Ana has a left glove, Ben and Cleo have a right one each. A coalition is worth 1 if it holds a
# pair, else 0. List the eight worths and find the values, from the six orders or by a property that saves work.

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 1.2
# AB, AC and ABC are worth 1, the other five 0. Ben adds something in one order only, ABC: before him there is Ana alone. So
# $\varphi_B = \tfrac16$. By symmetry $\varphi_C = \tfrac16$, and by efficiency $\varphi_A = 1 - \tfrac26 = \tfrac23$.
# :::

# %% [markdown]
# **Exercise 1.3** *(by code)*. Airlines share a runway. Those of Ann, Bob, Cid and Dee (A, B, C, D) need 1, 2, 3 and 5 units of
# length, and a coalition costs as much as its longest need; nobody costs 0. Write the game as a dictionary of 16 costs and
# compute the Shapley values. Then explain them: the first unit of length is used by all four, the second by three, and
# so on.

# %% tags=["solution", "hide-cell"]
need = {"A": 1, "B": 2, "C": 3, "D": 5}
coalitions = [
    name(p for p in need if code >> "ABCD".index(p) & 1) for code in range(16)
]
runway = {S: max((need[p] for p in S), default=0) for S in coalitions}
costs = shapley(runway)
# Each stretch is paid in equal parts by those who use it.
fair = np.cumsum([1 / 4, 1 / 3, 1 / 2, 2 / 1])
assert np.allclose(costs["A":"D"], fair)
print(costs.round(3).to_dict())

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 1.3
# Cut the runway into stretches of 1, 1, 1 and 2 units. The cost is the sum of the costs of the stretches, so by additivity each
# can be divided on its own. A stretch costs its length if anybody in the coalition uses it. Its users are symmetric, the others
# dummies: each user pays an equal part. So Ann pays $\tfrac14$, Bob $\tfrac14 + \tfrac13$, Cid $\tfrac12$ more than
# Bob, and Dee 2 more than Cid.
# :::

# %% [markdown]
# **Exercise 1.4** *(to think about)*. Ben and Cleo marry and from now on play or stay away together. Compute the values of the
# game of two players that results. Do the couple get what Ben and Cleo got before? What does that mean for a picture whose
# parts can be chosen in many ways?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 1.4
# $v(\varnothing) = 0$, Ana 60, the couple 30, all 180. So the couple get $\tfrac12 (30 - 0) + \tfrac12 (180 - 60) = 75$, less than
# $55 + 25 = 80$. The dividend of ABC, 30, was cut in three, so Ben and Cleo had two thirds of it; now it is cut in two, and
# they have half. As BC has no dividend, the loss is $30\,(\tfrac23 - \tfrac12) = 5$. The share of two players together is not the sum of their shares apart: the values depend on who
# counts as one player. A map of a face therefore says nothing without its regions, and two maps with different regions
# need not agree.
# :::

# %% tags=["solution", "hide-cell"]
couple = {"": band[""], "A": band["A"], "K": band["BC"], "AK": band["ABC"]}
before = formula[1] + formula[2]
after = shapley(couple)["K"]
assert (before, after) == (80, 75)
print(f"{before:g} euros as two players, {after:g} as one")

# %% [markdown]
# ## What to remember
#
# - A game is a list of $2^n$ worths, one for each coalition.
# - The Shapley value of a player is its mean marginal contribution over all orders of arrival. The formula weighs coalitions
#   instead of counting orders.
# - It is the only rule with efficiency, symmetry, dummy and additivity.
# - The values share out $v(N) - v(\varnothing)$, not $v(N)$.
# - Who counts as one player matters.
#
# The next chapter, "Why pixels make it impossible, and what masking means", counts the coalitions of a picture and asks what an
# absent part looks like.

# %%
facts = {
    "band": dict(zip(["Ana", "Ben", "Cleo"], map(float, ours))),
    "gap_to_other_ways": float(gap),
    "properties": {key: bool(value) for key, value in holds.items()},
    "face": {"index": index, "worth": face, "values": parts.to_dict()},
}
record = run.finish(f"seed-{seed}", data, facts)
print("Record:", records.place(record))
