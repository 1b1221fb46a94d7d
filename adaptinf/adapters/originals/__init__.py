"""What others published in layouts of their own, read into those of Transformers and PEFT."""
