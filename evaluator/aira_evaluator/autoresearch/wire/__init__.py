"""What judge and predict containers say to each other: fixed-size messages and shared memory."""
