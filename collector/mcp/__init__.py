"""The runs for assistants, over the Model Context Protocol: read-only, and small answers that lead to the next."""
