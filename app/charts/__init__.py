"""The charts of jobs and of nodes, each from the finest source that is cheap to read.

Used by the API, and by the task that keeps the summary of an ended job.
"""
