# %% [markdown]
# # Ablation
#
# An ablation takes a system apart and asks what each part gave. The paper does so for the network (its Table 1): VGG-16 and
# ResNet-50 as they are, a baseline with residual branches on its last two blocks, and the proposed network with branches
# behind every block. Its answer on FER2013 is 26.98 %, 30.50 %, 60.12 % and 62.62 %, as if the branches were worth 35
# points.
#
# Two things are wrong with that comparison. The first two numbers are hardly above the share of the most frequent emotion,
# 25.05 %: those networks did not train, so they say nothing about their architecture. And a network is never compared
# alone, but together with the **recipe** that trained it. So this page crosses the two. It trains the same networks by two
# recipes, one after the paper and one of ours, and then takes our recipe apart.
#
# All of it happens on one split and at one size. What is *chosen* here is chosen on the validation part; the test part is
# reported for the networks of the first table only, once.

# %% tags=["parameters"]
dataset = "faces"  # or "fer2013", "ferg", "jaffe", "ckplus"
protocol = ""  # as splits.PROTOCOLS; "" takes the dataset's own
fold = 0
width = 0.125  # multiplier of all channels; the paper's networks are 1.0
epochs = 10  # of the recipe "paper"
strong_epochs = 20  # of the recipe "strong"
batch_size = 0  # 0: each recipe's own
part_width = 0.125  # the same for the parts of the recipe
part_epochs = 10
precision = "float32"  # or "tf32", "bfloat16"
pretrained = True  # ImageNet weights, where a model has them
seed = 0
device = "auto"

# %%
import pandas as pd

from fercore import datasets
from fercore.datasets import splits
from fercore.training.device import choose_device
from ferlab import networks
from ferlab.figures import charts
from ferlab.runs import records
from ferlab.studies import ablation, paper

# %%
own = dict(protocol=protocol, fold=fold, width=width, epochs=epochs)
own |= dict(strong_epochs=strong_epochs, batch_size=batch_size, seed=seed)
own |= dict(part_width=part_width, part_epochs=part_epochs)
own |= dict(precision=precision, pretrained=pretrained)
run = records.Run("ablation", dataset, **own)
data = datasets.load(dataset)
parts = splits.split(data, protocol or None, fold, seed)
print(f"{data.title}, protocol {parts.protocol!r}: {len(parts.train):,} train")

# %% [markdown]
# ## The networks
#
# All are trained alike: the same images in the same order, the same augmentation, the same number of epochs within a
# recipe. `width` narrows every network, so that a small machine can train it. VGG-16 and ResNet-50 are torchvision's;
# with ImageNet weights where these can be had, which is at width 1 and with an internet connection only. Where they cannot,
# a line below says so, and the network starts from random weights.
#
# A network that was trained on its own accuracy page with the same settings is not trained again here.


# %%
def setting(name, recipe, width, epochs):
    """Return the setting of a row of the table."""
    model, fusion = ablation.NETWORKS[name]
    values = dict(epochs=epochs, precision=precision, seed=seed)
    values |= dict(batch_size=batch_size, pretrained=pretrained)
    return networks.setting(dataset, model, fusion, width, fold, recipe, **values)


# %%
length = {"paper": epochs, "strong": strong_epochs}
settings = {
    f"{name}, {recipe}": setting(name, recipe, width, length[recipe])
    for recipe in length
    for name in ablation.NETWORKS
}

# %%
compared = ablation.run(settings, data, parts, device)
table = ablation.table(compared, data, parts, "test")
shown = table.assign(accuracy=table["accuracy"].round(4))
kinds = {"parameters": int, "epoch": "Int64", "images_per_second": "Int64"}
shown["images_per_second"] = shown["images_per_second"].round()
shown.round({"error": 4, "macro_f1": 4}).astype(kinds)

# %% [markdown]
# *epoch* is the one that the validation part chose, *error* the standard error of the accuracy if the test images were
# independent. Differences of less than about two of them are noise, and even larger ones may be the luck of a seed: this page
# trains each network once. An empty row means that the loss left the finite numbers.
#
# The embedded faces are few: in batches of 128, an epoch of `strong` has seven steps there. After so few, its rows say how
# fast a network learns under heavy augmentation, and not how well in the end.
#
# The paper's column for the same dataset stands below, where it has one. Its numbers are means over random folds of all
# images at full width, ours come from the one split named above. So the *order* of the rows can be compared, the numbers
# cannot.

# %%
ours = table["accuracy"].astype(float)
beside = pd.DataFrame(
    {
        recipe: {n: ours[f"{n}, {recipe}"] for n in ablation.NETWORKS}
        for recipe in length
    }
)
place = [paper.table_1(model) for model, _ in ablation.NETWORKS.values()]
beside.insert(0, "Table 1", [row.get(dataset) for row in place])
floor = data.subset(parts.test).counts().max() / len(parts.test)
print(f"always the most frequent emotion: {floor:.4f}")
beside.astype(float).round(4)

