"""The report of a study: findings, tables, figures and gallery, as HTML, Markdown, LaTeX, CSV and JSON.

Takes records through records/, statistics/ and gallery/, gives the folder `report` of a sweep directory.
Other files use report.make_report, report_judgement, the gallery's read and write functions, and results.py.
"""
