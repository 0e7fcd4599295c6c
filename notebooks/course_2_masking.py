# %% [markdown]
# # 2. Why pixels make it impossible, and what masking means
#
# Chapter 1 computed Shapley values exactly, by looking at every coalition. Can the players be the pixels of a picture? And
# what does a network see where a player is absent? After this chapter you can say how many players enumeration can bear,
# choose a baseline knowing what the choice does, and compute exact Shapley values of eight regions of a face. You need
# chapter 1 and logarithms.

# %% tags=["parameters"]
dataset = "faces"  # or "fer2013", "ferg", "jaffe", "ckplus"
seed = 0

# %%
import time
import numpy as np
import pandas as pd
from IPython.display import HTML
from fercore import datasets, load_pretrained, models
from fercore.emotions import NAMES, Emotion
from fercore.shapley import Background, exact_shapley
from fercore.shapley.baselines import as_baseline
from fercore.shapley.game import ImageGame
from ferlab import interactive, landmarks
from ferlab.figures import panels, course as plots_masking
from ferlab.landmarks.regions import LABELS, region_labels
from ferlab.runs import records
from ferlab.studies import course

# %%
run = records.Run("course_2_masking", dataset, seed=seed)

# %% [markdown]
# ## A game on a face
#
# The face is that of chapter 1, and so is the network. The players are now **regions**, cut by the landmarks of the face:
# forehead, brows, eyes, nose, cheeks, mouth, chin, and all that is outside. Every pixel belongs to one of the eight.
#
# A picture $x$, a **baseline** $b$ and a class $c$ make a game. The worth of a coalition $S$ is the score of the class
# when the regions of $S$ show the picture and all others show the baseline:
#
# $$v(S) = f_c(x \text{ on } S,\ b \text{ elsewhere}).$$
#
# `ImageGame` is this $v$. It takes coalitions as rows of booleans and returns a worth for each of the seven emotions.

# %%
data, network = datasets.load(dataset), load_pretrained()
index = course.example(data, network)
image, x = data.images[index], course.as_input(data, index)
found = landmarks.landmarks_of(data, np.array([index]))
labels = region_labels(found.points[0], *image.shape[:2]).astype(int)
coalitions = (np.arange(256)[:, None] >> np.arange(8)) & 1 == 1  # all of them


def play(baseline, output="probability"):
    filled = as_baseline(baseline, x)
    return ImageGame(network, x, filled, labels, output=output)


# %% mystnb={"figure": {"name": "fig-players", "caption": "The face and its eight regions, the players of this chapter."}, "image": {"alt": "A face, and beside it the same face with eight regions in different colours: outside, forehead, brows, eyes, nose, cheeks, mouth and chin."}}
plots_masking.players(image, labels, LABELS)

# %% [markdown]
# ## How long it takes
#
# Every player doubles the work: $n$ players have $2^n$ coalitions. Evaluating a coalition means sending one picture through
# the network. How long does that take on the machine that made this page?

# %%
game = play("zero")
game(coalitions[:64])  # warm up
start = time.perf_counter()
black = game(coalitions)
seconds = (time.perf_counter() - start) / 192  # 64 of the 256 were known
pixels = image.shape[0] * image.shape[1]
counts = [3, 8, 16, 32, 64, 256, pixels]
power = np.array(counts) * np.log10(2)
years = power + np.log10(seconds / (365.25 * 86400))
columns = {"log10 of coalitions": power, "log10 of years": years}
print(f"{1000 * seconds:.2f} milliseconds for one evaluation")
pd.DataFrame(columns, pd.Index(counts, name="players")).round(1)

# %% mystnb={"figure": {"name": "fig-waiting", "caption": "How long it takes to evaluate all coalitions of n players, on a logarithmic scale."}, "image": {"alt": "A straight line rises from far below a second for one player past an hour and a year to beyond the age of the universe; dots mark 8, 16, 32 and 64 players."}}
plots_masking.waiting_time(seconds, [8, 16, 32, 64])

