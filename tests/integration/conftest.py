from tests.ml_pipeline.conftest import pipeline_writer

__all__ = ["pipeline_writer"]
