"""Passing on what comes in to others, beside storing it: each sink at its own pace, from the journals."""
