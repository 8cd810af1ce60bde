"""The deployment: one stack of Terraform resources for each environment file, written in Python."""
