"""What is wrong or odd in a data set, and whose conventions its files follow."""
