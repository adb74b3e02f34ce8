"""Serving: finished classifiers, loaded when they are asked for."""
