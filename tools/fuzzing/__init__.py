"""Valid conversations, spoilt ones, and the world that receives them. Runs on both runtimes."""
