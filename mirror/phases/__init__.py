"""Phases: one step of the pipeline each; they never import each other, nor a concrete port."""
