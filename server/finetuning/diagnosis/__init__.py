"""Diagnosis: what in the figures of a fine-tune somebody should know."""
