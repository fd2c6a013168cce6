"""What is asked, and what follows from the answers: one folder a study."""
