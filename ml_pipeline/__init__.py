"""A scikit-learn pipeline on Spark, Delta and MLflow: preparation, training, comparison, validation, scoring."""
