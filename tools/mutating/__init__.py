"""Mutations of the core, copies of the checkout with one, and the tests that each has to outlive."""
