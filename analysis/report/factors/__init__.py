"""Factorial designs in a report: tables of main effects and interactions, and what Findings say of them.

Takes a Judgement; gives Tables and sentences.
"""
