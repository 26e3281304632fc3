"""Changes of a plan that is on disk: more arms and seeds, fewer, other names.

Plan and records keep a trace of each.
"""
