"""The component of a first stage."""
