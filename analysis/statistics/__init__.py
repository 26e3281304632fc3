"""Judge a study: effects, claims, contrasts, learning curves and comparisons image by image.

Takes StudyRecords (and rollout measures); gives one Judgement, the frames and numbers of a report.
Other rooms may use `judgement.judge`, `Judgement`, and the formats and constants beside their frames.
"""
