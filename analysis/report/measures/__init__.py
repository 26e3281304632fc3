"""Rollout measures in the report."""
