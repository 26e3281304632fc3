"""A study's table for a paper: LaTeX that fits the text width, and Markdown."""
