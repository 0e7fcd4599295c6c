"""What the paper reports, each number with its place in it, to stand beside ours.

Source: Malik, Kumar & Raman, "Towards Interpretable Facial Emotion Recognition", ICVGIP 2021,
doi 10.1145/3490035.3490271.
"""

from __future__ import annotations

# Table 1, row "Proposed": accuracy as a fraction, mean of 5 random folds. Keys are the loaders' names.
TABLE_1_PROPOSED = {"fer2013": 0.6262, "ferg": 0.9968, "jaffe": 0.9197, "ckplus": 0.9967}
# Section 4.1.
BATCH_SIZE = {"fer2013": 32}
BATCH_SIZE_ELSEWHERE = 16


def batch_size(dataset: str) -> int:
    """Return the batch size of Section 4.1: 32 for FER2013, 16 for every other dataset."""
    return BATCH_SIZE.get(dataset, BATCH_SIZE_ELSEWHERE)
