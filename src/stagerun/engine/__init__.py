"""Running operations: the emitter, through which every event passes, and the runner."""
