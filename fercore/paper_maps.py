"""What the paper reports of maps (Tables 3 and 4), each number with its place in it, to stand beside ours.

Source: Malik, Kumar & Raman, "Towards Interpretable Facial Emotion Recognition", ICVGIP 2021,
doi 10.1145/3490035.3490271.
"""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    """A column of Table 3, "Comparing existing Interpretability approaches".

    Attributes:
        theoretical: "Theoretical cost", as printed; n is the number of pixels.
        seconds: "Execution Time (s)", of what is not said.
    """

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
# Which column of the tables an explainer of :data:`fercore.explainers.METHODS` stands in. SHAP is shap's
# GradientExplainer in the authors' released code, DnCShap their own implementation.
COLUMNS: dict[str, str] = {
    "gradient_shap": "SHAP",
    "lime": "Lime",
    "grad_cam": "Grad-CAM",
    "dnc_released": "DnCShap",
}
