"""Hydra's door to vitsweep's sweeper.

The name space folder above must not get an `__init__.py`: it would hide the plugins of others.
"""
