"""The chart of a job: from whichever source is the finest that is cheap, one maths for all.

Used by the API for charts and by the task that keeps the summary of an ended job.
"""
