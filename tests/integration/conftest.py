from tests.ml_pipeline.conftest import environment_writer

__all__ = ["environment_writer"]
