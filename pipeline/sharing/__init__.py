"""Write a model or a data set in the form of the Hugging Face Hub, and upload it."""
