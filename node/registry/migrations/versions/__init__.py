"""One module per step, newest last."""
