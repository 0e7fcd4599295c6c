"""The second paper: fast networks on facial landmarks, and which landmarks they need.

Di Luzio, Rosato and Panella, "An Explainable Fast Deep Neural Network for Emotion Recognition" (arXiv 2407.14865). Its
body is not public; what its abstract and summary state is done as stated, and every choice beyond is named as ours.
"""

from ferlab.temo.clips import LandmarkClips, normalise, pack
from ferlab.temo.gradients import BASELINES, Attributions, agreement, attribute, baselines, relevance
from ferlab.temo.network import TEmo, cost, expected_flops
from ferlab.temo.selection import SIZES, combine, contours, random_sets, top, univariate
from ferlab.temo.sources import from_ckplus, from_dataset, from_faces, from_stills, from_table
from ferlab.temo.study import Plan, Study, costs, folds, run
from ferlab.temo.svm import svm_scores
from ferlab.temo.training import Recipe, fit, predict
from ferlab.temo.verdicts import judge, table

__all__ = [
    "BASELINES", "SIZES", "Attributions", "LandmarkClips", "Plan", "Recipe", "Study", "TEmo", "agreement",
    "attribute", "baselines", "combine", "contours", "cost", "costs", "expected_flops", "fit", "folds", "from_ckplus",
    "from_dataset", "from_faces", "from_stills", "from_table", "judge", "normalise", "pack", "predict", "random_sets",
    "relevance", "run", "svm_scores", "table", "top", "univariate",
]  # fmt: skip
