"""The `sweep_report` component."""
