"""Search: which temperature to train at, tried on folds of the training part."""
