"""Who carries out client jobs: this process, Ray actors, or Flower nodes."""
