"""What a run serves, for use elsewhere: a module of transformers, a folder that ``from_pretrained`` opens, a model card."""
