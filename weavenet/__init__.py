"""Weavenet: addresses for containers, and their attachment to the weave bridge."""
