"""A run's charging on a real network: power flow by time, voltages and loadings, exports for other programs."""
