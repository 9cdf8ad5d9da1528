"""Writes down what its nodes compute, for the tests."""
