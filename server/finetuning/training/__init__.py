"""Training: from split rows to a finished classifier, in one loop for both frameworks."""
