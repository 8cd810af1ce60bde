"""Airflow's DAG files: each is delivered alone, and so imports nothing of this project."""
