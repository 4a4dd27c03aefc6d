"""Bringing a database's schema up to date: ``python -m marketdata.migrate``."""
