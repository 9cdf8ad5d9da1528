"""Logistic regression with NumPy and Flower."""
