"""What only the companion needs: embedded faces, rivals, measures, figures, studies, the runner."""
