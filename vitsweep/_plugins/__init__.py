"""Sweeper as Hydra 1.4's entry point finds it, also in programs that know nothing of vitsweep's plugin folder."""

from importlib import import_module

from vitsweep.paths import add_plugin_path

add_plugin_path()
VitsweepSweeper = import_module("hydra_plugins.vitsweep_sweeper").VitsweepSweeper
