"""The same task as users of other engines would write it, each after its engine's manual.

Read single readings as JSON; drop what a device sent before (by its session and sequence
number, 128 numbers back); keep a running mean and deviation per device and metric; write
the reading on, and an alarm besides where it lies more than 4.5 deviations away. State is
kept in the engine's own store and delivery is at least once. One process, one worker.

They import nothing of ours: two of them run in an environment of their own.
"""
