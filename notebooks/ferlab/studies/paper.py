"""What the paper reports of maps (Tables 3 and 4), each number with its place in it, to stand beside ours.

Source: Malik, Kumar & Raman, "Towards Interpretable Facial Emotion Recognition", ICVGIP 2021,
doi 10.1145/3490035.3490271.
"""

from __future__ import annotations

from typing import NamedTuple

# Accuracies are fractions, under 5-fold cross-validation (Section 4.1); datasets by the loaders' names.
DATASETS = ("fer2013", "ferg", "jaffe", "ckplus")
# Table 1, "Summary of the ablation study".
TABLE_1 = {
    "VGG-16": (0.2698, 0.9920, 0.9920, 0.9082),
    "ResNet-50": (0.3050, 0.8880, 0.7100, 0.7552),
    "Baseline": (0.6012, 0.9968, 0.9016, 0.9902),
    "Proposed": (0.6262, 0.9968, 0.9197, 0.9967),
}
ROWS = {"vgg16": "VGG-16", "resnet50": "ResNet-50", "baseline": "Baseline", "proposed": "Proposed"}
# Table 2, "Comparing with existing FER approaches"; None where the paper prints a dash, [n] is its own reference.
TABLE_2 = {
    "Deep-Emotion [31]": (0.7002, 0.9930, 0.9280, 0.9800),
    "Mollahosseini et al. [32]": (0.6640, None, None, 0.9320),
    "DOG+CNN [38]": (0.5896, None, None, None),
    "Domain Adaptation [49]": (0.6350, None, None, None),
    "LBP+ORB features [34]": (None, None, 0.8850, 0.9320),
    "DeepExpr [3]": (None, 0.8902, None, None),
    "Ensemble [54]": (None, 0.9700, None, None),
    "Adversarial Net [15]": (None, 0.9820, None, None),
    "Local Dominant Patterns [46]": (None, None, 0.8760, None),
    "Salient Patches [19]": (None, None, 0.9180, None),
    "Pseudo Annotations [52]": (None, None, None, 0.9245),
    "Occlusion-aware FER [27]": (None, None, None, 0.9703),
    "Proposed": TABLE_1["Proposed"],
}


def table_1(model: str) -> dict[str, float]:
    """Return a row of Table 1 by dataset: ``table_1("vgg16")["jaffe"]``; KeyError if the paper has no such row."""
    return dict(zip(DATASETS, TABLE_1[ROWS[model]], strict=True))


class Cost(NamedTuple):
    """A column of Table 3: cost as printed (n pixels) and "Execution Time (s)", of what is not said."""

    theoretical: str
    seconds: int


# Table 3; machine, image size and number of images are not stated beside it.
TABLE_3: dict[str, Cost] = {
    "SHAP": Cost("O(n²)", 39),
    "Lime": Cost("O(n²)", 34),
    "Grad-CAM": Cost("O(1)", 1),
    "DnCShap": Cost("O(n)", 26),
}
# Table 4, "Feature overlap with SHAP in terms of Dice loss"; one row.
TABLE_4: dict[str, float] = {"SHAP": 1.0, "Lime": 0.174, "Grad-CAM": 0.488, "DnCShap": 0.541}
# Which column of the tables an explainer of :data:`ferlab.explainers.METHODS` stands in. SHAP is shap's
# GradientExplainer in the authors' released code, DnCShap their own implementation.
COLUMNS: dict[str, str] = {
    "gradient_shap": "SHAP",
    "lime": "Lime",
    "grad_cam": "Grad-CAM",
    "dnc_released": "DnCShap",
}
