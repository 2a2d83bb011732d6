"""Write a model or a data set as a repository of the Hugging Face Hub, and upload it."""
