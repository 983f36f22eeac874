"""The process itself and what is around it: its interpreter and cores, who started it, how others find it."""
