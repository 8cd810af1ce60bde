"""A server that takes the place of a Databricks workspace on this machine, to rehearse a deployment without an account.

It is not Databricks, not a mock of all of it, and no place for real data: it has one user, no clusters, no serverless
compute, no SQL, no notebooks that run, and of permissions it enforces only who may read and change them. It answers the
calls that the Terraform provider, the SDK, MLflow and Airflow make for this project, as Databricks documents them in
public, and runs wheel tasks as processes of this machine. Schedules are kept and shown, never fired.
"""
