"""The rules, as data and pure functions: no input or output, no clock, no logging."""
