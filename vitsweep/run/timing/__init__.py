"""Expected time of the cells that are left: from earlier cells of this machine, else from a few timed steps."""

__all__: list[str] = []
