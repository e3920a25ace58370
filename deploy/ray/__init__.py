"""The engine on a Ray cluster, run from a checkout: as a service, or over a data set."""
