"""Training: recipes, augmentation, the trainer, evaluation."""