# %% [markdown]
# Eight players take a moment. With the pixels as players, the number of years has hundreds of digits. A faster machine does not
# help: one that is a thousand times faster affords ten players more, because $2^{10} = 1024$.
#
# The paper says that $2^n$ *models* must be trained for $n$ features. That would be a network for each set of inputs. It then
# does what we do: it keeps one network and changes the picture ("we are going to perturb the input instead").
#
# A sample of the orders of arrival can stand for all of them {cite:p}`castro2009polynomial`. But a single order of all pixels
# costs one evaluation more than there are pixels, and returns one contribution of each. And time is not the only objection.
# What does one pixel add to all the others?

# %%
grid = np.arange(pixels).reshape(image.shape[:2])
single = ImageGame(network, x, as_baseline("zero", x), grid)
some = np.arange(0, pixels, 4)
hidden = ~np.eye(pixels, dtype=bool)[some]
whole = black[-1, Emotion.HAPPY]
change = np.abs(single(hidden)[:, Emotion.HAPPY] - whole)
without_mouth = ~np.isin(np.arange(8), LABELS.index("mouth"))
mouth = whole - game(without_mouth[None])[0, Emotion.HAPPY]
print(f"one pixel black changes {whole:.3f} by {np.median(change):.4f} (median),")
print(f"at most {change.max():.3f}; the mouth black changes it by {mouth:.3f}")

# %% [markdown]
# A small change can mean that the network ignores the pixel, or that its neighbours say the same. Hiding one at a time cannot
# tell which. So players should be larger than pixels. Chapter 1 warned of the price:
# values depend on who counts as one player.
#
# ## Absent is a choice
#
# A network for pictures of 48 × 48 pixels takes no picture with a hole. Where a region is absent, *something* must be
# there. Methods that explain by removing differ, among other things, in what they put there
# {cite:p}`covert2021explaining`:
#
# - **black**, as in the paper, or another constant colour, such as the grey square of {cite:t}`zeiler2014visualizing`;
# - the **mean** colour of the picture;
# - the picture **blurred**: colour and shading stay, detail goes;
# - **inpainting**: a guess from the visible surroundings, so that $b$ becomes $b_S$, and $v$ is still a game (where nothing is
#   visible, the mean);
# - a **background set**: other faces in turn, and the worth is the mean over them. SHAP defines $v(S)$ as an expectation and
#   estimates it in this way {cite:p}`lundberg2017unified`.
#
# To see what the network sees, we put a camera in its place: a function that returns its input.

# %%
others = np.random.default_rng(seed).choice(
    np.delete(np.arange(len(data)), index), 8
)
faces = models.to_input(data.images[others])
baselines = {"black": "zero", "mean": "mean", "blur": "blur", "inpaint": "inpaint"}
baselines["background"] = Background(faces)
games = {name: play(baseline) for name, baseline in baselines.items()}
shown = {"mouth absent": without_mouth, "all absent": np.zeros(8, bool)}
rows = np.array(list(shown.values()))
print("the background set:", ", ".join(NAMES[k] for k in data.labels[others]))


# %%
def photograph(baseline):
    if isinstance(baseline, Background):
        baseline = faces[0]  # one of the set
    b = as_baseline(baseline, x)
    camera = ImageGame(
        lambda pictures: pictures.flatten(1), x, b, labels, output="logit"
    )
    return 255 * camera(rows).reshape(len(rows), *x.shape[1:]).transpose(0, 2, 3, 1)


pictures = np.stack([photograph(b) for b in baselines.values()], axis=1)
said = np.stack([g(rows)[:, Emotion.HAPPY] for g in games.values()], axis=1)

# %% mystnb={"figure": {"name": "fig-absent", "caption": "What the network sees when the mouth is absent and when everything is, under five baselines (of the background set, one face), with the probability of happy; for the background set its mean over the set."}, "image": {"alt": "Two rows of five small pictures. Above, the face with its mouth replaced by black, a flat colour, a blur, a guess from the surroundings, and another face's mouth. Below, what is left when everything is replaced."}}
plots_masking.picture_grid(
    pictures.reshape(-1, *pictures.shape[2:]).round().astype(np.uint8),
    [f"{p:.3f}" for p in said.ravel()],
    columns=5,
    headings=list(baselines),
    sides=list(shown),
)

