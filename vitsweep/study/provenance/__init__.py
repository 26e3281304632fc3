"""Provenance of a cell: the checkout's uncommitted changes, the installed packages and the machine.

Takes the checkout, gives files in the sweep's `environment` folder and the `environment` of a record; read-only git.
"""
