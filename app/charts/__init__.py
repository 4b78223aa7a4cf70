"""The charts of jobs and nodes, for the API and for the summaries of ended jobs."""
