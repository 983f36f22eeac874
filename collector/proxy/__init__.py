"""The sidecar proxy: LLM traffic passes through byte for byte, and what passed becomes spans like any others."""
