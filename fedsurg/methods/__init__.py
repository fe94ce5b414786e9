"""Federated methods as rows of one registry."""

from fedsurg.methods.registry import METHODS, Method, Plan, plan

__all__ = ["METHODS", "Method", "Plan", "plan"]