# %% mystnb={"figure": {"name": "fig-validation-curves", "caption": "Accuracy on the validation part by epoch, for every network and recipe. A dot marks the chosen epoch."}, "image": {"alt": "Line chart: validation accuracy against the epoch, one line for each pair of a network and a recipe."}}
charts.validation_curves(ablation.histories(compared))

# %% [markdown]
# How to read {numref}`fig-validation-curves`. A line that stays flat near the floor is a network that the recipe cannot start:
# thirteen convolutions behind each other, without batch normalisation, pass on hardly any gradient. A branch shortens the
# way from the loss to the early blocks. This is what branches were invented for {cite:p}`he2016deep`, and the likely reason
# why the paper's VGG-16 failed where its proposed network did not. With batch normalisation the way needs no shortening.
#
# ## Where they err
#
# The paper's Figure 4 shows the confusion matrix of the proposed network. Here are those of all networks, in per cent of
# the images of the true emotion.

# %% mystnb={"figure": {"name": "fig-confusions", "caption": "Confusion matrices on the test part, in per cent of each true emotion's images; rows are true, columns predicted emotions."}, "image": {"alt": "Ten small heat maps, one for each network and recipe: true emotions as rows, predicted emotions as columns, shares in per cent."}}
labels = data.labels[parts.test]
matrices = ablation.confusions(compared, labels)
charts.confusions(matrices)

# %% [markdown]
# In {numref}`fig-confusions` a network that has not learnt shows a full column: it gives every image the same answer.
# The others err in much the same places, whatever their architecture. This says that most of the errors lie in the data:
# expressions that are alike, and labels that people do not agree on either.
#
# ## The recipe, taken apart
#
# The recipe `strong` differs from the paper's in many things at once. To see what each gives, it is left out alone, all
# others kept. This is done for the proposed network (concatenate). The accuracy is that of the **validation** part, on
# which the recipe was decided; the test part has no say in it.

# %%
base = setting("proposed, concatenate", "strong", part_width, part_epochs)
variants = ablation.run(ablation.recipe_settings(base), data, parts, device)
recipe_table = ablation.table(variants, data, parts, "validation")
drop = recipe_table["accuracy"] - recipe_table.loc["strong", "accuracy"]
recipe_table["against strong"] = drop
columns = ["accuracy", "error", "against strong", "macro_f1"]
recipe_table[columns].astype(float).round(4)

# %% mystnb={"figure": {"name": "fig-recipe", "caption": "Accuracy on the validation part when one thing in the recipe is changed. The dotted line is the recipe as it is."}, "image": {"alt": "Dot plot: one row for each change of the recipe, validation accuracy as the horizontal axis, bars of one standard error, a dotted line at the unchanged recipe."}}
charts.accuracy_dots(recipe_table, "strong")

# %% [markdown]
# {numref}`fig-recipe` answers for this size and this number of epochs only. Augmentation and smoothing slow the learning down and
# pay late, when a network would otherwise have learnt its training images by heart. So a part that costs accuracy in a
# short run of a small network may give some in a long run of a large one. Mixup is not part
# of the recipe; its row says what it would give here.
#
# One part needs no training of its own, the mirror image at the test: the same network, asked once about the image and once
# about the image and its mirror image.

# %%
mirrored = {}
for name in (f"{n}, strong" for n in ablation.NETWORKS):
    if one := compared[name].outcome:
        hits = {
            "plain": one.predicted("test", mirror=False) == labels,
            "mirrored": one.predicted("test", mirror=True) == labels,
        }
        mirrored[name] = {kind: float(hit.mean()) for kind, hit in hits.items()}
pd.DataFrame(mirrored).T.round(4)

# %% [markdown]
# ## What follows
#
# - An architecture is compared fairly only under a recipe that trains all of the candidates. Otherwise the table ranks
#   who survives the recipe.
# - A result at the level of the most frequent class is not a weak network. It is a failed training, and should be called so.
# - Every accuracy needs the number of epochs, the width, the split and the seed beside it. The record below keeps them.
#
# ## The record

# %%
facts = {"networks": table, "recipe": recipe_table}
whole = {
    name: {
        row: {k: None if pd.isna(v) else float(v) for k, v in values.items()}
        for row, values in frame.to_dict(orient="index").items()
    }
    for name, frame in facts.items()
}
whole |= {"confusion": matrices, "mirrored": mirrored, "floor": floor}

# %%
where = choose_device(device)
name = f"w{width:g}-{parts.protocol}-{fold}"
record = run.finish(name, data, whole, where, parts.protocol)
print("Record:", records.place(record))
