"""Thin KFP components: inputs, one call into accrete, outputs."""
