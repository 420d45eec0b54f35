"""Figures about a run's models and their judgments, with intervals, and the report made of them."""
