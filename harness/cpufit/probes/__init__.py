"""What the host and the operating system say: memory, energy, noise, facts."""
