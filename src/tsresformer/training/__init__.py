"""Training (PyTorch Lightning)."""
