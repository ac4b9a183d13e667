"""Measurements; each module is a program. They start their own servers and PostgreSQL and leave nothing behind."""
