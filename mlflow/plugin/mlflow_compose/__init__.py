"""What this repository adds to the server, at the points where MLflow lets a plugin in."""
