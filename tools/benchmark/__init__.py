"""The workloads of tools/bench, the brokers it compares, the load generator and the report."""
