"""Loop and waste findings: steps, what is new in them, detectors, and the warnings made of what they find."""
