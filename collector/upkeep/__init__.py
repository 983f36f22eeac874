"""What is done to the store beside what comes in: deleting, keeping in time, making anew."""
