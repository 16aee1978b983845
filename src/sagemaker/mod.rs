//! The `/opt/ml` contract: paths, hyperparameters, channels, cluster, failure file.