# %% [markdown]
# Black is not nothing in {numref}`fig-absent`: over a mouth it may pass for a beard, over eyes for sunglasses, and what is
# black already does not change at all. A flat colour takes the detail away and draws an edge around the hole. A blur keeps the
# shading. Inpainting may give away what it hides. A mouth of the background set is a natural one, but of somebody else,
# and it has a seam.
# Hardly any photograph of a face looks like these pictures. They are **off the manifold** of faces, and there its answers
# are extrapolation: nothing in training said what is right. The empty picture shows it best. A black or flat picture
# contains no expression, a blurred one hardly any, yet the network must spread its probability over seven emotions. (With a background set,
# the empty picture is a face, and $v(\varnothing)$ is the mean answer to such faces.)

# %%
nobody = np.array([g(rows[1:])[0] for g in games.values()])
empty = pd.DataFrame(nobody, list(baselines), NAMES)
empty.assign(largest=empty.idxmax(axis=1)).round(3)

# %% [markdown]
# What is in $v(\varnothing)$ is shared by nobody: the values sum to $v(N) - v(\varnothing)$. So a baseline that looks happy
# to the network leaves less to explain.
#
# A way to stay closer to the manifold is to fill in what *usually* goes with the visible parts, the conditional expectation
# {cite:p}`frye2021shapley`. It needs a good model of faces, and it answers another question: if cheeks betray a smile,
# the mouth is hardly missed, and the cheeks share its credit, even if the network never looks at them.
#
# ## The map changes
#
# Eight players: the formula of chapter 1, 256 evaluations (with the background set, of eight pictures each), no approximation.
# The only thing that changes between the columns is $b$. In the maps below, a region's value is drawn divided by its number of
# pixels, so that it is spread and not repeated (chapter 3 calls this the density).

# %%
values = {n: exact_shapley(g, 8)[:, Emotion.HAPPY] for n, g in games.items()}
table = pd.DataFrame(values, index=LABELS)
nothing = pd.Series({n: g(rows[1:])[0, Emotion.HAPPY] for n, g in games.items()})
assert np.allclose(table.sum(), whole - nothing)  # efficiency
table.loc["sum"] = table.sum()
table.round(3)

# %%
alike = table.drop("sum").corr()
pairs = alike.where(np.triu(np.ones_like(alike, bool), 1)).stack()
for name, phi in table.drop("sum").items():
    print(f"{name:10}  most: {phi.idxmax():8}  least: {phi.idxmin()}")
print(f"correlation: from {pairs.min():.2f} {pairs.idxmin()} to {pairs.max():.2f}")

# %% mystnb={"figure": {"name": "fig-five-baselines", "caption": "Exact Shapley values of eight regions under five baselines, each spread evenly over the region's pixels; red speaks for happy. Each map has its own scale."}, "image": {"alt": "A face and five maps of it in red and blue, one for each baseline; the eight regions differ in colour from map to map."}}
size = np.bincount(labels.ravel())
drawn = {name: (phi / size)[labels] for name, phi in values.items()}
panels.labelled_maps(image, drawn)

# %% [markdown]
# No map in {numref}`fig-five-baselines` is wrong: each is the exact answer to a question of its own, "compared with *what*?". Compare
# the face with black, and everything that is not black may matter. Compare it with other faces, and what tells it from them
# may. The same
# holds for gradient methods with a baseline {cite:p}`sturmfels2020visualizing`, and a background set is the answer of expected
# gradients too {cite:p}`erion2021improving`. So name the baseline with every map, and look whether a conclusion survives another
# one. This book uses black unless it says otherwise, because the paper does.
#
# ## Probability or logit
#
# A second choice is easily overlooked: what is $f_c$? The network computes seven **logits** $z$, and the softmax turns them into
# probabilities,
#
# $$p_c = \frac{e^{z_c}}{\sum_k e^{z_k}}.$$
#
# Let two parts add 4 each to the logit of one of two classes, which starts 2 below the other's. By the softmax, the first to
# arrive lifts the probability from 0.12 to 0.88, the second from 0.88 to 0.998. On logits the parts do not interact at all;
# on probabilities each seems to make the other superfluous. A logit has no ceiling, but alone it does not say how sure the
# network is: the same number added to all seven changes no probability.
#
# The same 256 pictures give the values for all seven emotions, on both scales. How well do they agree?

