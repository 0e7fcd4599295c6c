"""The second paper: fast networks on facial landmarks, and which landmarks they need.

Di Luzio, Rosato and Panella, "An Explainable Fast Deep Neural Network for Emotion Recognition" (arXiv 2407.14865). Its
body is not public; what its abstract and summary state is done as stated, and every choice beyond is named as ours.
"""

from ferlab.temo.clips import LandmarkClips
from ferlab.temo.clips import normalise
from ferlab.temo.clips import pack
from ferlab.temo.gradients import BASELINES
from ferlab.temo.gradients import Attributions
from ferlab.temo.gradients import agreement
from ferlab.temo.gradients import attribute
from ferlab.temo.gradients import baselines
from ferlab.temo.gradients import relevance
from ferlab.temo.network import Cost
from ferlab.temo.network import TEmo
from ferlab.temo.network import cost
from ferlab.temo.network import expected_flops
from ferlab.temo.selection import SIZES
from ferlab.temo.selection import combine
from ferlab.temo.selection import contours
from ferlab.temo.selection import random_sets
from ferlab.temo.selection import top
from ferlab.temo.selection import univariate
from ferlab.temo.sources import from_ckplus
from ferlab.temo.sources import from_dataset
from ferlab.temo.sources import from_faces
from ferlab.temo.sources import from_stills
from ferlab.temo.sources import from_table
from ferlab.temo.study import Plan
from ferlab.temo.study import Study
from ferlab.temo.study import costs
from ferlab.temo.study import folds
from ferlab.temo.study import run
from ferlab.temo.svm import svm_scores
from ferlab.temo.training import Recipe
from ferlab.temo.training import fit
from ferlab.temo.training import predict
from ferlab.temo.verdicts import Difference
from ferlab.temo.verdicts import judge
from ferlab.temo.verdicts import table

__all__ = [
    "BASELINES",
    "SIZES",
    "Attributions",
    "Cost",
    "Difference",
    "LandmarkClips",
    "Plan",
    "Recipe",
    "Study",
    "TEmo",
    "agreement",
    "attribute",
    "baselines",
    "combine",
    "contours",
    "cost",
    "costs",
    "expected_flops",
    "fit",
    "folds",
    "from_ckplus",
    "from_dataset",
    "from_faces",
    "from_stills",
    "from_table",
    "judge",
    "normalise",
    "pack",
    "predict",
    "random_sets",
    "relevance",
    "run",
    "svm_scores",
    "table",
    "top",
    "univariate",
]
