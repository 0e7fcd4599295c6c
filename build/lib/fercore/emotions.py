"""The seven emotions: one canonical order for the whole project, with names, colours and FACS action units.

The order is FER2013's own (labels 0 to 6), which is also the order of the paper's Figures 5 to 9. Contempt, which only
CK+ labels, comes after them and is left out unless it is asked for.
"""

from __future__ import annotations

from enum import IntEnum


class Emotion(IntEnum):
    """An emotion class; its integer value is the label used by every loader, network and table."""

    ANGRY = 0
    DISGUST = 1
    FEAR = 2
    HAPPY = 3
    SAD = 4
    SURPRISE = 5
    NEUTRAL = 6
    CONTEMPT = 7

    @property
    def title(self) -> str:
        """Name as printed in figures, e.g. ``"Angry"``."""
        return self.name.capitalize()


EMOTIONS: tuple[Emotion, ...] = tuple(emotion for emotion in Emotion if emotion is not Emotion.CONTEMPT)
NAMES: tuple[str, ...] = tuple(emotion.title for emotion in EMOTIONS)

# Okabe and Ito's colour-blind-safe palette (Color Universal Design, 2008).
COLORS: dict[Emotion, str] = {
    Emotion.ANGRY: "#D55E00",
    Emotion.DISGUST: "#009E73",
    Emotion.FEAR: "#CC79A7",
    Emotion.HAPPY: "#E69F00",
    Emotion.SAD: "#0072B2",
    Emotion.SURPRISE: "#56B4E9",
    Emotion.NEUTRAL: "#7F7F7F",
    Emotion.CONTEMPT: "#F0E442",
}

# EMFACS-style prototypes: Ekman, Friesen & Hager, "Facial Action Coding System: Investigator's Guide" (2002), as used
# by open implementations (anger 4+5+7+23, disgust 9+15, fear 1+2+4+5+7+20+26, happiness 6+12, sadness 1+4+15,
# surprise 1+2+5+26), with the optional units 10, 17, 24 and 25 of the FACS prediction tables.
ACTION_UNITS: dict[Emotion, tuple[int, ...]] = {
    Emotion.ANGRY: (4, 5, 7, 23, 24),
    Emotion.DISGUST: (9, 10, 15, 17),
    Emotion.FEAR: (1, 2, 4, 5, 7, 20, 25, 26),
    Emotion.HAPPY: (6, 12, 25),
    Emotion.SAD: (1, 4, 15, 17),
    Emotion.SURPRISE: (1, 2, 5, 25, 26),
    Emotion.NEUTRAL: (),
}
