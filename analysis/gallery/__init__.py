"""Pictures of attention maps over chosen images, and figures of rollout measures.

Takes cells or the views of attention/, gives PNGs with caption, alternative text and numbers.
Other rooms use gallery.report_panels and report_measures, draw_measures, panels, sheets.pairs_sheet, and command (CLI).
"""
