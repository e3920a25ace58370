"""What a run is asked to do: flags, environment, recipes, and the run that it resumes."""