# %%
raw = exact_shapley(play("zero", "logit"), 8)
own = exact_shapley(games["black"], 8)
agreement = [np.corrcoef(own[:, k], raw[:, k])[0, 1] for k in range(7)]
columns = {
    "probability, empty": black[0],
    "probability, whole": black[-1],
    "correlation of values": agreement,
}
scales = pd.DataFrame(columns, NAMES)
print(
    f"Happy: {agreement[Emotion.HAPPY]:.2f}; least: {NAMES[np.argmin(agreement)]}"
)
scales.round(3)

# %% [markdown]
# Same network, same pictures, other units: a share of a change in probability, or in a logit. Where the correlation is near
# 1, the choice hardly matters for the map. Where it is low, look at the first two columns too: where the probability hardly changes in all, its map
# shares out almost nothing. Otherwise two maps of one emotion tell two stories, and both are exact.
#
# ## Try it
#
# All 256 answers are stored in the figure. Find the smallest set of regions that the network still calls happy. Then find a
# region whose contribution changes its sign with the company it is in.

# %% tags=["hide-input"]
masks = {name: labels == number for number, name in enumerate(LABELS)}
entry = interactive.switch_face(f"Face {index}", image, masks, black)
HTML(interactive.region_switches([entry]))

# %% [markdown]
# ## Exercises

# %% [markdown]
# **Exercise 2.1** *(by hand)*. An evaluation takes 2 milliseconds. How long do all coalitions of 20 regions take? How many
# regions can be enumerated in a day? How many on a machine that is a thousand times faster?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 2.1
# $2^{20} = 1\,048\,576$ evaluations take 2,097 seconds, 35 minutes. A day has 86,400 seconds, enough for 43.2 million
# evaluations; $2^{25}$ is 33.6 million, $2^{26}$ is too many: 25 regions. A thousand times as many, 43.2 billion, are more than
# $2^{35}$ (34.4 billion) and less than $2^{36}$: 35 regions.
# :::

# %% [markdown]
# **Exercise 2.2** *(by hand)*. A linear network of two pixels, $f(x) = w_1 x_1 + w_2 x_2$ with $w = (4, 2)$, sees
# $x = (0, 1)$: the first pixel is black, the second white. Compute both Shapley values with the black baseline $b = (0, 0)$
# and with the grey one $b = (\tfrac12, \tfrac12)$. Then show that in general $\varphi_i = w_i (x_i - b_i)$. What
# can a map with a black baseline never show?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 2.2
# Black: $v(\varnothing) = 0$, $v(\{1\}) = 0$, $v(\{2\}) = 2$, $v(\{1, 2\}) = 2$, so $\varphi = (0, 2)$. Grey:
# $v(\varnothing) = 3$, $v(\{1\}) = 1$, $v(\{2\}) = 4$, $v(\{1, 2\}) = 2$, so $\varphi = (-2, 1)$. In general, showing pixel $i$
# changes $b_i$ to $x_i$ and the score by $w_i (x_i - b_i)$, whoever is there already, and the mean of equal numbers is that
# number. With a black baseline a black pixel always gets 0, however large its weight. That holds for every network: a region
# that looks like the baseline changes no picture, so it is a dummy. Black hair, pupils and an open mouth are invisible.
# :::

# %% [markdown]
# **Exercise 2.3** *(by code)*. `play` also takes a number, the brightness of a constant baseline from 0 (black) to 1 (white).
# Compute the Shapley values for 0, ¼, ½, ¾ and 1, check efficiency for each, and print the value of the mouth. By how much
# does it vary?

