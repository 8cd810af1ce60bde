"""Rows and tables: sources, Delta tables, features, checks. Spark and Delta are used here."""
