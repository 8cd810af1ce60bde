"""MLflow runs, models and aliases. MLflow is used only here."""
