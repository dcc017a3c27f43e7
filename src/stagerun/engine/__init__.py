"""What moves a run: the emitter, through which every change gets out, and the runner."""
