"""Environment files: where and how the pipeline is deployed."""
