"""The component of a first stage on nodes."""
