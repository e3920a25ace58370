"""What a run is told: settings, recipes, the run that it resumes."""
