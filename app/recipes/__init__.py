"""What one deployment trains: tasks, network and training plan of a clinical question."""
