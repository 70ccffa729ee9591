"""The `train_stage` component."""