# %% tags=["solution", "hide-cell"]
mouths = []
for brightness in (0, 0.25, 0.5, 0.75, 1):
    constant = play(float(brightness))
    phi = exact_shapley(constant, 8)[:, Emotion.HAPPY]
    ends = constant(coalitions[[0, -1]])[:, Emotion.HAPPY]
    assert np.isclose(phi.sum(), ends[1] - ends[0])
    mouths.append(phi[LABELS.index("mouth")])
    print(
        f"brightness {brightness:.2f}: v(nobody) {ends[0]:.3f}, mouth {mouths[-1]:+.3f}"
    )
assert np.isclose(mouths[0], values["black"][LABELS.index("mouth")])
print(f"the value of the mouth varies by {max(mouths) - min(mouths):.3f}")

# %% [markdown]
# **Exercise 2.4** *(by code)*. The players of chapter 1 were the eyes with the brows, the mouth, and the rest. Merge the labels
# of the eight regions into these three and compute their values with the black baseline. Which numbers of the eight-player game
# stay the same, which do not?

# %% tags=["solution", "hide-cell"]
merged = np.full_like(labels, 2)
merged[np.isin(labels, [LABELS.index("eyes"), LABELS.index("brows")])] = 0
merged[labels == LABELS.index("mouth")] = 1
three = ImageGame(network, x, as_baseline("zero", x), merged)
phi = exact_shapley(three, 3)[:, Emotion.HAPPY]
eight = dict(zip(LABELS, values["black"]))
assert np.isclose(phi.sum(), sum(eight.values()))  # both are v(N) - v(nobody)
print(f"sum  {phi.sum():.3f} in both games")
print(f"eyes and brows  {phi[0]:.3f}, were {eight['eyes'] + eight['brows']:.3f}")
print(f"mouth  {phi[1]:.3f}, was {eight['mouth']:.3f}, with the same pixels")
rest = sum(eight.values()) - eight["eyes"] - eight["brows"] - eight["mouth"]
print(f"rest  {phi[2]:.3f}, was {rest:.3f}")

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 2.4
# Only the sum must stay, by efficiency. The mouth has the same pixels in both games, but it meets four coalitions of other
# players in the one and 128 in the other, so its value changes.
# :::

# %% [markdown]
# **Exercise 2.5** *(to think about)*. Somebody explains a happy face with a background set of a hundred *other happy faces*, all of
# which the network recognises. About how large is the sum of the values? What does a region with a large value tell? Which
# question does this map answer, and is it the one that you would have asked?

# %% [markdown] tags=["solution"]
# :::{dropdown} Solution of Exercise 2.5
# $v(\varnothing)$ is the mean answer to the background faces and near 1, and so is $v(N)$: the sum is near 0. A region with a large
# value makes *this* face happier to the network than the same region of other happy faces does; a smile like any other
# gets about nothing. The map answers "what is special about this happy face?". To learn what makes a face happy rather than
# something else, the set must hold the something else: faces of all emotions, or neutral ones.
# :::

# %% [markdown]
# ## What to remember
#
# - Enumeration costs $2^n$ evaluations: fine for 8 regions, hopeless for pixels.
# - A network cannot see "nothing". The baseline says what stands in for an absent region, and it is part of the question.
# - Most masked pictures are off the manifold of faces; the answer to the empty picture shows how arbitrary that can be.
# - Values sum to $v(N) - v(\varnothing)$, in units of what $f_c$ is: probability or logit.
# - Name players, baseline and output with every map, and test a conclusion under another baseline.
#
# Eight regions are few. The next chapter halves the picture again and again, and shares the score out on the way down.

# %%
facts = {
    "index": index,
    "seconds_per_evaluation": seconds,
    "largest_change_by_a_pixel": float(change.max()),
    "change_by_the_mouth": float(mouth),
    "empty": empty.to_dict(orient="index"),
    "values": table.to_dict(),
    "least_correlation": float(pairs.min()),
    "logit": dict(zip(LABELS, raw[:, Emotion.HAPPY].tolist())),
    "agreement_of_scales": dict(zip(NAMES, map(float, agreement))),
}
record = run.finish(f"seed-{seed}", data, facts)
print("Record:", records.place(record))
