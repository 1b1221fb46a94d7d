"""Any Hugging Face image-text-to-text model, and the tiny one that ships with the project."""
