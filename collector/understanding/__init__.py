"""What telemetry means to this collector: conventions, prices, plugins, and how that is explained."""
