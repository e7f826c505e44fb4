"""The commands of `tsresformer`, one module a topic."""
