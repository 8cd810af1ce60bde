"""Starts and follows jobs in a Databricks workspace."""
