"""Sends messages to destinations, and keeps their addresses secret. No queries."""
